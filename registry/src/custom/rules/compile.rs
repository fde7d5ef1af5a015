//! Compiling rules, and telling what is wrong with them.

use kube_cel::cel::Program;
use kube_cel::{CompiledSchema, compile_schema};
use quarterdeck_core::expression::{too_deep, with_stack};
use serde_json::{Value, json};

use super::super::cost::{Found, Shape};
use super::super::schema::Schema;
use super::{Node, additional, correlates};
use crate::validation::{FieldError, Path, Shown};

const RULES: &str = "x-kubernetes-validations";
/// How long a rule may be.
const LONGEST: usize = 16 * 1024;
/// How many rules a schema may have: each is compiled, however little it does.
const MOST_RULES: usize = 1000;
/// What one rule may cost by the bounds of its schema.
const PER_RULE: u64 = 10_000_000;
/// What the rules of a schema may cost together.
const PER_SCHEMA: u64 = 100_000_000;
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Compiles the rules of a node and of all below; absent if there are none.
pub(super) fn node(schema: &Value) -> Option<Node> {
    let rules = schema[RULES].as_array().map(Vec::as_slice).unwrap_or_default();
    let (transition, plain): (Vec<&Value>, Vec<&Value>) = rules.iter().partition(|rule| is_transition(rule));
    let properties = schema["properties"].as_object().into_iter().flatten();
    let members: Vec<(String, Node)> =
        properties.filter_map(|(name, schema)| Some((name.clone(), node(schema)?))).collect();
    let below =
        |name: &str| Some(&schema[name]).filter(|schema| schema.is_object()).and_then(node).map(Box::new);
    let found = Node {
        kind: schema["type"].as_str().unwrap_or_default().to_owned(),
        plain: compiled(schema, &plain),
        transition: compiled(schema, &transition),
        additional: below("additionalProperties"),
        items: below("items"),
        list: Schema::new(&json!({
            "x-kubernetes-list-type": schema["x-kubernetes-list-type"],
            "x-kubernetes-list-map-keys": schema["x-kubernetes-list-map-keys"],
        }))
        .list,
        members,
    };
    let is_empty =
        rules.is_empty() && found.members.is_empty() && found.additional.is_none() && found.items.is_none();
    (!is_empty).then_some(found)
}

fn is_transition(rule: &Value) -> bool {
    let text = rule["rule"].as_str().filter(|text| text.contains("oldSelf"));
    let program = text.and_then(|rule| compile(rule).ok());
    program.is_some_and(|program| program.references().has_variable("oldSelf"))
}

/// Compiles these rules of a node alone: those below have nodes of their own.
fn compiled(schema: &Value, rules: &[&Value]) -> Option<CompiledSchema> {
    if rules.is_empty() {
        return None;
    }
    let mut alone = without_rules(schema);
    alone[RULES] = rules.iter().copied().cloned().collect::<Vec<Value>>().into();
    Some(with_stack(|| compile_schema(&alone)))
}

fn without_rules(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| name.as_str() != RULES);
            kept.map(|(name, value)| (name.clone(), without_rules(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_rules).collect(),
        other => other.clone(),
    }
}

/// Compiles one expression, if it is not too large for the compiler.
pub(crate) fn compile(text: &str) -> Result<Program, String> {
    if text.len() > LONGEST {
        return Err(format!("the rule has more than {LONGEST} bytes"));
    }
    if let Some(why) = too_deep(text) {
        return Err(format!("the rule {why}"));
    }
    with_stack(|| Program::compile(text)).map_err(|error| error.to_string())
}

/// Returns what is wrong with the rules of a schema at a path.
pub(crate) fn validate(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if count(schema) > MOST_RULES {
        let detail = format!("the schema has more than {MOST_RULES} x-kubernetes-validations");
        errors.push(FieldError::forbidden(path, &detail));
        return;
    }
    let compiled = Schema::new(schema);
    let mut check = Check { errors, total: 0, expensive: Vec::new() };
    check.node(
        schema,
        &compiled,
        &Place { path: Path::root(path), times: 1, uncorrelated: None, is_object: true },
    );
    let Check { total, expensive, .. } = check;
    if total > PER_SCHEMA {
        for path in expensive {
            let detail =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, &exceeds(what, total, PER_SCHEMA)));
    }
}

/// How many rules a schema has, at any depth.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => {
            let own = schema[RULES].as_array().map_or(0, Vec::len);
            own + members
                .iter()
                .filter(|(name, _)| name.as_str() != RULES)
                .map(|(_, part)| count(part))
                .sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

/// Says by how much a cost exceeds its limit.
#[expect(clippy::cast_precision_loss, reason = "only the magnitude is told")]
fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

/// Where a node stands.
#[derive(Clone)]
struct Place {
    path: Path,
    /// How many values of the node an object may have.
    times: u64,
    /// The part above that cannot be told apart between an object and the one before.
    uncorrelated: Option<Path>,
    /// Whether it has kind, apiVersion and metadata.
    is_object: bool,
}

struct Check<'e> {
    errors: &'e mut Vec<FieldError>,
    total: u64,
    /// Rules of more than a hundredth of what is allowed.
    expensive: Vec<Path>,
}

