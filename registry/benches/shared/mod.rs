//! What several benchmarks need: servers and load generators in processes of their own, and the disk by itself.
//!
//! A benchmark brings these modules into its root, where they look for each other.

#![allow(dead_code, reason = "no benchmark needs all of it")]

pub(crate) mod access;
pub(crate) mod connection;
pub(crate) mod disk;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod objects;
pub(crate) mod process;
pub(crate) mod rate;
pub(crate) mod serve;
