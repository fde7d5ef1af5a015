//! Wall-clock time, handed in rather than read.
//!
//! Everything that stores or compares a date takes a [`Clock`]; everything that waits uses [`tokio::time`]. A clock made
//! with [`Clock::following_tokio`] reads the same time that tokio's timers follow, so that a test that pauses tokio's time
//! moves dates and timers together.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A source of wall-clock time. Cloning it is cheap, and clones agree.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quarterdeck_core::clock::Clock;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
///
/// tokio::time::sleep(Duration::from_secs(90)).await; // returns at once: time is paused
///
/// assert_eq!(clock.now().to_string(), "2026-01-01T00:01:30Z");
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Tokio { start: Timestamp, base: Instant },
}

impl Clock {
    /// Reads the operating system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Starts at `start` and advances as tokio's time does, paused or not.
    ///
    /// # Panics
    ///
    /// Panics in later reads if the date leaves the range of [`Timestamp`] (year 9999).
    #[must_use]
    pub fn following_tokio(start: Timestamp) -> Self {
        Self(Source::Tokio { start, base: Instant::now() })
    }

    /// Returns the present time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Tokio { start, base } => {
                *start
                    + SignedDuration::try_from(base.elapsed())
                        .expect("an elapsed time fits a signed duration")
            }
        }
    }
}

/// Returns the time so much later, or the last one that there is: what clients say of durations has no bound.
///
/// # Examples
///
/// ```
/// use jiff::{SignedDuration, Timestamp};
/// use quarterdeck_core::clock::later;
///
/// assert_eq!(later(Timestamp::UNIX_EPOCH, SignedDuration::from_secs(60)).as_second(), 60);
/// assert_eq!(later(Timestamp::UNIX_EPOCH, SignedDuration::MAX), Timestamp::MAX);
/// ```
#[must_use]
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(by).unwrap_or(end)
}

/// Returns the moment that is so far away, or one that nobody lives to see.
#[must_use]
pub fn moment_in(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}
