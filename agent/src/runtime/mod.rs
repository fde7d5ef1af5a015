//! The runtimes: three ways to run the pods of a node.
//!
//! | runtime | a container is | needs |
//! | --- | --- | --- |
//! | `DockerRuntime` (feature `docker`) | a container of a Docker engine | an engine |
//! | [`ProcessRuntime`] | a process of the host | Linux; more if it is root |
//! | [`SimulatedRuntime`] | an entry in a table that follows a script | nothing; for tests |
//!
//! All keep the contract of [`Runtime`](quarterdeck_core::runtime::Runtime). Which one a node has is the choice of whoever
//! assembles it; nothing else in the agent knows.

mod addresses;
#[cfg(feature = "docker")]
pub mod docker;
#[cfg(target_os = "linux")]
mod forward;
mod hub;
#[cfg(any(target_os = "linux", feature = "docker"))]
mod machine;
mod measured;
#[cfg(target_os = "linux")]
pub mod process;
pub mod simulated;
#[cfg(any(target_os = "linux", feature = "docker"))]
mod tasks;

#[cfg(feature = "docker")]
pub use docker::DockerRuntime;
pub use measured::MeasuredRuntime;
#[cfg(target_os = "linux")]
pub use process::ProcessRuntime;
pub use simulated::SimulatedRuntime;

/// What a shell does for `Act::Flood` of the contract suite.
#[cfg(test)]
const FLOOD: &str = "line=x; while [ ${#line} -lt 65536 ]; do line=$line$line; done; \
                     for n in 1 2 3 4 5 6 7 8; do echo $line; done";
