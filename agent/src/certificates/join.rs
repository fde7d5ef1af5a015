//! The certificate by which a node is known.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use quarterdeck_core::client::ClientSwitch;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::metrics::Metrics;
use quarterdeck_core::random::Random;

use super::credential::Credential;
use super::error::JoinError;
use super::figures::Figures;
use super::order::Order;
use super::renewal::Renewal;
use super::store::Store;

/// How long what is under way when a certificate is replaced may go on with the old one. The API server gives a request as long.
const GRACE: Duration = Duration::from_secs(60);

/// Makes a client of a certificate: one with connections of its own.
type Connect = dyn Fn(&Credential) -> Result<Client, BoxError> + Send + Sync;

/// Lets a node join a cluster: gets it the certificate by which it is known, and a client that shows it.
///
/// A certificate in the directory is used if it is this node's and good; then nothing is asked for. Otherwise a key is made, the
/// bootstrap client POSTs a CertificateSigningRequest for `kubernetes.io/kube-apiserver-client-kubelet`, and when somebody has
/// approved and signed it, the certificate is kept as `kubelet-client-current.pem`. Who is started again meanwhile goes on
/// waiting for the same request.
///
/// # Examples
///
/// ```no_run
/// use kube::Client;
/// use quarterdeck_agent::Agent;
/// use quarterdeck_agent::certificates::{Credential, Join};
/// use quarterdeck_agent::runtime::SimulatedRuntime;
/// use quarterdeck_core::client::Context;
/// use quarterdeck_core::clock::Clock;
/// use quarterdeck_core::component::{BoxError, Ended, Stop, Supervisor};
/// use quarterdeck_core::random::Random;
///
/// async fn node(
///     bootstrap: Client,
///     connect: impl Fn(&Credential) -> Result<Client, BoxError> + Send + Sync + 'static,
///     stop: Stop,
/// ) -> Result<Vec<Ended>, BoxError> {
///     let joined = Join::new("node-1", "/var/lib/kubelet/pki", connect).bootstrap(bootstrap).run().await?;
///     let context = Context::new(joined.client, Clock::system(), Random::from_os());
///     let agent = Agent::new(&context, "node-1", SimulatedRuntime::default());
///     Ok(Supervisor::new().with(joined.rotation).with(agent).run(stop).await)
/// }
/// ```
#[must_use = "nothing is asked for until it is run"]
pub struct Join {
    node: String,
    directory: PathBuf,
    connect: Arc<Connect>,
    bootstrap: Option<Client>,
    clock: Clock,
    random: Option<Random>,
    lifetime: Option<Duration>,
    metrics: Option<Metrics>,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("node", &self.node)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// A node that is known by a certificate.
#[non_exhaustive]
pub struct Joined {
    /// Talks to the API server as the node, with the certificate that is in use.
    pub client: Client,
    /// Renews the certificate. It has to run for as long as the client is used.
    pub rotation: ClientRotation,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("rotation", &self.rotation).finish_non_exhaustive()
    }
}

