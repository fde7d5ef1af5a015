//! The TLS settings of a listener, which can be replaced.

use std::fmt;
use std::sync::{Arc, RwLock};

use rustls::ServerConfig;

/// The TLS settings of a listener: its certificate, and the authorities whose clients it takes. They can be replaced while it
/// listens, before a certificate ends or when an authority follows another. Clones are replaced together.
///
/// # Examples
///
/// A listener that shows what files hold, and what they hold later:
///
/// ```no_run
/// use std::fs;
///
/// use quarterdeck_core::clock::Clock;
/// use quarterdeck_core::component::{BoxError, Supervisor};
/// use quarterdeck_core::files::FollowFiles;
/// use quarterdeck_registry::ApiServer;
/// use quarterdeck_registry::listener::Listener;
/// use quarterdeck_registry::tls::{Authority, Identity, ServerTls};
///
/// # async fn serve(server: ApiServer, authority: Authority) -> Result<(), BoxError> {
/// let read = move || -> Result<_, BoxError> {
///     let (certificate, key) = (fs::read_to_string("tls.crt")?, fs::read_to_string("tls.key")?);
///     Ok(authority.server_config(&Identity { certificate, key }, false)?)
/// };
/// let tls = ServerTls::new(read()?);
/// let listener = Listener::tls(server, ([0, 0, 0, 0], 6443).into(), tls.clone()).await?;
/// let follow = FollowFiles::new(["tls.crt", "tls.key"], move || Ok(tls.replace(read()?)));
/// let supervisor = Supervisor::new().with(listener).with(follow);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<RwLock<Arc<ServerConfig>>>);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Begins with these settings.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }

    /// Has all further handshakes go by these settings. Connections that are open stay as they are; sessions are not resumed.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.write().expect("no holder panics") = config;
    }

    /// Returns the settings for the next handshake.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.read().expect("no holder panics").clone()
    }
}

impl From<Arc<ServerConfig>> for ServerTls {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self::new(config)
    }
}
