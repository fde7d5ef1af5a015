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
        let mut line = what.to_owned();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // What goes on after the first line shows a part of a file.
            let first = text.lines().next().unwrap_or_default();
            // Some errors repeat what caused them.
            if !line.ends_with(first) {
                line.push_str(&format!(": {first}"));
            }
            next = error.source();
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
