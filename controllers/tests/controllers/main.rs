//! The controllers against a real API server, in process and in virtual time.

mod cluster;
mod deployments;
mod replicas;
