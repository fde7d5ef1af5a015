//! A client made of a kubeconfig that is read again when it changes.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::ClientSwitch;
use crate::component::{BoxError, Component, Stop};

/// How often the files are looked at: Go's clients do so every 5 minutes for certificates and every minute for tokens.
const LOOK: Duration = Duration::from_secs(60);
/// How long what is under way may go on with the client that was replaced.
const GRACE: Duration = Duration::from_secs(60);

/// A client made of a kubeconfig, which is made anew when the kubeconfig changes, or a file with a certificate, a key or an
/// authority that it names. Whoever renews certificates replaces the files, and no process has to be started again.
///
/// They are looked at once a minute while this runs. New requests then take new connections; watches end as if the server had ended
/// them, and all else that is under way has another minute ([`ClientSwitch`]). What cannot be used is logged, and the client stays
/// as it was. Files with tokens need none of this: `kube` itself reads them again every minute.
///
/// # Examples
///
/// ```no_run
/// use kube::Client;
/// use quarterdeck_core::client::{Context, KubeconfigClient};
/// use quarterdeck_core::clock::Clock;
/// use quarterdeck_core::component::{BoxError, Supervisor};
/// use quarterdeck_core::random::Random;
///
/// # async fn open() -> Result<(), BoxError> {
/// let connect = |config| Ok(Client::try_from(config)?);
/// let cluster = KubeconfigClient::open("/etc/kubernetes/scheduler.conf", connect).await?;
/// let context = Context::new(cluster.client(), Clock::system(), Random::from_os());
/// let supervisor = Supervisor::new().with(cluster);
/// # Ok(())
/// # }
/// ```
#[must_use = "the files are read again for as long as this runs"]
pub struct KubeconfigClient {
    path: PathBuf,
    connect: Box<Connect>,
    switch: ClientSwitch,
    read: Files,
}

/// Makes a client: one with connections of its own.
type Connect = dyn Fn(Config) -> Result<Client, BoxError> + Send + Sync;

impl fmt::Debug for KubeconfigClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeconfigClient").field("path", &self.path).finish_non_exhaustive()
    }
}

impl KubeconfigClient {
    /// Reads a kubeconfig. `connect` makes a client of what it says, each time; each has to have connections of its own.
    ///
    /// # Errors
    ///
    /// Why no client can be made of it.
    pub async fn open(
        path: impl Into<PathBuf>,
        connect: impl Fn(Config) -> Result<Client, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BoxError> {
        let path = path.into();
        let (read, config) = load(&path).await?;
        let switch = ClientSwitch::new(connect(config)?);
        Ok(Self { path, connect: Box::new(connect), switch, read })
    }

    /// Returns the client, which always shows what was read last.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.switch.client()
    }

    async fn follow(mut self) {
        // What was wrong is said once.
        let mut wrong = None;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.look().await {
                Ok(None) => wrong = None,
                Ok(Some(client)) => {
                    wrong = None;
                    tracing::info!(path = %self.path.display(), "the kubeconfig or what it names has changed and was read again");
                    let retired = self.switch.switch(client);
                    tokio::time::sleep(GRACE).await;
                    drop(retired);
                }
                Err(error) => {
                    let error = error.to_string();
                    if wrong.as_ref() != Some(&error) {
                        tracing::warn!(path = %self.path.display(), error, "the kubeconfig cannot be read again: the old one stays in use");
                    }
                    wrong = Some(error);
                }
            }
        }
    }

    /// Makes a client of what the files hold, if that has changed.
    async fn look(&mut self) -> Result<Option<Client>, BoxError> {
        let (read, config) = load(&self.path).await?;
        if read == self.read {
            return Ok(None);
        }
        let client = (self.connect)(config)?;
        self.read = read;
        Ok(Some(client))
    }
}

#[async_trait]
impl Component for KubeconfigClient {
    fn name(&self) -> String {
        format!("client of {}", self.path.display())
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        stop.or(self.follow()).await;
        Ok(())
    }
}

/// What files hold, in order.
type Files = Vec<Vec<u8>>;

/// Reads a kubeconfig, and the files that it names.
async fn load(path: &Path) -> Result<(Files, Config), BoxError> {
    let mut files = vec![fs::read(path)?];
    let kubeconfig = Kubeconfig::read_from(path)?;
    let clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let authorities = clusters.filter_map(|cluster| cluster.certificate_authority.as_ref());
    let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let own = users.flat_map(|user| [user.client_certificate.as_ref(), user.client_key.as_ref()]).flatten();
    for named in authorities.chain(own) {
        // Of those that are not there, who needs one will say so.
        files.push(fs::read(named).unwrap_or_default());
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok((files, config))
}

#[cfg(test)]
mod tests;
