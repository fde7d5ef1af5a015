//! The runtimes: three ways to run the pods of a node.
//!
//! | runtime | a container is | needs |
//! | --- | --- | --- |
//! | [`SimulatedRuntime`] | an entry in a table that follows a script | nothing; for tests |
//!
//! All keep the contract of [`Runtime`](quarterdeck_core::runtime::Runtime). Which one a node has is the choice of whoever
//! assembles it; nothing else in the agent knows.

mod addresses;
mod hub;
pub mod simulated;

pub use simulated::SimulatedRuntime;
