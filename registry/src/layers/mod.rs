//! What every request passes before it is served: one gate per file, each a tower layer.

pub mod administrators;
pub mod authentication;
pub mod authorization;
pub mod bodies;
pub mod fairness;
pub mod gate;
pub mod impersonation;
pub mod node_authorizer;
pub mod time_limit;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use quarterdeck_core::component::BoxError;

/// The body of a request, once it is inside the server.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;
