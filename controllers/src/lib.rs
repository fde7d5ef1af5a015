//! The default controllers of the Quarterdeck SDK, each usable alone.
//!
//! A controller compares what is wanted with what is there and does the next step, again and again. Each is a
//! [`Component`] made from a [`Context`]; [`all`] makes all of them. They speak nothing but the Kubernetes API, so that
//! they also work on any other API server.
//!
//! | controller | keeps |
//! | --- | --- |
//! | [`ReplicationController`], [`ReplicaSetController`] | as many pods as wanted |
//! | [`DeploymentController`] | a replica set per template, and the rollout from one to the next |
//! | [`EndpointsController`], [`EndpointSliceController`] | the addresses of the pods behind each service |
//! | [`NamespaceController`] | nothing in namespaces that are deleted |
//! | [`ServiceAccountController`], [`RootCaPublisher`] | what every namespace has from the start |
//! | [`GarbageCollector`] | nothing that belonged to what is gone |

mod claim;
mod deployment;
mod discovery;
mod endpoint_slice;
mod endpoints;
mod expectations;
mod garbage_collector;
mod meta;
mod namespace;
mod pod;
mod replication;
mod service;
mod service_account;

pub use deployment::DeploymentController;
pub use endpoint_slice::EndpointSliceController;
pub use endpoints::EndpointsController;
pub use garbage_collector::GarbageCollector;
pub use namespace::NamespaceController;
pub use replication::{ReplicaSetController, ReplicationController};
pub use service_account::{RootCaPublisher, ServiceAccountController};

#[cfg(doc)]
use quarterdeck_core::{client::Context, component::Component};
