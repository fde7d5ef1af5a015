//! What the expressions of a policy come to.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::is_lenient;
use crate::admission::expressions::{
    Checks, Evaluation, EvaluationError, Expressions, Inputs, Outcome, PER_CONDITIONS, PER_POLICY,
};
use crate::admission::matching::{Evaluator, conditions_hold};
use crate::figures::CheckError;

/// How many bytes a message may have that an expression makes.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// Why a policy is against a write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) message: String,
    /// The reason of the refusal's Status, if the policy names one.
    pub(super) reason: Option<String>,
    pub(super) check: Check,
}

/// How an expression was evaluated, for metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Check {
    pub(super) error: CheckError,
    pub(super) took: Duration,
}

impl Check {
    /// It came to something.
    fn done(began: Instant) -> Self {
        Self { error: CheckError::None, took: began.elapsed() }
    }

    /// It came to nothing.
    fn failed(why: &str, began: Instant) -> Self {
        let error = match why {
            why if why.starts_with("compilation ") => CheckError::Compilation,
            why if *why == EvaluationError::Exhausted.to_string() => CheckError::Budget,
            _ => CheckError::Other,
        };
        Self { error, took: began.elapsed() }
    }
}

impl Decision {
    fn failed(why: impl std::fmt::Display, began: Instant) -> Self {
        let message = why.to_string();
        Self { check: Check::failed(&message, began), message, reason: None }
    }
}

/// What a policy says for the audit log.
#[derive(Debug, PartialEq)]
pub(super) enum Annotation {
    Publish {
        key: String,
        value: String,
    },
    /// It was not found out, which refuses the write.
    Failed(String, Check),
}

/// What a policy comes to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Why it is against the write, with the index of the expression.
    pub(super) denials: Vec<(usize, Decision)>,
    pub(super) annotations: Vec<Annotation>,
    /// The first expression that came to nothing, such as `validations[0]`.
    pub(super) failed: Option<String>,
    /// Expressions that came to nothing, and the write is let through all the same.
    pub(super) passed_over: Vec<Check>,
}

impl Verdict {
    /// What a policy comes to that cannot be evaluated further.
    fn stopped(self, lenient: bool, why: impl std::fmt::Display, began: Instant) -> Self {
        let decision = Decision::failed(why, began);
        let (denials, passed_over) = match lenient {
            true => (Vec::new(), vec![decision.check]),
            false => (vec![(0, decision)], Vec::new()),
        };
        Self { denials, annotations: Vec::new(), failed: self.failed, passed_over }
    }

    fn fails_at(&mut self, list: &str, index: usize) {
        self.failed.get_or_insert_with(|| format!("{list}[{index}]"));
    }
}

fn items<'v>(spec: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    spec[name].as_array().into_iter().flatten()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// Evaluates a policy.
pub(super) fn policy(spec: &Value, expressions: &Expressions, inputs: &Inputs, checks: &Checks) -> Verdict {
    let lenient = is_lenient(spec);
    let begin = |budget| {
        let mut evaluation = Evaluation::new(expressions, inputs, checks, budget);
        for variable in items(spec, "variables") {
            evaluation.define(text(variable, "name"), text(variable, "expression"));
        }
        evaluation
    };
    let mut verdict = Verdict::default();
    if items(spec, "matchConditions").next().is_some() {
        let mut conditions = Evaluation::new(expressions, inputs, checks, PER_CONDITIONS);
        let mut evaluate = |text: &str| conditions.evaluate(text);
        let began = Instant::now();
        match conditions_hold_in(&mut verdict, spec, lenient, &mut evaluate) {
            Ok(true) => {}
            Ok(false) => return verdict,
            Err(why) => return verdict.stopped(lenient, why, began),
        }
    }
    let mut evaluation = begin(PER_POLICY);
    for (index, validation) in items(spec, "validations").enumerate() {
        let began = Instant::now();
        let outcome = evaluation.evaluate(text(validation, "expression"));
        if outcome.is_err() {
            verdict.fails_at("validations", index);
        }
        match outcome {
            Ok(Outcome::Bool(true)) => {}
            Ok(_) => {
                let check = Check::done(began);
                let message = message(validation, &mut evaluation);
                let reason = validation["reason"].as_str().map(str::to_owned);
                verdict.denials.push((index, Decision { message, reason, check }));
            }
            Err(EvaluationError::Failed(why)) if lenient => {
                verdict.passed_over.push(Check::failed(&why, began));
            }
            Err(error @ EvaluationError::Failed(_)) => {
                verdict.denials.push((index, Decision::failed(error, began)));
            }
            Err(error @ EvaluationError::Exhausted) => return verdict.stopped(lenient, error, began),
        }
    }
    let mut evaluation = begin(PER_POLICY);
    for (index, annotation) in items(spec, "auditAnnotations").enumerate() {
        let began = Instant::now();
        let outcome = evaluation.evaluate(text(annotation, "valueExpression").trim());
        if !matches!(outcome, Ok(Outcome::Text(_) | Outcome::Null)) {
            verdict.fails_at("auditAnnotations", index);
        }
        match self::annotation(annotation, lenient, outcome, began) {
            Ok(annotation) => verdict.annotations.extend(annotation),
            Err(error) => return verdict.stopped(lenient, error, began),
        }
    }
    verdict
}

