//! The server on a socket: TLS, with client certificates required.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use quarterdeck_core::component::Stop;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ResolvesServerCert, WantsServerCert, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Answers;

/// Who may ask: the API server by this name, and everybody in this group.
const CLIENT: (&str, &str) = ("kube-apiserver-kubelet-client", "system:masters");
/// Who may ask for metrics and health besides: everybody in this group.
const MONITORS: &str = "system:monitoring";
/// How long a client may take for the handshake, and for its headers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many connections are served at a time; more wait.
const CONNECTIONS: usize = 1024;

/// Where an agent answers the API server, and how both prove who they are.
#[derive(Clone)]
pub struct ServerSettings {
    address: SocketAddr,
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSettings").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why an agent's server cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A certificate or a key is none, or they do not belong together.
    #[error("the server's certificate, its key or the clients' authority cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}; choose another address or port, or stop what uses it")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What happened.
        source: io::Error,
    },
}

impl ServerSettings {
    /// Listens on `address` (port 0: any that is free) with this certificate and key, and lets in the API server: the
    /// client whose certificate is signed by `client_authority` and names `kube-apiserver-kubelet-client` or the group
    /// `system:masters`. One that names the group `system:monitoring` is shown metrics and health, and no more. All are PEM.
    ///
    /// # Errors
    ///
    /// [`ServeError::Certificate`].
    pub fn tls(
        address: SocketAddr,
        certificate: &str,
        key: &str,
        client_authority: &str,
    ) -> Result<Self, ServeError> {
        let single = |config: ConfigBuilder<ServerConfig, WantsServerCert>| {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(general)?;
            config.with_single_cert(read(certificate)?, key)
        };
        Self::new(address, client_authority, single)
    }

    /// Does what [`tls`](Self::tls) does, with the certificate that `resolver` has at the time of each handshake, such as a
    /// [`ServingCertificate`](crate::certificates::ServingCertificate)'s. While it has none, whoever calls is refused.
    ///
    /// # Errors
    ///
    /// [`ServeError::Certificate`].
    pub fn resolving(
        address: SocketAddr,
        resolver: Arc<dyn ResolvesServerCert>,
        client_authority: &str,
    ) -> Result<Self, ServeError> {
        Self::new(address, client_authority, |config| Ok(config.with_cert_resolver(resolver)))
    }

    /// Does what [`tls`](Self::tls) does, with a certificate for these names and addresses that nobody but itself vouches for. It
    /// is for clusters whose API server does not look at agents' certificates: ours does.
    ///
    /// # Errors
    ///
    /// [`ServeError::Certificate`].
    pub fn self_signed(
        address: SocketAddr,
        names: impl IntoIterator<Item = String>,
        client_authority: &str,
    ) -> Result<Self, ServeError> {
        let names: Vec<String> = names.into_iter().collect();
        let made = rcgen::generate_simple_self_signed(names).map_err(general);
        let made = made.map_err(ServeError::Certificate)?;
        Self::tls(address, &made.cert.pem(), &made.signing_key.serialize_pem(), client_authority)
    }

    fn new(
        address: SocketAddr,
        authority: &str,
        certify: impl FnOnce(ConfigBuilder<ServerConfig, WantsServerCert>) -> Result<ServerConfig, rustls::Error>,
    ) -> Result<Self, ServeError> {
        let config = config(authority).and_then(certify).map_err(ServeError::Certificate)?;
        Ok(Self { address, config: Arc::new(with_protocols(config)) })
    }
}

/// Begins the settings of a server that lets in clients with certificates of this authority.
fn config(authority: &str) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for root in read(authority)? {
        roots.add(root)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier.map_err(general)?;
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_client_cert_verifier(verifier))
}

fn with_protocols(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn read(pem: &str) -> Result<Vec<CertificateDer<'static>>, rustls::Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(general)
}

fn general(error: impl std::fmt::Display) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// A socket that the server answers on.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    port: u16,
    settings: ServerSettings,
}

impl Listener {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// [`ServeError::Bind`].
    pub(crate) async fn bind(settings: ServerSettings) -> Result<Self, ServeError> {
        let address = settings.address;
        let failed = |source| ServeError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let port = socket.local_addr().map_err(failed)?.port();
        Ok(Self { socket, port, settings })
    }

    /// Returns the port that the socket has.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Answers until it is time to stop; connections end then.
    pub(crate) async fn run(self, answers: Answers, mut stop: Stop) {
        let acceptor = TlsAcceptor::from(self.settings.config.clone());
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
            let accepted = tokio::select! {
                biased;
                () = stop.wait() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (acceptor, answers) = (acceptor.clone(), answers.clone());
                    connections.spawn(async move {
                        serve(stream, acceptor, answers).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.shutdown().await;
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, answers: Answers) {
    let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let client = certificates.and_then(|chain| chain.first()).map_or(Client::Other, |der| Client::of(der));
    let service = service_fn(move |request: Request<Incoming>| {
        let answers = answers.clone();
        async move {
            let asked = request.into_parts().0;
            let known = match client {
                Client::Server => Some(answers.answer(&asked).await),
                Client::Monitor => answers.diagnostics(&asked),
                Client::Other => None,
            };
            let message = "this certificate's user may not ask the agent";
            Ok::<_, Infallible>(known.unwrap_or_else(|| super::text(http::StatusCode::FORBIDDEN, message)))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// Everything.
    Server,
    /// Metrics and health.
    Monitor,
    /// Nothing.
    Other,
}

impl Client {
    /// Returns whose certificate this is.
    fn of(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::Other };
        let subject = certificate.subject();
        let is_named =
            subject.iter_common_name().any(|name| name.as_str().is_ok_and(|name| name == CLIENT.0));
        let is_in = |group: &str| {
            subject.iter_organization().any(|name| name.as_str().is_ok_and(|name| name == group))
        };
        match is_named || is_in(CLIENT.1) {
            true => Self::Server,
            false if is_in(MONITORS) => Self::Monitor,
            false => Self::Other,
        }
    }
}
