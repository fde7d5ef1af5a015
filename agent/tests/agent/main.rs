//! The agent against a real API server, in process and in paused time.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic, and its modules are its own")]

mod bench;
mod certificates;
mod config;
mod figures;
mod life;
mod node;
mod server;

use std::time::Duration;

/// A virtual second.
const SECOND: Duration = Duration::from_secs(1);
