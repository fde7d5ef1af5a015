//! The way from the API server to a node: whatever a node's agent serves (logs today), as a tower service.
//!
//! An API server asks its [`NodeConnector`] for a node by name and sends requests to the [`NodeService`] that it gets.
//! [`NodeMap`] is the connector for agents of the same process; one that dials the addresses of Node objects lives with
//! whoever assembles a cluster of several processes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use tower::util::BoxCloneSyncService;

use crate::component::BoxError;

/// The body of requests to a node and of its answers; it may stream for as long as both sides live.
pub type NodeBody = UnsyncBoxBody<Bytes, BoxError>;

/// A node's agent server.
pub type NodeService = BoxCloneSyncService<Request<NodeBody>, Response<NodeBody>, BoxError>;

/// Reaches nodes by name.
///
/// # Contract
///
/// 1. The service answers for the named node, or [`connect`](NodeConnector::connect) fails: never another node's.
/// 2. A connection is not checked again after it was made: requests through it fail when the node is gone.
/// 3. Dropping the future abandons the attempt.
#[async_trait]
pub trait NodeConnector: fmt::Debug + Send + Sync + 'static {
    /// Returns the server of the node called `node`.
    ///
    /// # Errors
    ///
    /// [`NodeConnectError::Unknown`] if there is no such node, [`NodeConnectError::Unreachable`] if it does not answer.
    async fn connect(&self, node: &str) -> Result<NodeService, NodeConnectError>;
}

const _: Option<&dyn NodeConnector> = None; // object safety is API: losing it must not compile

/// Why a node cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeConnectError {
    /// No node of that name is known here.
    #[error("node {0:?} is not known")]
    Unknown(String),
    /// The node is known and does not answer.
    #[error("node {node:?} cannot be reached")]
    Unreachable {
        /// The node's name.
        node: String,
        /// What happened on the way.
        #[source]
        source: BoxError,
    },
}

/// The agents of this process, by the name of their node. Clones share one map.
///
/// # Examples
///
/// ```
/// use http::{Request, Response};
/// use quarterdeck_core::component::BoxError;
/// use quarterdeck_core::node::{NodeBody, NodeConnector, NodeMap};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let nodes = NodeMap::new();
/// let echo = tower::service_fn(async |request: Request<NodeBody>| {
///     Ok::<_, BoxError>(Response::new(request.into_body()))
/// });
/// nodes.register("node-1", tower::util::BoxCloneSyncService::new(echo));
///
/// let answer = nodes.connect("node-1").await?.oneshot(Request::new(NodeBody::default())).await?;
///
/// assert!(answer.status().is_success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct NodeMap(Arc<RwLock<BTreeMap<String, NodeService>>>);

impl NodeMap {
    /// Makes a map without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `service` answer for the node called `name`, instead of the one that did before.
    pub fn register(&self, name: impl Into<String>, service: NodeService) {
        self.0.write().expect("no holder panics").insert(name.into(), service);
    }

    /// Forgets the node called `name`. Connections made before go on.
    pub fn unregister(&self, name: &str) {
        self.0.write().expect("no holder panics").remove(name);
    }
}

impl fmt::Debug for NodeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.read().expect("no holder panics").keys()).finish()
    }
}

#[async_trait]
impl NodeConnector for NodeMap {
    async fn connect(&self, node: &str) -> Result<NodeService, NodeConnectError> {
        let nodes = self.0.read().expect("no holder panics");
        nodes.get(node).cloned().ok_or_else(|| NodeConnectError::Unknown(node.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_left_is_not_known_any_more() {
        let nodes = NodeMap::new();
        let silent = tower::service_fn(async |_: Request<NodeBody>| {
            Ok::<_, BoxError>(Response::new(NodeBody::default()))
        });
        nodes.register("a", BoxCloneSyncService::new(silent));
        assert!(nodes.connect("a").await.is_ok());

        nodes.unregister("a");

        assert!(matches!(nodes.connect("a").await, Err(NodeConnectError::Unknown(name)) if name == "a"));
    }
}