impl Join {
    /// Prepares the node called `node` to join. Its certificate is kept in `directory`, and `connect` makes clients that show one;
    /// each has to have connections of its own.
    pub fn new(
        node: impl Into<String>,
        directory: impl Into<PathBuf>,
        connect: impl Fn(&Credential) -> Result<Client, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            node: node.into(),
            directory: directory.into(),
            connect: Arc::new(connect),
            bootstrap: None,
            clock: Clock::system(),
            random: None,
            lifetime: None,
            metrics: None,
        }
    }

    /// Asks with this client, which shows a bootstrap token, when there is no good certificate: at first, and if one expired before
    /// it could be renewed (default: there has to be a good one, and one that expired stays so).
    pub fn bootstrap(mut self, client: Client) -> Self {
        self.bootstrap = Some(client);
        self
    }

    /// Sets the clock (default: the system's).
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets where chance comes from (default: seeded by the operating system). Keys do not come from there.
    pub fn random(mut self, random: Random) -> Self {
        self.random = Some(random);
        self
    }

    /// Asks for certificates that are good for so long (default: whatever the signer gives; upstream's controllers and ours give a
    /// year, and never less than 10 minutes).
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Sets where it is told how long the certificate is still good, and how often it could not be renewed (default: nowhere).
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Takes the certificate that is kept, or asks for one and waits until it is there: without a bound if nobody approves it, or
    /// while the API server is away. Dropping the future abandons the wait.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub async fn run(self) -> Result<Joined, JoinError> {
        let mut order = Order::client(&self.node);
        if let Some(lifetime) = self.lifetime {
            order.lifetime(lifetime);
        }
        let renewal = Renewal {
            order,
            store: Store::new(self.directory, "kubelet-client"),
            clock: self.clock,
            random: self.random.unwrap_or_else(Random::from_os),
            figures: Figures::default(),
        };
        if let Some(metrics) = &self.metrics {
            renewal.figures.tell_client(metrics, &renewal.clock);
        }
        let credential = match (renewal.stored()?, &self.bootstrap) {
            (Some(credential), _) => credential,
            (None, Some(bootstrap)) => renewal.ask(bootstrap, |_| {}).await?,
            (None, None) => {
                let directory = renewal.store.directory().to_owned();
                return Err(JoinError::NoCertificate { directory, node: self.node });
            }
        };
        let switch = ClientSwitch::new((self.connect)(&credential).map_err(JoinError::Connect)?);
        renewal.figures.uses(&credential);
        let client = switch.client();
        let (connect, bootstrap) = (self.connect, self.bootstrap);
        let rotation = ClientRotation { node: self.node, renewal, credential, connect, switch, bootstrap };
        Ok(Joined { client, rotation })
    }
}

/// Renews the certificate by which a node is known before it ends, with the node's own right to do so
/// (`certificatesigningrequests/selfnodeclient`), and has the client show the new one.
///
/// New requests do so at once, on new connections. Watches end as if the server had ended them, so that their readers go on where
/// they were; all else that is under way is cut off after a minute, or when the old certificate expires. Connections that became
/// something else (`Upgrade`) are not ended.
#[must_use = "the certificate is renewed for as long as this runs"]
pub struct ClientRotation {
    node: String,
    renewal: Renewal,
    credential: Credential,
    connect: Arc<Connect>,
    switch: ClientSwitch,
    bootstrap: Option<Client>,
}

impl fmt::Debug for ClientRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRotation")
            .field("node", &self.node)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for ClientRotation {
    fn name(&self) -> String {
        format!("client certificate of {}", self.node)
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        stop.or(self.keep()).await;
        Ok(())
    }
}

impl ClientRotation {
    /// Returns the certificate that is in use, until this runs.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    async fn keep(mut self) {
        let own = self.switch.client();
        loop {
            self.renewal.wait(&self.credential).await;
            let fresh = self.renew(&own).await;
            match (self.connect)(&fresh).map_err(JoinError::Connect) {
                Ok(client) => {
                    let retired = self.switch.switch(client);
                    self.renewal.figures.uses(&fresh);
                    let left = self.renewal.left(self.credential.not_after()).unwrap_or_default();
                    tokio::time::sleep(left.min(GRACE)).await;
                    drop(retired);
                }
                Err(error) => {
                    self.renewal.figures.failed();
                    let reason = crate::host::chain(&error);
                    tracing::warn!(reason, "the new certificate is of no use: the old one stays in use");
                    tokio::time::sleep(GRACE).await;
                    continue;
                }
            }
            tracing::info!(node = self.node, until = %fresh.not_after(), "the client certificate was renewed");
            self.credential = fresh;
        }
    }

    /// Asks for the next certificate, as the node itself; once nobody knows it any more, as whoever let it in.
    async fn renew(&self, own: &Client) -> Credential {
        let Some(bootstrap) = &self.bootstrap else {
            return self.renewal.ask_until_issued(own, |_| {}).await;
        };
        tokio::select! {
            biased;
            fresh = self.renewal.ask_until_issued(own, |_| {}) => fresh,
            () = self.renewal.wait_until(self.credential.not_after()) => {
                tracing::warn!(node = self.node, "the client certificate has expired, joining again");
                // What the node asked for itself is not what it is given as somebody else.
                if let Err(error) = self.renewal.store.forget_pending_key() {
                    tracing::warn!(reason = crate::host::chain(&error), "the key of an earlier request is left");
                }
                self.renewal.ask_until_issued(bootstrap, |_| {}).await
            }
        }
    }
}
