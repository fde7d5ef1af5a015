//! Rules in the Common Expression Language: `x-kubernetes-validations`.
//!
//! Each node of a schema has its own rules, compiled once. What a rule may cost is bounded twice: by the bounds of the schema when
//! the definition is written, and by the sizes in the object each time ([`super::cost`]): the evaluator itself counts nothing.

mod compile;

use std::sync::OnceLock;

use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator};
use quarterdeck_core::expression::with_stack;
use serde_json::Value;

use super::cost::{Found, Values};
use super::lists::counterpart;
use super::schema::{Additional, List, Schema, has_rules};
use crate::validation::FieldError;

pub(crate) use compile::{compile as program, validate};

/// What one rule may cost on one value.
const PER_CALL: u64 = 1_000_000;
/// What all rules together may cost on one object.
const PER_OBJECT: u64 = 2_000_000;

/// The rules of a schema, compiled when the first object is checked: no other kind waits for that.
pub(crate) struct Rules {
    /// Absent if there are none.
    schema: Option<Value>,
    compiled: OnceLock<Option<Compiled>>,
}

struct Compiled {
    root: Node,
    validator: Validator,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("any", &self.schema.is_some()).finish()
    }
}

/// The rules of a node of a schema, and the nodes below that have some.
struct Node {
    /// The name of the node's type, which errors show for its value.
    kind: String,
    /// Rules on a value alone.
    plain: Option<CompiledSchema>,
    /// Rules on a change.
    transition: Option<CompiledSchema>,
    members: Vec<(String, Node)>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
    list: List,
}

impl Rules {
    /// Takes the rules of a schema.
    pub(crate) fn new(schema: &Value) -> Self {
        Self { schema: has_rules(schema).then(|| schema.clone()), compiled: OnceLock::new() }
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.schema.is_none()
    }

    /// Returns whether the rules, if there are any, are compiled.
    pub(super) fn are_ready(&self) -> bool {
        self.schema.is_none() || self.compiled.get().is_some()
    }

    /// Returns what is wrong with an object. What is as it was in `old` may stay so.
    pub(super) fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
        let Some(schema) = &self.schema else { return };
        let compiled = self
            .compiled
            .get_or_init(|| compile::node(schema).map(|root| Compiled { root, validator: Validator::new() }));
        let Some(Compiled { root, validator }) = compiled else { return };
        let mut run = Run { validator, budget: PER_OBJECT, errors };
        with_stack(|| run.node(root, object, old, ""));
    }
}

/// One evaluation of all rules on an object.
struct Run<'r> {
    validator: &'r Validator,
    budget: u64,
    errors: &'r mut Vec<FieldError>,
}

impl Run<'_> {
    fn node(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &str) {
        if value.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        if old != Some(value) {
            self.rules(node, node.plain.as_ref(), value, old, path);
        }
        self.rules(node, node.transition.as_ref(), value, old, path);
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(members) => {
                for (name, node) in &node.members {
                    if let Some(value) = members.get(name) {
                        self.node(node, value, old.and_then(|old| old.get(name)), &below(name));
                    }
                }
                for (name, value) in node.additional.iter().flat_map(|_| members) {
                    let Some(node) = &node.additional else { continue };
                    self.node(node, value, old.and_then(|old| old.get(name)), &format!("{path}[{name}]"));
                }
            }
            Value::Array(items) => {
                let Some(below) = &node.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let old = old.and_then(|old| counterpart(&node.list, item, old));
                    self.node(below, item, old, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn rules(
        &mut self,
        node: &Node,
        rules: Option<&CompiledSchema>,
        value: &Value,
        old: Option<&Value>,
        path: &str,
    ) {
        let Some(rules) = rules else { return };
        let place = if path.is_empty() { "<nil>" } else { path };
        for rule in rules.validations.iter().flatten() {
            let programs = [Some(&rule.program), rule.message_program.as_ref()];
            let cost = programs.into_iter().flatten().map(|program| {
                Found::of(program.expression(), Values::of(value), Values::of(old.unwrap_or(value))).cost
            });
            let cost = cost.fold(0, u64::saturating_add);
            self.budget = match self.budget.checked_sub(cost) {
                Some(left) if cost <= PER_CALL => left,
                _ => {
                    let detail = "validation failed due to running out of cost budget, no further validation rules will \
                                  be run";
                    self.errors.push(FieldError::invalid(place, &*node.kind, detail));
                    self.budget = 0;
                    return;
                }
            };
        }
        if let Err(failures) = self.validator.validate_compiled(rules, value, old) {
            self.errors.extend(failures.into_vec().iter().map(|failure| error(failure, node, path)));
        }
    }
}

/// Tells of a rule that does not hold, in upstream's words.
fn error(failure: &ValidationError, node: &Node, path: &str) -> FieldError {
    let below = failure.field_path.trim_start_matches('.');
    let field = match (path, below) {
        ("", "") => "<nil>".to_owned(),
        (path, "") => path.to_owned(),
        ("", below) => below.to_owned(),
        (path, below) if below.starts_with('[') => format!("{path}{below}"),
        (path, below) => format!("{path}.{below}"),
    };
    let detail = match failure.kind {
        ErrorKind::ValidationFailure => failure.message.trim().to_owned(),
        ErrorKind::EvaluationError => {
            let cause = failure.message.strip_prefix("rule evaluation error: ").unwrap_or(&failure.message);
            format!("{cause} evaluating rule: {}", failure.rule.trim())
        }
        _ => failure.message.clone(),
    };
    match failure.reason.as_deref() {
        Some("FieldValueRequired") => FieldError::required(field, &detail),
        Some("FieldValueForbidden") => FieldError::forbidden(field, &detail),
        Some("FieldValueDuplicate") => FieldError::duplicate(field, &*node.kind),
        _ => FieldError::invalid(field, &*node.kind, &detail),
    }
}

/// Whether a node's schema has elements that can be told apart between an object and the one before.
fn correlates(schema: &Schema) -> bool {
    matches!(schema.list, List::Map(_))
}

/// The node of a schema's additional members.
fn additional(schema: &Schema) -> Option<&Schema> {
    match &schema.additional {
        Additional::Of(schema) => Some(schema),
        _ => None,
    }
}
