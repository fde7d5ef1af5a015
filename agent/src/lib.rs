//! The node agent of the Quarterdeck SDK and its runtimes.
//!
//! Start at [`Agent`]: it makes a node of a machine. It registers the node, keeps its status and Lease fresh, runs the pods
//! that are bound to it through a [`Runtime`](quarterdeck_core::runtime::Runtime), and answers for their logs.
//!
//! [`certificates`] lets a node join a cluster with a bootstrap token, and renews what it is known by.
//!
//! The trait that the agent drives lives in `core`; its implementations are in [`runtime`].

mod agent;
mod backoff;
pub mod certificates;
mod env;
mod figures;
mod host;
mod node;
mod pods;
pub mod runtime;
mod server;
mod volumes;

pub use agent::Agent;
pub use server::{ServeError, ServerSettings};
