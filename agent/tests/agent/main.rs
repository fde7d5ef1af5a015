//! The agent against a real API server, in process and in paused time.

mod bench;
mod life;
mod node;

use std::time::Duration;

/// A virtual second.
const SECOND: Duration = Duration::from_secs(1);
