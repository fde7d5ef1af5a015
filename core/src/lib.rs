//! Contracts of the Quarterdeck SDK: the traits that a control plane is assembled from, their types and errors, the
//! values that all parts share, and (feature `client`) what every part needs that talks to the API.
//!
//! | trait | what it is | default implementations |
//! | --- | --- | --- |
//! | [`storage::Storage`] | an ordered, revisioned, watchable store | `registry`: memory, a file, etcd |
//! | [`scheduling::Scheduler`] | a pod and a snapshot in, a decision out | `scheduler` |
//! | `runtime::Runtime` | pods and containers of one node | `agent`: processes, Docker, simulated |
//! | [`balancing::LoadBalancer`] | which backend gets a connection | `proxy`: round robin, random, least connections |
//!
//! Each has a numbered contract in its documentation and a suite in `testing` (feature `testing`) that any implementation
//! can run. No implementation of the four lives here.

pub mod balancing;
pub mod certificates;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod component;
pub mod diagnostics;
pub mod expression;
pub mod files;
pub mod hash;
pub mod health;
pub mod labels;
pub mod latest;
#[cfg(feature = "loopback")]
pub mod loopback;
pub mod metrics;
pub mod node;
pub mod origin;
pub mod protocol;
pub mod quantity;
pub mod quota;
pub mod random;
pub mod runtime;
pub mod scheduling;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
