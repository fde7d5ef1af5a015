//! The proxy as a whole: real sockets on the loopback interface.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

mod api;
mod file;
mod network;
mod nftables;
mod support;
mod tcp;
mod udp;
