//! The certificate that an agent's server shows.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use quarterdeck_core::client::Context;
use quarterdeck_core::component::{BoxError, Component, Stop};
use rustls::server::ResolvesServerCert;

use super::figures::Figures;
use super::order::Order;
use super::renewal::Renewal;
use super::shown::ShownCertificate;
use super::store::Store;

/// Gets the certificate that an agent's server shows, and renews it before it ends.
///
/// It is asked for, with the node's own client, from the signer `kubernetes.io/kubelet-serving`, and kept as
/// `kubelet-server-current.pem`. As upstream nobody approves such a request unasked, because nobody can tell whether the addresses
/// are the node's: `kubectl certificate approve` does. Until then there is no certificate, and whoever calls the agent is refused
/// by TLS.
///
/// # Examples
///
/// ```no_run
/// use quarterdeck_agent::certificates::ServingCertificate;
/// use quarterdeck_agent::runtime::SimulatedRuntime;
/// use quarterdeck_agent::{Agent, ServeError, ServerSettings};
/// use quarterdeck_core::client::Context;
/// use quarterdeck_core::component::Supervisor;
///
/// fn parts(context: &Context, authority: &str) -> Result<Supervisor, ServeError> {
///     let names = ["node-1".to_owned(), "192.168.1.7".to_owned()];
///     let serving = ServingCertificate::new(context, "node-1", names, "/var/lib/kubelet/pki");
///     let settings = ServerSettings::resolving(([0, 0, 0, 0], 10250).into(), serving.resolver(), authority)?;
///     let agent = Agent::new(context, "node-1", SimulatedRuntime::default()).serve(settings);
///     Ok(Supervisor::new().with(serving).with(agent))
/// }
/// ```
#[must_use = "nothing is asked for until it runs"]
pub struct ServingCertificate {
    node: String,
    client: Client,
    renewal: Renewal,
    shown: Arc<ShownCertificate>,
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").field("node", &self.node).finish_non_exhaustive()
    }
}

impl ServingCertificate {
    /// Prepares to ask for the certificate of the server of the node called `node`, which answers under these names and addresses.
    /// It is kept in `directory`.
    pub fn new(
        context: &Context,
        node: impl Into<String>,
        names: impl IntoIterator<Item = String>,
        directory: impl Into<PathBuf>,
    ) -> Self {
        let node = node.into();
        let renewal = Renewal {
            order: Order::serving(&node, names),
            store: Store::new(directory.into(), "kubelet-server"),
            clock: context.clock.clone(),
            random: context.random.fork("kubelet-server"),
            figures: Figures::default(),
        };
        renewal.figures.tell_serving(&context.metrics, &context.clock);
        Self { node, client: context.client.clone(), renewal, shown: Arc::default() }
    }

    /// Asks for certificates that are good for so long (default: whatever the signer gives).
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.renewal.order.lifetime(lifetime);
        self
    }

    /// Returns what the server takes its certificate from.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.shown.clone()
    }

    async fn keep(self) -> Result<(), BoxError> {
        let mut next = self.renewal.stored()?;
        loop {
            let credential = match next {
                Some(credential) => credential,
                None => self.renewal.ask_until_issued(&self.client, |name| self.tell(name)).await,
            };
            self.shown.show(credential.certificate(), credential.key())?;
            self.renewal.figures.uses(&credential);
            tracing::info!(node = self.node, until = %credential.not_after(), "serving with a new certificate");
            self.renewal.wait(&credential).await;
            next = None;
        }
    }

    fn tell(&self, request: &str) {
        let is_missing = !self.shown.is_there();
        let state =
            if is_missing { "there is none: logs cannot be read" } else { "the old one stays in use" };
        tracing::warn!(
            node = self.node,
            "the agent's server needs a certificate, until then {state}: kubectl certificate approve {request}"
        );
    }
}

#[async_trait]
impl Component for ServingCertificate {
    fn name(&self) -> String {
        format!("serving certificate of {}", self.node)
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        stop.or(self.keep()).await.unwrap_or(Ok(()))
    }
}
