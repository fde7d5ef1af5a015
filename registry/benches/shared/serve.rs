//! The servers that are measured. Each listens twice, without and with TLS, and leaves what clients need in a directory.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{BoxError, Component as _, Stop};
use quarterdeck_core::storage::Storage;
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::storage::{EmbeddedStorage, MemoryStorage};
use quarterdeck_registry::tls::{Authority, ClientCertificates, ServiceAccountKey, ServiceAccountTokens};
use quarterdeck_registry::{ApiServer, User};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::access::{self, HOST};

/// No server lives longer than this.
const LIFE: Duration = Duration::from_secs(600);
const ANY_PORT: SocketAddr = SocketAddr::new(HOST, 0);
/// How many connections a server takes over TLS.
pub(crate) const PLACES: usize = 2048;
/// The service account whose token clients show.
const ACCOUNT: &str = "load";
/// The user beside the one who measures: one of those whom the bindings of the guarded server are about.
const NEIGHBOUR: &str = "user-499";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// Runs an API server until standard input ends: over memory, or over a directory if one is given.
pub(crate) fn serve(directory: &Path, store: Option<&Path>) -> Result<(), BoxError> {
    run(async {
        let storage: Arc<dyn Storage> = match store {
            None => Arc::new(MemoryStorage::new()),
            Some(store) => Arc::new(EmbeddedStorage::open(store)?),
        };
        let key = ServiceAccountKey::new()?;
        let authority = Authority::new(Clock::system().now())?;
        let server = ApiServer::builder_shared(storage)
            .authenticator(ClientCertificates::new(authority.certificate(), Clock::system())?)
            .authenticator(ServiceAccountTokens::new(key.clone(), Clock::system()))
            .token_issuer(key)
            .start()
            .await?;
        let token = accounts(&server).await?;
        listen(&server, &authority, directory, (&User::admin(), Some(&token))).await
    })
}

/// Listens, and leaves what clients need: certificates of this user, of another and of a node's agent, and perhaps a token.
pub(crate) async fn listen(
    server: &ApiServer,
    authority: &Authority,
    directory: &Path,
    (user, token): (&User, Option<&str>),
) -> Result<(), BoxError> {
    let config = authority.server_config(&authority.server("server", &[HOST.to_string()])?, false)?;
    let plain = Listener::insecure(server.clone(), ANY_PORT).await?;
    let encrypted = Listener::tls(server.clone(), ANY_PORT, config).await?.max_connections(PLACES);
    access::leave(directory, authority, &authority.client(user)?, token)?;
    let agent = authority.client(&User::node("n"))?;
    access::leave(&directory.join(access::AGENT), authority, &agent, None)?;
    let neighbour = authority.client(&User::new(NEIGHBOUR).group("developers"))?;
    access::leave(&directory.join(access::NEIGHBOUR), authority, &neighbour, None)?;
    announce(plain.local_address()?, encrypted.local_address()?)?;
    let (_signal, stop) = Stop::channel();
    tokio::try_join!(Box::new(plain).run(stop.clone()), Box::new(encrypted).run(stop))?;
    Ok(())
}

/// Makes the service account that pods need and the one that clients are, which may do everything, and returns a token of the
/// latter.
async fn accounts(server: &ApiServer) -> Result<String, BoxError> {
    for name in ["default", ACCOUNT] {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        post(server, ACCOUNTS, account).await?;
    }
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "load"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": ACCOUNT}],
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
    });
    post(server, &format!("/apis/{group}/v1/clusterrolebindings"), binding).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let made = post(server, &format!("{ACCOUNTS}/{ACCOUNT}/token"), request).await?;
    Ok(made["status"]["token"].as_str().ok_or("a token request without a token")?.to_owned())
}

/// Makes an object, as an administrator.
pub(crate) async fn post(server: &ApiServer, path: &str, object: Value) -> Result<Value, BoxError> {
    let request = Request::post(path).header("content-type", "application/json");
    let request = request.body(Full::new(Bytes::from(object.to_string())))?;
    let answer = server.as_user(User::admin()).oneshot(request).await?;
    let status = answer.status();
    let text = answer.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        return Err(format!("{object} was not made: {}", String::from_utf8_lossy(&text)).into());
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Answers every request with the same KiB, through the same HTTP and TLS as the API server's, until standard input ends.
pub(crate) fn fixed(directory: &Path) -> Result<(), BoxError> {
    run(async {
        let authority = Authority::new(Clock::system().now())?;
        let config = authority.server_config(&authority.server("server", &[HOST.to_string()])?, false)?;
        access::leave(directory, &authority, &authority.client(&User::admin())?, None)?;
        let (plain, encrypted) = (TcpListener::bind(ANY_PORT).await?, TcpListener::bind(ANY_PORT).await?);
        announce(plain.local_addr()?, encrypted.local_addr()?)?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                accepted = plain.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    connections.spawn(answer(stream));
                }
                accepted = encrypted.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    let acceptor = TlsAcceptor::from(config.clone());
                    connections.spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            answer(stream).await;
                        }
                    });
                }
            }
        }
    })
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let answer = Bytes::from(vec![b'x'; 1024]);
    let service = service_fn(move |_: Request<Incoming>| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::new(answer))) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // A client that hangs up is no failure of the server.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// Says where the server is: without TLS and with it.
fn announce(plain: SocketAddr, encrypted: SocketAddr) -> Result<(), BoxError> {
    let mut output = std::io::stdout();
    writeln!(output, "{plain} {encrypted}")?;
    output.flush()?;
    Ok(())
}

/// Runs a server on all cores until standard input ends, which it does when the process that measures is gone.
pub(crate) fn run(server: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin();
        let _ = input.read(&mut [0]);
        let _ = gone.send(());
    });
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            _ = is_gone => Ok(()),
            ended = server => ended,
            () = tokio::time::sleep(LIFE) => Err("nobody ended the server in time".into()),
        }
    });
    runtime.shutdown_background();
    ended
}