impl Check<'_> {
    fn node(&mut self, written: &Value, schema: &Schema, place: &Place) {
        for (index, rule) in written[RULES].as_array().into_iter().flatten().enumerate() {
            self.rule(rule, schema, place, &place.path.child(RULES).index(index));
        }
        let atomic = schema.atomic_map.then(|| place.path.clone());
        for (name, property) in &schema.properties {
            let below = Place {
                path: place.path.child("properties").key(name),
                uncorrelated: place.uncorrelated.clone().or_else(|| atomic.clone()),
                is_object: property.embedded,
                times: place.times,
            };
            self.node(&written["properties"][name], property, &below);
        }
        if let Some(element) = additional(schema) {
            let below = Place {
                path: place.path.child("additionalProperties"),
                times: place.times.saturating_mul(Shape::size_of(schema)),
                uncorrelated: place.uncorrelated.clone(),
                is_object: element.embedded,
            };
            self.node(&written["additionalProperties"], element, &below);
        }
        if let Some(element) = &schema.items {
            let own = (!correlates(schema)).then(|| place.path.clone());
            let below = Place {
                path: place.path.child("items"),
                times: place.times.saturating_mul(Shape::size_of(schema)),
                uncorrelated: place.uncorrelated.clone().or(own),
                is_object: element.embedded,
            };
            self.node(&written["items"], element, &below);
        }
    }

    fn rule(&mut self, rule: &Value, schema: &Schema, place: &Place, path: &Path) {
        let before = self.errors.len();
        self.form(rule, schema, path);
        if self.errors.len() > before {
            return;
        }
        let text = rule["rule"].as_str().unwrap_or_default();
        let uses_old = self.expression(rule, "rule", schema, place, path);
        if rule["messageExpression"].is_string() {
            self.expression(rule, "messageExpression", schema, place, path);
        }
        match (uses_old, &place.uncorrelated) {
            (true, Some(part)) => {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {part}"
                );
                self.errors.push(FieldError::invalid(path.child("rule"), text, &detail));
            }
            (false, _) if !rule["optionalOldSelf"].is_null() => {
                let detail = "may not be set if oldSelf is not used in rule";
                let given = &rule["optionalOldSelf"];
                self.errors.push(FieldError::invalid(path.child("optionalOldSelf"), given, detail));
            }
            _ => {}
        }
    }

    /// Checks all of a rule but its expressions.
    fn form(&mut self, rule: &Value, schema: &Schema, path: &Path) {
        let text = |name: &str| rule[name].as_str().unwrap_or_default();
        let breaks = |text: &str| text.contains(['\n', '\r']);
        let (given, message) = (text("rule").trim(), text("message").trim());
        let refused = |name: &str, why: &str| {
            FieldError::invalid(path.child(name), text(name), &format!("{name} must {why}"))
        };
        if given.is_empty() {
            self.errors.push(FieldError::required(path.child("rule"), "rule is not specified"));
        } else if message.is_empty() && !text("message").is_empty() {
            self.errors.push(refused("message", "be non-empty if specified"));
        } else if breaks(message) {
            self.errors.push(refused("message", "not contain line breaks"));
        } else if breaks(given) && message.is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            self.errors.push(FieldError::required(path.child("message"), detail));
        }
        let expression = text("messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            self.errors.push(FieldError::required(path.child("messageExpression"), detail));
        }
        if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
            self.errors.push(FieldError::not_supported(path.child("reason"), reason, &REASONS));
        }
        let target = text("fieldPath");
        if target.is_empty() {
            return;
        }
        if target.trim().is_empty() {
            self.errors.push(refused("fieldPath", "be non-empty if specified"));
        }
        if breaks(target) {
            self.errors.push(refused("fieldPath", "not contain line breaks"));
        }
        if !leads(schema, target) {
            self.errors.push(refused("fieldPath", "be a valid path"));
        }
    }

    /// Checks an expression of a rule, and returns whether it looks at the object before.
    fn expression(&mut self, rule: &Value, name: &str, schema: &Schema, place: &Place, path: &Path) -> bool {
        let path = path.child(name);
        let shown = || Shown::verbatim(rule.to_string());
        let program = match compile(rule[name].as_str().unwrap_or_default()) {
            Ok(program) => program,
            Err(error) => {
                let detail = format!("compilation failed: {error}");
                self.errors.push(FieldError::invalid(path, shown(), &detail));
                return false;
            }
        };
        let shape = || Shape::of(schema, place.is_object);
        let found = Found::of(program.expression(), shape(), shape());
        if let Some(problem) = found.problem {
            let detail = format!("compilation failed: ERROR: <input>: {problem}");
            self.errors.push(FieldError::invalid(&path, shown(), &detail));
        }
        let cost = found.cost.saturating_mul(place.times);
        self.total = self.total.saturating_add(cost);
        if cost > PER_SCHEMA / 100 {
            self.expensive.push(path.clone());
        }
        if cost > PER_RULE {
            let what =
                if name == "rule" { "estimated rule cost" } else { "estimated messageExpression cost" };
            self.errors.push(FieldError::forbidden(path, &exceeds(what, cost, PER_RULE)));
        }
        program.references().has_variable("oldSelf")
    }
}

/// Whether a rule's `fieldPath` leads to a part of the schema.
fn leads(schema: &Schema, path: &str) -> bool {
    let mut place = Some(schema);
    let mut rest = path;
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) = rest.strip_prefix("['") {
            let Some((name, after)) = quoted.split_once("']") else { return false };
            (name, after)
        } else {
            let Some(after) = rest.strip_prefix('.') else { return false };
            let end = after.find(['.', '[']).unwrap_or(after.len());
            after.split_at(end)
        };
        place = place.and_then(|schema| schema.properties.get(name).or_else(|| additional(schema)));
        if place.is_none() {
            return false;
        }
        rest = after;
    }
    true
}
