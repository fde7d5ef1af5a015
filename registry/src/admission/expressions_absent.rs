//! Expressions that admission evaluates about a write, for servers built without the Common Expression Language: each fails.

use serde_json::Value;

use super::matching::Event;
use crate::layers::authorization::Authorization;
use crate::user::User;

/// What all expressions of a policy may cost on one write.
pub(crate) const PER_POLICY: Budget = Budget;
/// What the conditions of one webhook or policy may cost on one write.
pub(crate) const PER_CONDITIONS: Budget = Budget;

/// What expressions may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget;

/// The name under which expressions ask what users may do.
pub(crate) const AUTHORIZER: &str = "authorizer";

/// What expressions ask: nothing.
#[derive(Debug, Clone)]
pub(crate) struct Checks;

impl Checks {
    pub(super) fn about(_event: &Event<'_>) -> Self {
        Self
    }

    /// Has nothing be decided.
    pub(super) async fn decide(&self, _authorization: Option<&Authorization>, _writer: &User) -> bool {
        false
    }
}

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
    pub(crate) fn new(
        _expressions: &Expressions,
        _inputs: &Inputs,
        _checks: &Checks,
        _budget: Budget,
    ) -> Self {
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
