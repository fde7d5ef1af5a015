//! The API server of the Quarterdeck SDK, as a tower service.
//!
//! Start at [`ApiServer`]. One machinery serves every kind: a kind is a [`Resource`] value, built-in
//! ones are in [`resources`], and there is no handler, route or cache per kind. A request passes authentication and
//! authorisation ([`layers`]), is taken apart ([`request`]), served by its verb from the watch cache ([`cache`]) or written
//! through admission ([`admission`]) and the kind's rules to [`storage`], which alone decides what is true.

pub mod admission;
pub mod audit;
mod beside;
mod body;
pub mod cache;
mod compress;
mod conversion;
pub mod custom;
mod discovery;
mod documents;
mod etag;
pub mod etcd_v2;
mod figures;
mod json;
pub mod layers;
pub mod listener;
mod managed;
mod negotiate;
#[cfg(feature = "tls")]
pub mod node_connector;
mod notes;
mod numbers;
pub mod object;
mod openapi;
pub mod rbac;
pub mod registry;
pub mod request;
pub mod resource;
pub mod resources;
pub mod schema;
pub mod selector;
mod server;
mod sparing;
pub mod status;
pub mod storage;
pub mod stored;
pub mod strategy;
pub mod table;
#[cfg(feature = "tls")]
pub mod tls;
pub mod tokens;
mod user;
pub mod validation;
mod verbs;
mod websocket;
pub mod write;

pub use admission::Admission;
pub use body::Body;
pub use layers::authentication::Authenticator;
pub use layers::authorization::Authorizer;
pub use layers::bodies::MAX_BODY;
pub use notes::Notes;
pub use resource::Resource;
pub use server::{ApiServer, ApiServerBuilder, AsUser, BuildError, StartError};
pub use status::Status;
pub use storage::MemoryStorage;
pub use user::User;
