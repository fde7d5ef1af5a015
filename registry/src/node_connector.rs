//! The way to nodes' agents in other processes: TLS to the address that a Node names.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use quarterdeck_core::component::BoxError;
use quarterdeck_core::node::{NodeBody, NodeConnectError, NodeConnector, NodeService};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::util::BoxCloneSyncService;

use crate::cache::Cache;
use crate::server::ApiServer;
use crate::tls::{AuthorityError, Identity};

/// How long a node may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reaches nodes at the addresses of their Node objects, as the API server.
///
/// It is made before its server, which needs it, and attached to it after: until then no node is known.
#[derive(Clone, Default)]
pub struct TlsNodes(Arc<RwLock<Option<Attached>>>);

#[derive(Clone)]
struct Attached {
    cache: Cache,
    connector: TlsConnector,
}

impl std::fmt::Debug for TlsNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsNodes({})", if self.attached().is_some() { "attached" } else { "not attached" })
    }
}

impl TlsNodes {
    /// Makes a connector that knows no node yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the connector find the nodes of a server, and show them this identity. Another call replaces it, for new connections:
    /// before its certificate ends.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if the identity is none.
    pub fn attach(
        &self,
        server: &ApiServer,
        identity: &Identity,
        trusted: Arc<RootCertStore>,
    ) -> Result<(), AuthorityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (chain, key) = identity.der()?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_root_certificates(trusted)
            .with_client_auth_cert(chain, key)
            .map_err(AuthorityError::Tls)?;
        let cache = server.registry().cache.clone();
        let attached = Attached { cache, connector: Arc::new(config).into() };
        *self.0.write().expect("no holder panics") = Some(attached);
        Ok(())
    }

    fn attached(&self) -> Option<Attached> {
        self.0.read().expect("no holder panics").clone()
    }
}

/// Returns where a node's agent answers.
fn address(node: &Value) -> Option<SocketAddr> {
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64()?;
    let addresses = node["status"]["addresses"].as_array()?;
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
    let address: IpAddr = internal["address"].as_str()?.parse().ok()?;
    let address = address.to_canonical();
    if !may_be_node(address) {
        return None;
    }
    Some(SocketAddr::new(address, u16::try_from(port).ok().filter(|port| *port != 0)?))
}

/// Whether a node may be at an address. Whoever writes a Node's status chooses it, so it is none at which a machine's metadata are, or
/// nobody in particular. This machine's own are: agents run beside the server, and whoever answers has to show a certificate of
/// the cluster's for the address.
fn may_be_node(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !is_link_local && !address.is_unspecified() && !address.is_multicast()
}

#[async_trait]
impl NodeConnector for TlsNodes {
    async fn connect(&self, node: &str) -> Result<NodeService, NodeConnectError> {
        let unknown = || NodeConnectError::Unknown(node.to_owned());
        let attached = self.attached().ok_or_else(unknown)?;
        let object =
            attached.cache.world().get(&format!("/registry/minions/{node}")).map(|node| node.value());
        let object = object.ok_or_else(unknown)?;
        let unreachable = |source: BoxError| NodeConnectError::Unreachable { node: node.to_owned(), source };
        let address =
            address(&object).ok_or_else(|| unreachable("the Node names no address and port".into()))?;
        let connector = attached.connector;
        // Connect once now, so that a node that is not there is known before the request is made.
        let sender = tokio::time::timeout(PATIENCE, open(connector, address)).await;
        let sender =
            sender.map_err(|_| unreachable(format!("{address} did not answer in {PATIENCE:?}").into()))?;
        let sender = Arc::new(tokio::sync::Mutex::new(sender.map_err(unreachable)?));
        Ok(BoxCloneSyncService::new(tower::service_fn(move |request| send(sender.clone(), request))))
    }
}

type Sender = hyper::client::conn::http2::SendRequest<NodeBody>;

/// A connection, and the task that drives it for as long as somebody holds the connection.
struct Connection {
    address: SocketAddr,
    sender: Sender,
    _driver: tokio::task::JoinSet<()>,
}

async fn open(connector: TlsConnector, address: SocketAddr) -> Result<Connection, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = connector.connect(ServerName::IpAddress(address.ip().into()), stream).await?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a node ended");
        }
    });
    Ok(Connection { address, sender, _driver: driver })
}

async fn send(
    connection: Arc<tokio::sync::Mutex<Connection>>,
    mut request: Request<NodeBody>,
) -> Result<Response<NodeBody>, BoxError> {
    let (mut sender, address) = {
        let connection = connection.lock().await;
        (connection.sender.clone(), connection.address)
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = format!("https://{address}{path}").parse()?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    // The connection lives as long as the answer is read.
    Ok(answer.map(|body| {
        let body = body.map_err(move |error| {
            let _held = &connection;
            BoxError::from(error)
        });
        NodeBody::new(body)
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn redirect_and_proxy_abuse_by_the_address_of_a_node() {
        let at = |ip: &str| {
            address(&json!({"status": {
                "addresses": [{"type": "InternalIP", "address": ip}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            }}))
        };
        for nowhere in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "n",
        ] {
            assert_eq!(at(nowhere), None, "{nowhere}");
        }
        for node in ["10.0.0.1", "127.0.0.1", "fd00::1"] {
            assert!(at(node).is_some(), "{node}");
        }
    }
}
