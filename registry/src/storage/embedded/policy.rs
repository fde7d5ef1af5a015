//! When what was written has to be on the disk.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

/// When a commit is forced to the disk (`fdatasync`), and so what a crash can take.
///
/// A crash of the process takes nothing under any policy: what was written is with the operating system. A crash of the
/// machine, or a loss of power, takes what was not synced; the store then opens with the commits before it, in order and each
/// whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Before it is acknowledged, or shown to anybody; commits in flight share a sync. Nothing is lost (default).
    #[default]
    EveryCommit,
    /// So long after the first commit that waits for it, at the latest. A crash of the machine may take the commits of the
    /// last interval, although they were acknowledged.
    Interval(Duration),
    /// When the operating system does it by itself, typically within half a minute, when a file of the log is full, and when
    /// the store is closed. A crash of the machine may take all commits since then, although they were acknowledged.
    Never,
}

/// A text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of \"always\", \"never\" and an interval such as \"100ms\"")]
pub struct ParseSyncPolicyError(String);

impl FromStr for SyncPolicy {
    type Err = ParseSyncPolicyError;

    /// Takes `always`, `never`, or the interval, such as `100ms` or `2s`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let interval = |text: &str| Duration::try_from(text.parse::<SignedDuration>().ok()?).ok();
        match text {
            "always" => Ok(Self::EveryCommit),
            "never" => Ok(Self::Never),
            text => match interval(text).filter(|interval| !interval.is_zero()) {
                Some(interval) => Ok(Self::Interval(interval)),
                None => Err(ParseSyncPolicyError(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EveryCommit => f.write_str("always"),
            Self::Interval(interval) => write!(f, "{interval:?}"),
            Self::Never => f.write_str("never"),
        }
    }
}
