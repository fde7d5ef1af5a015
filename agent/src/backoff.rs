//! How long to wait before something that failed is tried again: 10 seconds, doubling to 5 minutes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first wait.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// What held so long without being tried again is forgiven.
const FORGIVEN: SignedDuration = SignedDuration::from_mins(10);

/// The wait of one thing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff(Option<(SignedDuration, Timestamp)>);

impl Backoff {
    /// Returns until when to wait after a failure at `failed`, and how long that is in all; `None` if it need not wait.
    pub(crate) fn until(&self, failed: Timestamp) -> Option<(Timestamp, Duration)> {
        let (delay, _) = self.known(failed)?;
        Some((failed + delay, delay.unsigned_abs()))
    }

    /// Notes that the thing is tried again at `now`, after a failure at `failed`: the next wait is longer.
    pub(crate) fn tried(&mut self, failed: Timestamp, now: Timestamp) {
        let delay = self.known(failed).map_or(FIRST, |(delay, _)| LONGEST.min(delay * 2));
        self.0 = Some((delay, now));
    }

    fn known(&self, failed: Timestamp) -> Option<(SignedDuration, Timestamp)> {
        self.0.filter(|(_, tried)| failed.duration_since(*tried) <= FORGIVEN)
    }
}

/// Writes a duration as Go does (`5m0s`), in whole seconds.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_to_five_minutes_and_is_forgiven_after_ten() {
        let mut at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();

        for _ in 0..8 {
            let wait = backoff.until(at).map_or(Duration::ZERO, |(_, wait)| wait);
            waits.push(wait.as_secs());
            backoff.tried(at, at + SignedDuration::try_from(wait).unwrap());
            at += SignedDuration::try_from(wait).unwrap();
        }

        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.until(at + SignedDuration::from_mins(11)), None);
    }

    #[test]
    fn durations_are_written_as_go_does() {
        let written = [9, 80, 300, 3661].map(|seconds| go_duration(Duration::from_secs(seconds)));

        assert_eq!(written, ["9s", "1m20s", "5m0s", "1h1m1s"]);
    }
}
