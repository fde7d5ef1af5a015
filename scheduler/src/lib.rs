//! The default scheduler of the Quarterdeck SDK, and the driver around any scheduler.
//!
//! [`SchedulerDriver`] keeps a snapshot of the cluster by watching it, asks a
//! [`Scheduler`](quarterdeck_core::scheduling::Scheduler) about each pod that waits, and binds. [`DefaultScheduler`] decides
//! as kube-scheduler does by default: [filters] rule nodes out, [scores] choose among the rest. [`explain`] says why.
//! [`digest`] makes what a decision needs from pods and nodes of the API.
//!
//! # A scheduler of one's own
//!
//! It needs ten lines: here is one that takes the feasible node with the fewest pods. It runs unchanged in the driver, in a
//! test, or over a snapshot of a real cluster.
//!
//! ```
//! use quarterdeck_core::scheduling::{Decision, NodeInfo, PodInfo, Scheduler, Snapshot};
//! use quarterdeck_scheduler::filters;
//!
//! #[derive(Debug)]
//! struct FewestPods;
//!
//! impl Scheduler for FewestPods {
//!     fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
//!         match filters::feasible(pod, cluster).into_iter().min_by_key(|node| node.pods().len()) {
//!             Some(node) => Decision::Bind(node.id()),
//!             None => Decision::Unschedulable(filters::refusals(pod, cluster)),
//!         }
//!     }
//! }
//!
//! let cluster = Snapshot::builder()
//!     .node(NodeInfo::new("full").with_cpu(100))
//!     .node(NodeInfo::new("roomy").with_cpu(4_000))
//!     .pod("roomy", PodInfo::new("default", "first"))
//!     .build();
//!
//! let decision = FewestPods.schedule(&PodInfo::new("default", "second").with_cpu(250), &cluster);
//!
//! assert_eq!(decision, Decision::Bind(cluster.named("roomy").unwrap().id()));
//! ```

mod default;
pub mod digest;
mod driver;
pub mod explain;

pub use default::{DefaultScheduler, filters, scores};
pub use driver::SchedulerDriver;
