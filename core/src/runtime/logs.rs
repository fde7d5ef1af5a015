//! Logs: what containers wrote.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

use super::{ContainerKey, RuntimeError};

/// Pieces of a log, cut anywhere. Ends when the log does.
pub type LogChunks = BoxStream<'static, Result<Bytes, RuntimeError>>;

/// Access to what containers wrote to standard output and standard error, in one sequence.
///
/// # Contract
///
/// 1. What an attempt wrote is readable while the attempt is held, running or ended.
/// 2. With `follow`, the stream yields what is written later too, and ends soon after the container has ended, with all of
///    its output read. Without, it ends at what is there.
/// 3. `tail` starts at the last so many lines of what is there, a line without its end among them.
/// 4. An option that the runtime cannot keep is [`RuntimeError::Unsupported`], never ignored.
/// 5. A reader that stops reading does not hold up the container. What a container writes is kept up to a bound of the
///    implementation; then the oldest goes first.
/// 6. An attempt that is not held is [`RuntimeError::ContainerNotFound`].
#[async_trait]
pub trait Logs: Send + Sync {
    /// Opens the log of an attempt.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::ContainerNotFound`], [`RuntimeError::Unsupported`], [`RuntimeError::Unavailable`].
    async fn open(&self, container: &ContainerKey, options: LogOptions) -> Result<LogChunks, RuntimeError>;
}

const _: Option<&dyn Logs> = None; // object safety is API: losing it must not compile

/// Which part of a log to read, and how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what is written later.
    pub follow: bool,
    /// Start at the last so many lines; at the first if absent.
    pub tail: Option<u64>,
    /// Leave out what was written before.
    pub since: Option<Timestamp>,
    /// Put the time before each line, in RFC 3339 with nanoseconds and a space.
    pub timestamps: bool,
}
