//! Whether a value fits its schema, in the words of upstream's validator.

use serde_json::{Map, Value};

use super::formats;
use super::patterns::Effort;
use super::schema::{Additional, Checks, Schema};
use crate::validation::{FieldError, Shown};

/// How many errors are reported at most: one value may break every rule at every element.
const MOST_ERRORS: usize = 1000;
/// How much of a text is shown: with each error it is shown again.
const MOST_SHOWN: usize = 4096;

/// What is wrong with a value, and how much of its schema it met.
#[derive(Debug, Default)]
struct Outcome {
    errors: Vec<FieldError>,
    /// How many rules were looked at: of several alternatives the one with the most is reported.
    score: usize,
}

impl Outcome {
    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    fn add(&mut self, error: FieldError) {
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(error);
        }
    }

    fn merge(&mut self, other: Self) {
        let room = MOST_ERRORS.saturating_sub(self.errors.len());
        self.errors.extend(other.errors.into_iter().take(room));
        self.score += other.score;
    }
}

/// Returns what is wrong with a value by its schema. `path` is where it stands; empty for the object itself. Parts that are
/// as they were in `old` are not looked at. What may be done in all is bounded by `effort`.
pub(crate) fn check(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    effort: &Effort,
) -> Vec<FieldError> {
    value_of(schema, value, old, &Place { path, effort }).errors
}

/// Where a value stands, and what may still be done for the object that it is a part of.
struct Place<'a> {
    path: &'a str,
    effort: &'a Effort,
}

impl<'a> Place<'a> {
    fn below(&self, path: &'a str) -> Self {
        Self { path, effort: self.effort }
    }
}

fn value_of(schema: &Schema, value: &Value, old: Option<&Value>, place: &Place<'_>) -> Outcome {
    let path = place.path;
    let mut outcome = Outcome { score: 1, ..Outcome::default() };
    check_type(schema, value, path, &mut outcome);
    if value.is_null() {
        check_values(&schema.checks, value, path, &mut outcome);
        return outcome;
    }
    junctors(&schema.checks, value, place, &mut outcome);
    match value {
        Value::String(text) => string(&schema.checks, text, place, &mut outcome),
        Value::Number(_) => number(&schema.checks, value, path, &mut outcome),
        Value::Array(list) => array(schema, list, old, place, &mut outcome),
        _ => {}
    }
    check_values(&schema.checks, value, path, &mut outcome);
    if let Value::Object(members) = value {
        object(schema, members, old, place, &mut outcome);
    }
    outcome
}

/// The name of a value's type in messages.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_type(schema: &Schema, value: &Value, path: &str, outcome: &mut Outcome) {
    let wanted = match schema.kind.as_str() {
        "" if schema.int_or_string => "integer,string",
        "" => return,
        kind => kind,
    };
    let found = type_of(value);
    let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let fits = match wanted {
        "integer,string" => matches!(found, "integer" | "string") || (found == "number" && whole),
        "integer" => found == "integer" || (found == "number" && whole),
        "number" => matches!(found, "integer" | "number"),
        kind => kind == found,
    };
    let may_be_null = value.is_null() && schema.nullable;
    if !fits && !may_be_null {
        let detail = format!("{path} in body must be of type {wanted}: {found:?}");
        outcome.add(FieldError::type_invalid(field(path), found, &detail));
    }
}

