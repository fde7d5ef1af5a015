//! What every part needs that talks to the API: shared informers, a work queue, an event recorder, a Lease elector and the
//! way from the API server to a node.
//!
//! A part gets a [`Context`] at assembly. It reads through [`Informers`] (one list and one watch per type, selector and
//! process, whatever the number of readers), puts keys into a [`WorkQueue`] from the informers' handlers, works on them
//! with [`work`], writes through [`Context::client`] and tells users about it through a [`Recorder`]. Of several instances
//! a [`LeaseElector`] lets one work at a time. Parts of one process share informers and need not share an identity:
//! [`Context::account`] is the context of a part that writes as a service account. A [`KubeconfigClient`] follows the files
//! that say who one is.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use quarterdeck_core::client::{Context, Informer, ObjectKey, Reconcile, Requeue, WorkQueue, work};
//! use quarterdeck_core::component::{BoxError, Stop};
//!
//! struct Greeter(Informer<ConfigMap>);
//!
//! #[async_trait]
//! impl Reconcile for Greeter {
//!     type Key = ObjectKey;
//!
//!     async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
//!         println!("{key} is {}", if self.0.store().get(key).is_some() { "here" } else { "gone" });
//!         Ok(Requeue::No)
//!     }
//! }
//!
//! async fn greet(context: Context, mut stop: Stop) {
//!     let (maps, queue) = (context.informers.of::<ConfigMap>(), WorkQueue::new());
//!     let added = queue.clone();
//!     let _subscription = maps.subscribe(move |event| added.add(ObjectKey::of(&**event.object())));
//!     if stop.or(maps.synced()).await.is_some() {
//!         work("greeter", &queue, 1, Arc::new(Greeter(maps)), stop).await;
//!     }
//! }
//! ```
//!
//! Everything here is deterministic: stores are ordered, delays have no jitter, time is the [`Clock`]'s and tokio's.

mod accounts;
mod context;
mod elector;
mod informer;
mod informers;
mod kubeconfig;
mod measured;
mod queue;
mod recorder;
mod store;
mod switch;
mod worker;

#[cfg(test)]
mod fake;

pub use accounts::TokenAccounts;
pub use context::Context;
pub use elector::{LeaseElector, LeaseLost, LeaseSettings};
pub use informer::{HandlerId, Informer, Subscription, Watched};
pub use informers::{Informers, Selector};
pub use kubeconfig::KubeconfigClient;
pub use measured::{Measured, MeasuredFuture, MeasuredLayer};
pub use queue::WorkQueue;
pub use recorder::{EventType, Recorder};
pub use store::{Event, Index, ObjectKey, Store};
pub use switch::{ClientSwitch, Retired};
pub use worker::{Reconcile, Requeue, work};

pub use crate::node::{NodeBody, NodeConnectError, NodeConnector, NodeMap, NodeService};

#[cfg(doc)]
use crate::clock::Clock;
