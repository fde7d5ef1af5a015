//! How many files the process may have open: connections are files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many files are left for what is no connection of a client: the store, webhooks, agents.
const OTHERS: u64 = 256;
/// How many connections a listener has at most.
const CONNECTIONS: u64 = 16_384;

/// Lets this process have open as many files as it may: the limit that a shell sets at first is for programs that cannot have many.
pub(crate) fn allow_all() {
    let limit = getrlimit(Resource::Nofile);
    // Where that is not allowed, the limit stays, and `connections` goes by it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Returns how many connections a listener may have: half of what is left if there are two.
pub(crate) fn connections() -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let places = most.saturating_sub(OTHERS) / 2;
    usize::try_from(places.clamp(16, CONNECTIONS)).unwrap_or(16)
}