/// Where an error of the object itself is said to be.
fn field(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

fn invalid(path: &str, value: impl Into<Shown>, detail: &str) -> FieldError {
    FieldError::invalid(field(path), value, detail)
}

/// `allOf`, `anyOf`, `oneOf` and `not`.
fn junctors(checks: &Checks, value: &Value, place: &Place<'_>, outcome: &mut Outcome) {
    let path = place.path;
    // Upstream's errors about alternatives stand nowhere.
    let nowhere = |detail: String| FieldError::invalid("<nil>", "", &detail);
    if !checks.any_of.is_empty() {
        let best = best_of(&checks.any_of, value, place);
        outcome.score += best.score;
        if best.valid == 0 {
            outcome.add(nowhere(format!("{path:?} must validate at least one schema (anyOf)")));
            outcome.merge(best.failure);
        }
    }
    if !checks.one_of.is_empty() {
        let best = best_of(&checks.one_of, value, place);
        outcome.score += best.score;
        if best.valid != 1 {
            let found = match best.valid {
                0 => "Found none valid".to_owned(),
                count => format!("Found {count} valid alternatives"),
            };
            outcome.add(nowhere(format!("{path:?} must validate one and only one schema (oneOf). {found}")));
            outcome.merge(best.failure);
        }
    }
    let mut valid = 0;
    for schema in &checks.all_of {
        let one = value_of(schema, value, None, place);
        valid += usize::from(one.is_valid());
        outcome.merge(one);
    }
    if valid != checks.all_of.len() {
        let none = if valid == 0 { ". None validated" } else { "" };
        outcome.add(nowhere(format!("{path:?} must validate all the schemas (allOf){none}")));
    }
    if let Some(schema) = &checks.not
        && value_of(schema, value, None, place).is_valid()
    {
        outcome.add(nowhere(format!("{path:?} must not validate the schema (not)")));
    }
}

/// What several alternatives come to.
struct Best {
    /// How many are met.
    valid: usize,
    /// What is wrong by the one that comes closest; nothing if one is met.
    failure: Outcome,
    score: usize,
}

fn best_of(schemas: &[Schema], value: &Value, place: &Place<'_>) -> Best {
    let mut best = Best { valid: 0, failure: Outcome::default(), score: 0 };
    for schema in schemas {
        let outcome = value_of(schema, value, None, place);
        if outcome.is_valid() {
            best.valid += 1;
            best.score += outcome.score;
            best.failure = Outcome::default();
        } else if best.valid == 0 && (best.failure.is_valid() || outcome.score > best.failure.score) {
            best.failure = outcome;
        }
    }
    best
}

fn string(checks: &Checks, text: &str, place: &Place<'_>, outcome: &mut Outcome) {
    let path = place.path;
    outcome.score += 1;
    let length = text.chars().count();
    let shown = beginning(text);
    if let Some(limit) = checks.max_length.filter(|limit| length > *limit) {
        outcome.add(FieldError::too_long(field(path), limit));
    }
    if let Some(limit) = checks.min_length.filter(|limit| length < *limit) {
        outcome.add(invalid(path, shown, &format!("{path} in body should be at least {limit} chars long")));
    }
    if let Some(pattern) = &checks.pattern {
        match pattern.matches(text, place.effort) {
            Some(true) => {}
            Some(false) => {
                let detail = format!("{path} in body should match '{}'", pattern.text);
                outcome.add(invalid(path, shown, &detail));
            }
            None => {
                let detail = "cannot be checked: the object has too much text for the patterns of its schema";
                outcome.add(invalid(path, shown, detail));
            }
        }
    }
    if !formats::holds(&checks.format, text) {
        let detail = format!("{path} in body must be of type {}: {shown:?}", checks.format);
        outcome.add(FieldError::type_invalid(field(path), shown, &detail));
    }
}

/// The part of a text that is shown.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_SHOWN)]
}

fn number(checks: &Checks, value: &Value, path: &str, outcome: &mut Outcome) {
    outcome.score += 1;
    let Some(number) = value.as_f64() else { return };
    let shown = || Shown::verbatim(go_number(value));
    if let Some(factor) = checks.multiple_of.filter(|factor| !is_multiple(number, *factor)) {
        let detail = format!("{path} in body should be a multiple of {}", go_float(factor));
        outcome.add(invalid(path, shown(), &detail));
    }
    if let Some(bound) = checks.maximum {
        let (broken, words) = match bound.exclusive {
            true => (number >= bound.value, "less than"),
            false => (number > bound.value, "less than or equal to"),
        };
        if broken {
            let detail = format!("{path} in body should be {words} {}", go_float(bound.value));
            outcome.add(invalid(path, shown(), &detail));
        }
    }
    if let Some(bound) = checks.minimum {
        let (broken, words) = match bound.exclusive {
            true => (number <= bound.value, "greater than"),
            false => (number < bound.value, "greater than or equal to"),
        };
        if broken {
            let detail = format!("{path} in body should be {words} {}", go_float(bound.value));
            outcome.add(invalid(path, shown(), &detail));
        }
    }
}