/// Whether the conditions of a policy hold.
fn conditions_hold_in(
    verdict: &mut Verdict,
    spec: &Value,
    lenient: bool,
    evaluate: &mut Evaluator<'_>,
) -> Result<bool, String> {
    let mut index = 0;
    let mut evaluate = |text: &str| {
        let outcome = evaluate(text);
        match &outcome {
            // What a policy is not about may well have nothing of what other conditions look at.
            Ok(Outcome::Bool(false)) => verdict.failed = None,
            Ok(_) => {}
            Err(_) => verdict.fails_at("matchConditions", index),
        }
        index += 1;
        outcome
    };
    conditions_hold(&spec["matchConditions"], !lenient, &mut evaluate)
}

/// What is said of a validation that does not hold.
fn message(validation: &Value, evaluation: &mut Evaluation) -> String {
    let expression = text(validation, "messageExpression");
    if !expression.is_empty()
        && let Ok(Outcome::Text(message)) = evaluation.evaluate(expression)
    {
        let message = message.trim();
        if !message.is_empty() && message.len() <= LONGEST_MESSAGE && !message.contains('\n') {
            return message.to_owned();
        }
    }
    match text(validation, "message").trim() {
        "" => format!("failed expression: {}", text(validation, "expression").trim()),
        message => message.to_owned(),
    }
}

/// What is said for the audit log.
fn annotation(
    annotation: &Value,
    lenient: bool,
    outcome: Result<Outcome, EvaluationError>,
    began: Instant,
) -> Result<Option<Annotation>, EvaluationError> {
    let expression = text(annotation, "valueExpression");
    let failed = |why: String| {
        let check = Check::failed(&why, began);
        Annotation::Failed(why, check)
    };
    Ok(match outcome {
        Ok(Outcome::Text(value)) => match value.trim() {
            "" => None,
            value => {
                let key = text(annotation, "key").to_owned();
                Some(Annotation::Publish { key, value: value.to_owned() })
            }
        },
        Ok(Outcome::Null) => None,
        Ok(other) => {
            let found = match other {
                Outcome::Other(found) => found,
                _ => "bool".into(),
            };
            let why = format!(
                "valueExpression '{expression}' resulted in unsupported return type: {found}. Return type must be either \
                 string or null."
            );
            Some(failed(why))
        }
        Err(EvaluationError::Failed(_)) if lenient => None,
        Err(EvaluationError::Failed(why)) => Some(failed(why)),
        Err(EvaluationError::Exhausted) => return Err(EvaluationError::Exhausted),
    })
}

#[cfg(all(test, feature = "cel"))]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(spec: Value) -> Verdict {
        let object = json!({"metadata": {"name": "a"}, "spec": {"replicas": 7}});
        let inputs = Inputs::default().with("object", Some(object)).with("params", Some(json!({"most": 5})));
        policy(&spec, &Expressions::default(), &inputs, &Checks::none())
    }

    #[test]
    fn a_message_is_that_of_the_expression_then_the_given_one_then_the_expression_itself() {
        let denied = verdict(json!({
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "variables.n > 1"},
                {"expression": "variables.n <= params.most", "reason": "Forbidden",
                 "messageExpression": "'at most ' + string(params.most)", "message": "too many"},
                {"expression": "variables.n < 1", "messageExpression": "''", "message": "not one"},
                {"expression": " variables.n == 0 "},
            ],
        }));
        let denied: Vec<_> =
            denied.denials.into_iter().map(|(index, it)| (index, it.message, it.reason)).collect();
        assert_eq!(
            denied,
            [
                (1, "at most 5".to_owned(), Some("Forbidden".to_owned())),
                (2, "not one".to_owned(), None),
                (3, "failed expression: variables.n == 0".to_owned(), None),
            ]
        );
    }

    #[test]
    fn what_fails_refuses_or_not_as_the_policy_says() {
        let broken = json!([{"expression": "object.nothing == 1"}]);
        let strict = verdict(json!({"failurePolicy": "Fail", "validations": broken}));
        let lenient = verdict(json!({"failurePolicy": "Ignore", "validations": broken}));
        assert_eq!(
            strict.denials[0].1.message,
            "expression 'object.nothing == 1' resulted in error: no such key: nothing"
        );
        let failed = Some("validations[0]".to_owned());
        assert_eq!(strict.failed, failed);
        assert_eq!(strict.denials[0].1.check.error, CheckError::Other);
        assert_eq!((lenient.denials, lenient.failed), (Vec::new(), failed));
        assert_eq!(lenient.passed_over.len(), 1);
    }

    #[test]
    fn nothing_is_evaluated_unless_all_conditions_hold() {
        let spec = |condition: &str| {
            json!({
                "matchConditions": [{"name": "c", "expression": condition}],
                "validations": [{"expression": "false"}],
            })
        };
        assert_eq!(verdict(spec("object.spec.replicas > 100")), Verdict::default());
        assert_eq!(verdict(spec("true")).denials.len(), 1);
        assert!(verdict(spec("object.no")).denials[0].1.message.contains("no such key: no"));
    }

    #[test]
    fn annotations_are_texts_or_nothing() {
        let said = verdict(json!({"auditAnnotations": [
            {"key": "a", "valueExpression": "'n ' + object.metadata.name"},
            {"key": "b", "valueExpression": "null"},
            {"key": "c", "valueExpression": "1"},
        ]}));
        let published = Annotation::Publish { key: "a".into(), value: "n a".into() };
        assert_eq!(said.annotations[0], published);
        assert!(matches!(&said.annotations[1], Annotation::Failed(why, _) if why.contains("type: int.")));
        assert_eq!(said.annotations.len(), 2);
    }
}
