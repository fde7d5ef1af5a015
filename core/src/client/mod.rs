//! What every part needs that talks to the API: shared informers, a work queue, an event recorder, a Lease elector and the
//! way from the API server to a node.
//!
//! A part gets a [`Context`] at assembly. It reads through [`Informers`] (one list and one watch per type, selector and
//! process, whatever the number of readers), puts keys into a [`WorkQueue`] from the informers' handlers, works on them
//! with [`work`], writes through [`Context::client`] and tells users about it through a [`Recorder`]. Of several instances
//! a [`LeaseElector`] lets one work at a time.
//!
//! Everything here is deterministic: stores are ordered, delays have no jitter, time is the [`Clock`]'s and tokio's.

mod context;
mod elector;
mod informer;
mod queue;
mod recorder;
mod store;
mod worker;

#[cfg(test)]
mod fake;

pub use context::Context;
pub use elector::{LeaseElector, LeaseLost, LeaseSettings};
pub use informer::{HandlerId, Informer, Informers, Selector, Subscription, Watched};
pub use queue::WorkQueue;
pub use recorder::{EventType, Recorder};
pub use store::{Event, Index, ObjectKey, Store};
pub use worker::{Reconcile, Requeue, work};

pub use crate::node::{NodeBody, NodeConnectError, NodeConnector, NodeMap, NodeService};

#[cfg(doc)]
use crate::clock::Clock;