fn is_multiple(number: f64, factor: f64) -> bool {
    if factor <= 0.0 {
        return true;
    }
    let times = number / factor;
    // Of 0.1 and its like, which have no exact form, the nearest multiple counts.
    (times - times.round()).abs() < 1e-9_f64.max(times.abs() * f64::EPSILON)
}

fn array(schema: &Schema, list: &[Value], old: Option<&Value>, place: &Place<'_>, outcome: &mut Outcome) {
    let path = place.path;
    outcome.score += 1;
    let checks = &schema.checks;
    if let Some(items) = &schema.items {
        for (index, item) in list.iter().enumerate() {
            let old = old.and_then(|old| super::lists::counterpart(&schema.list, item, old));
            if old != Some(item) {
                outcome.merge(value_of(items, item, old, &place.below(&format!("{path}[{index}]"))));
            }
        }
    }
    let count = list.len();
    if let Some(limit) = checks.min_items.filter(|limit| count < *limit) {
        let detail = format!("{path} in body should have at least {limit} items");
        outcome.add(invalid(path, Shown::verbatim(count.to_string()), &detail));
    }
    if let Some(limit) = checks.max_items.filter(|limit| count > *limit) {
        outcome.add(FieldError::too_many(field(path), count, limit));
    }
    if checks.unique_items && super::lists::first_duplicate(list.iter()).is_some() {
        outcome.add(invalid(path, "", &format!("{path} in body shouldn't contain duplicates")));
    }
}

fn check_values(checks: &Checks, value: &Value, path: &str, outcome: &mut Outcome) {
    if checks.values.is_empty() {
        return;
    }
    outcome.score += 1;
    if !checks.values.iter().any(|known| same(known, value)) {
        let known: Vec<String> = checks
            .values
            .iter()
            .map(|known| known.as_str().map_or_else(|| known.to_string(), str::to_owned))
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        outcome.add(FieldError::not_supported(field(path), shown(value), &known));
    }
}

/// Whether two values are equal; 1 and 1.0 are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn object(
    schema: &Schema,
    members: &Map<String, Value>,
    old: Option<&Value>,
    place: &Place<'_>,
    outcome: &mut Outcome,
) {
    let path = place.path;
    outcome.score += 1;
    let checks = &schema.checks;
    let count = members.len();
    if let Some(limit) = checks.min_properties.filter(|limit| count < *limit) {
        let detail = format!("{path} in body should have at least {limit} properties");
        outcome.add(invalid(path, "", &detail));
        return;
    }
    if let Some(limit) = checks.max_properties.filter(|limit| count > *limit) {
        outcome.add(FieldError::too_many(field(path), count, limit));
        return;
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let mut part = |schema: &Schema, name: &str, value: &Value| {
        let old = old.and_then(|old| old.get(name));
        if old != Some(value) {
            outcome.merge(value_of(schema, value, old, &place.below(&below(name))));
        }
    };
    if let Additional::Of(additional) = &schema.additional {
        for (name, value) in members.iter().filter(|(name, _)| !schema.properties.contains_key(*name)) {
            part(additional, name, value);
        }
    }
    for (name, schema) in &schema.properties {
        if let Some(value) = members.get(name) {
            part(schema, name, value);
        }
    }
    for name in checks.required.iter().filter(|name| !members.contains_key(*name)) {
        outcome.add(FieldError::required(below(name), ""));
    }
}

/// Shows a value as messages do.
pub(super) fn shown(value: &Value) -> Shown {
    match value {
        Value::Number(_) => Shown::verbatim(go_number(value)),
        Value::Array(_) | Value::Object(_) => Shown::verbatim(beginning(&value.to_string())),
        Value::String(text) => Shown::from(beginning(text)),
        other => Shown::from(other),
    }
}

/// Writes a number as Go does.
fn go_number(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => go_float(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// Writes a float as Go's `%v` does: whole ones without a point, large and small ones with an exponent.
fn go_float(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}
