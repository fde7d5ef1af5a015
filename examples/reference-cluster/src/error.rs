//! Why the binary gives up: one line that says what, and what to do.

use std::fmt;

/// A line for the person at the terminal.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// Makes a failure of a line.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }

    /// Makes a failure of what was attempted, and of an error with all its sources.
    pub(crate) fn because(what: &str, error: &dyn std::error::Error) -> Self {
        let mut line = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(error) = source {
            line.push_str(&format!(": {error}"));
            source = error.source();
        }
        Self(line)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// What a command comes to.
pub(crate) type Result<T> = std::result::Result<T, Failure>;
