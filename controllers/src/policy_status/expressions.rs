//! The expressions of a policy, and what is told of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cel::IdedExpr;
use cel::parser::Parser;
use k8s_openapi::api::admissionregistration::v1::{ExpressionWarning, ValidatingAdmissionPolicySpec};
use quarterdeck_core::expression::{too_deep, with_stack};
use serde_json::Value;

use super::documents::Documents;
use super::known;
use super::types::{Schema, Type};
use super::walk::{Problem, Walk};

/// How many bytes an expression may have that is looked at: the API server takes none that is longer.
const LONGEST: usize = 16 * 1024;
/// How long a line may be that is shown with a problem.
const LONGEST_LINE: usize = 256;
/// How many expressions of a policy are looked at.
const MOST_EXPRESSIONS: usize = 1000;
/// After how many expressions others have their turn.
const TURN: usize = 16;
/// How many bytes are told of a policy.
const MOST: usize = 64 * 1024;

/// What an expression knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows<'s> {
    /// All but the policy's variables.
    Inputs,
    /// The variables that come before, and it is one itself.
    Earlier(&'s str),
    All,
}

/// An expression of a policy.
struct Expression<'s> {
    /// Its path in the policy.
    path: String,
    text: &'s str,
    knows: Knows<'s>,
    /// Absent if nothing is known of it.
    parsed: Option<IdedExpr>,
    /// What is told of it, a text for each kind.
    told: Vec<String>,
}

/// Returns what is wrong with the expressions of a policy, in the order in which it has them.
pub(super) async fn check(
    spec: &ValidatingAdmissionPolicySpec,
    documents: &Documents,
) -> Vec<ExpressionWarning> {
    let mut expressions = expressions(spec);
    if documents.kinds().next().is_none() {
        return Vec::new();
    }
    for expression in expressions.iter_mut().take(MOST_EXPRESSIONS) {
        expression.parsed = parse(expression.text);
        // There may be many: others have their turn in between.
        tokio::task::yield_now().await;
    }
    let (request, namespace) = (known::request(), known::namespace());
    let mut left = MOST;
    for (kind, schema) in documents.kinds() {
        let inputs = inputs(schema, documents.params(), &request, &namespace);
        compare(&mut expressions, &inputs, &kind.to_string(), &mut left).await;
    }
    let warned = expressions.into_iter().filter(|expression| !expression.told.is_empty());
    let warning = |expression: Expression<'_>| ExpressionWarning {
        field_ref: expression.path,
        warning: expression.told.join("\n"),
    };
    warned.map(warning).collect()
}

/// Compares all expressions with one kind.
async fn compare(
    expressions: &mut [Expression<'_>],
    inputs: &[(String, Type<'_>)],
    kind: &str,
    left: &mut usize,
) {
    let mut variables = BTreeMap::new();
    for (index, expression) in expressions.iter_mut().enumerate() {
        if index % TURN == 0 {
            tokio::task::yield_now().await;
        }
        let mut scope = inputs.to_vec();
        if expression.knows != Knows::Inputs {
            scope.push(("variables".to_owned(), Type::Variables));
        }
        let (ty, problems) = match &expression.parsed {
            Some(parsed) => with_stack(|| Walk::through(parsed, expression.text, scope, &variables)),
            None => (Type::Unknown, Vec::new()),
        };
        if let Knows::Earlier(name) = expression.knows {
            variables.insert(name, ty);
        }
        if !problems.is_empty() && *left > 0 {
            let shown: Vec<String> = problems.iter().map(|problem| shown(problem, expression.text)).collect();
            let told = format!("{kind}: {}", shown.join("\n"));
            *left = left.saturating_sub(told.len());
            expression.told.push(told);
        }
    }
}

/// The variables of a policy's expressions, as far as they do not come from other expressions.
fn inputs<'d>(
    object: Schema<'d>,
    params: Option<Schema<'d>>,
    request: &'d Value,
    namespace: &'d Value,
) -> Vec<(String, Type<'d>)> {
    let of = |schema: &'d Value| Schema::new("", schema, &Value::Null).ty();
    let inputs = [
        ("object", object.ty()),
        ("oldObject", object.ty()),
        ("params", params.map_or(Type::Unknown, Schema::ty)),
        ("request", of(request)),
        ("namespaceObject", of(namespace)),
        ("authorizer", Type::Question(known::AUTHORIZER)),
    ];
    inputs.map(|(name, ty)| (name.to_owned(), ty)).into()
}

/// All expressions of a policy; variables come before what may know them.
fn expressions(spec: &ValidatingAdmissionPolicySpec) -> Vec<Expression<'_>> {
    let mut all = Vec::new();
    let mut add = |path: String, text, knows| {
        all.push(Expression { path, text, knows, parsed: None, told: Vec::new() });
    };
    for (index, condition) in spec.match_conditions.iter().flatten().enumerate() {
        let path = format!("spec.matchConditions[{index}].expression");
        add(path, &condition.expression, Knows::Inputs);
    }
    for (index, variable) in spec.variables.iter().flatten().enumerate() {
        let path = format!("spec.variables[{index}].expression");
        add(path, &variable.expression, Knows::Earlier(&variable.name));
    }
    for (index, validation) in spec.validations.iter().flatten().enumerate() {
        add(format!("spec.validations[{index}].expression"), &validation.expression, Knows::All);
        if let Some(message) = &validation.message_expression {
            add(format!("spec.validations[{index}].messageExpression"), message, Knows::All);
        }
    }
    for (index, annotation) in spec.audit_annotations.iter().flatten().enumerate() {
        let path = format!("spec.auditAnnotations[{index}].valueExpression");
        add(path, &annotation.value_expression, Knows::All);
    }
    all
}

/// Parses an expression, if it is none that the parser might choke on. What does not parse is for the API server to refuse.
fn parse(text: &str) -> Option<IdedExpr> {
    if text.is_empty() || text.len() > LONGEST || too_deep(text).is_some() {
        return None;
    }
    with_stack(|| Parser::new().enable_optional_syntax(true).parse(text)).ok()
}

/// A problem as compilers show it: with its place, and the line that it is in.
fn shown(problem: &Problem, text: &str) -> String {
    let message = &problem.message;
    let Some(at) = problem.at else { return format!("ERROR: <input>: {message}\n | {}", line(text)) };
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let (row, column) = (before.matches('\n').count() + 1, before[start..].chars().count());
    let mut shown = format!("ERROR: <input>:{row}:{}: {message}", column + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    if line.len() <= LONGEST_LINE {
        let _ = write!(shown, "\n | {line}\n | {}^", ".".repeat(column));
    }
    shown
}

/// The first line of an expression, as far as it is shown.
fn line(text: &str) -> &str {
    let line = text.trim_start().lines().next().unwrap_or_default();
    &line[..line.floor_char_boundary(LONGEST_LINE)]
}
