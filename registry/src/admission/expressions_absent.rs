//! Expressions that admission evaluates about a write, for servers built without the Common Expression Language: each fails.

use serde_json::Value;

/// What all expressions of a policy may cost on one write.
pub(crate) const PER_POLICY: u64 = 0;
/// What the conditions of one webhook or policy may cost on one write.
pub(crate) const PER_CONDITIONS: u64 = 0;

/// Returns nothing: whether an expression can be evaluated is for servers that do.
pub(crate) fn check(_text: &str, _names: &[&str]) -> Option<String> {
    None
}

/// What expressions came to: nothing.
#[derive(Debug, Default)]
pub(crate) struct Expressions;

/// What expressions are about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {}

impl Inputs {
    /// Adds a value.
    pub(crate) fn with(self, _name: &'static str, _value: Option<Value>) -> Self {
        self
    }
}

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
#[expect(dead_code, reason = "nothing is evaluated")]
pub(crate) enum Outcome {
    Bool(bool),
    Text(String),
    Null,
    Other(String),
}

/// Why an expression comes to nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EvaluationError {
    /// It failed; the message is complete.
    Failed(String),
    /// The budget is spent: nothing more is evaluated.
    #[expect(dead_code, reason = "nothing is evaluated")]
    Exhausted,
}

impl std::fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::Exhausted => Ok(()),
        }
    }
}

/// One evaluation of several expressions.
pub(crate) struct Evaluation;

impl Evaluation {
    pub(crate) fn new(_expressions: &Expressions, _inputs: &Inputs, _budget: u64) -> Self {
        Self
    }

    /// Gives an expression a name.
    pub(crate) fn define(&mut self, _name: &str, _text: &str) {}

    /// Evaluates nothing.
    ///
    /// # Errors
    ///
    /// That the server cannot.
    pub(crate) fn evaluate(&mut self, text: &str) -> Result<Outcome, EvaluationError> {
        let text = text.trim();
        let why = format!("expression '{text}' resulted in error: the server is built without CEL");
        Err(EvaluationError::Failed(why))
    }
}
