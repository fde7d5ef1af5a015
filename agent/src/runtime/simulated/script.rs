//! What a simulated container does, written down beforehand.

use std::time::Duration;

/// What a container does from its start to its end. Times are counted from the start of the attempt.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quarterdeck_agent::runtime::simulated::Script;
///
/// let job = Script::run()
///     .starts_after(Duration::from_secs(2))
///     .says("working")
///     .exits(Duration::from_secs(30), 0);
/// # let _ = job;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub(super) start: Start,
    pub(super) start_after: Duration,
    pub(super) log: Vec<(Duration, String)>,
    pub(super) exit: Option<(Duration, Ending)>,
    /// How long it takes to end when it is asked to; `None` if it has to be killed.
    pub(super) stop_after: Option<Duration>,
    pub(super) stop: Ending,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    Runs,
    Refused(String),
    Fails(String),
}

/// How a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its program returns this code.
    Code(i32),
    /// A signal ends it.
    Signal(i32),
    /// It needs more memory than it may use.
    OutOfMemory,
    /// It ends, and nobody sees how.
    Unseen,
}

impl Script {
    /// Runs for ever, and says nothing. Asked to end, it does so at once, as a program that does not handle SIGTERM.
    #[must_use]
    pub fn run() -> Self {
        Self {
            start: Start::Runs,
            start_after: Duration::ZERO,
            log: Vec::new(),
            exit: None,
            stop_after: Some(Duration::ZERO),
            stop: Ending::Signal(15),
        }
    }

    /// Is refused: the runtime cannot do `what` (see
    /// [`RuntimeError::Unsupported`](quarterdeck_core::runtime::RuntimeError::Unsupported)).
    #[must_use]
    pub fn refused(what: impl Into<String>) -> Self {
        Self { start: Start::Refused(what.into()), ..Self::run() }
    }

    /// Cannot be run, as a container whose program does not exist (see
    /// [`RuntimeError::CannotRun`](quarterdeck_core::runtime::RuntimeError::CannotRun)).
    #[must_use]
    pub fn cannot_run(message: impl Into<String>) -> Self {
        Self { start: Start::Fails(message.into()), ..Self::run() }
    }

    /// Takes so long to start (default: no time).
    #[must_use]
    pub fn starts_after(mut self, delay: Duration) -> Self {
        self.start_after = delay;
        self
    }

    /// Writes a line to its log when it starts.
    #[must_use]
    pub fn says(self, line: impl Into<String>) -> Self {
        self.says_after(Duration::ZERO, line)
    }

    /// Writes a line to its log so long after its start.
    #[must_use]
    pub fn says_after(mut self, delay: Duration, line: impl Into<String>) -> Self {
        self.log.push((delay, line.into()));
        self.log.sort_by_key(|(delay, _)| *delay);
        self
    }

    /// Returns `code` so long after its start (default: it runs for ever).
    #[must_use]
    pub fn exits(self, delay: Duration, code: i32) -> Self {
        self.ends(delay, Ending::Code(code))
    }

    /// Is ended by SIGSEGV so long after its start (default: it runs for ever).
    #[must_use]
    pub fn crashes(self, delay: Duration) -> Self {
        self.ends(delay, Ending::Signal(11))
    }

    /// Ends in this way so long after its start (default: it runs for ever).
    #[must_use]
    pub fn ends(mut self, delay: Duration, ending: Ending) -> Self {
        self.exit = Some((delay, ending));
        self
    }

    /// Takes so long to end when it is asked to, and ends in this way (default: at once, by SIGTERM).
    #[must_use]
    pub fn stops_after(mut self, delay: Duration, ending: Ending) -> Self {
        self.stop_after = Some(delay);
        self.stop = ending;
        self
    }

    /// Does not end when it is asked to: it has to be killed.
    #[must_use]
    pub fn ignores_stop(mut self) -> Self {
        self.stop_after = None;
        self
    }
}

impl Default for Script {
    /// Runs for ever and says one line.
    fn default() -> Self {
        Self::run().says("simulated container started")
    }
}
