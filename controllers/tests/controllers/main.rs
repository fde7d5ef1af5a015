//! The controllers against a real API server, in process and in virtual time.

mod cluster;
mod collection;
mod deployments;
mod namespaces;
mod replicas;
mod services;
