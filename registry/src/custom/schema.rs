//! A custom kind's schema, compiled: JSON schema as Kubernetes restricts it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::patterns::{Pattern, Patterns};

/// One node of a schema: the form of a value, and what it is checked for.
///
/// Nodes below `allOf` and its like have checks only.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    /// The type's name; empty if any will do.
    pub kind: String,
    pub nullable: bool,
    pub int_or_string: bool,
    /// Whether unknown members are kept.
    pub preserves: bool,
    /// Whether the value is an object of some kind, with its own metadata.
    pub embedded: bool,
    pub properties: BTreeMap<String, Schema>,
    pub additional: Additional,
    pub items: Option<Box<Schema>>,
    pub default: Option<Arc<Value>>,
    pub list: List,
    /// Whether server-side apply owns the object as a whole.
    pub atomic_map: bool,
    pub checks: Checks,
}

/// What `additionalProperties` says.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// Nothing.
    #[default]
    Absent,
    /// Members may be anything.
    Any,
    /// Members are like this.
    Of(Box<Schema>),
}

/// What `x-kubernetes-list-type` says.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum List {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// What a value is checked for besides its form.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub format: String,
    pub maximum: Option<Bound>,
    pub minimum: Option<Bound>,
    pub multiple_of: Option<f64>,
    pub max_length: Option<usize>,
    pub min_length: Option<usize>,
    pub pattern: Option<Arc<Pattern>>,
    pub max_items: Option<usize>,
    pub min_items: Option<usize>,
    pub unique_items: bool,
    pub max_properties: Option<usize>,
    pub min_properties: Option<usize>,
    pub required: Vec<String>,
    pub values: Vec<Value>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

/// An end of a range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub value: f64,
    pub exclusive: bool,
}

impl Schema {
    /// Compiles a JSON schema, as `openAPIV3Schema` holds it. What Kubernetes does not allow there is left out: whether it
    /// stands there is for the definition's validation to say.
    pub(crate) fn new(schema: &Value) -> Self {
        Self::with(schema, &mut Patterns::default())
    }

    /// Compiles a JSON schema that has its patterns in common with others.
    pub(crate) fn with(schema: &Value, patterns: &mut Patterns) -> Self {
        let flag = |name: &str| schema[name].as_bool().unwrap_or_default();
        let text = |name: &str| schema[name].as_str().unwrap_or_default();
        let properties = schema["properties"].as_object().into_iter().flatten();
        Self {
            kind: text("type").to_owned(),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserves: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties: properties
                .map(|(name, schema)| (name.clone(), Self::with(schema, patterns)))
                .collect(),
            additional: match &schema["additionalProperties"] {
                Value::Bool(true) => Additional::Any,
                of @ Value::Object(_) => Additional::Of(Box::new(Self::with(of, patterns))),
                _ => Additional::Absent,
            },
            items: schema["items"].is_object().then(|| Box::new(Self::with(&schema["items"], patterns))),
            default: Some(&schema["default"]).filter(|default| !default.is_null()).cloned().map(Arc::new),
            list: match text("x-kubernetes-list-type") {
                "set" => List::Set,
                "map" => List::Map(strings(&schema["x-kubernetes-list-map-keys"])),
                _ => List::Atomic,
            },
            atomic_map: text("x-kubernetes-map-type") == "atomic",
            checks: Checks::new(schema, patterns),
        }
    }

    /// Returns the node at a path of members' names.
    pub(crate) fn at<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<&Self> {
        names.into_iter().try_fold(self, |schema, name| schema.properties.get(name))
    }
}

impl Checks {
    fn new(schema: &Value, patterns: &mut Patterns) -> Self {
        let size = |name: &str| schema[name].as_u64().and_then(|size| usize::try_from(size).ok());
        let flag = |name: &str| schema[name].as_bool().unwrap_or_default();
        let text = |name: &str| schema[name].as_str().filter(|text| !text.is_empty());
        let bound = |name: &str, exclusive: &str| {
            schema[name].as_f64().map(|value| Bound { value, exclusive: flag(exclusive) })
        };
        let mut schemas = |name: &str| -> Vec<Schema> {
            let parts = schema[name].as_array().into_iter().flatten();
            parts.map(|part| Schema::with(part, patterns)).collect()
        };
        let [all_of, any_of, one_of] = ["allOf", "anyOf", "oneOf"].map(&mut schemas);
        Self {
            format: text("format").unwrap_or_default().to_owned(),
            maximum: bound("maximum", "exclusiveMaximum"),
            minimum: bound("minimum", "exclusiveMinimum"),
            multiple_of: schema["multipleOf"].as_f64(),
            max_length: size("maxLength"),
            min_length: size("minLength"),
            pattern: text("pattern").map(|text| patterns.pattern(text)),
            max_items: size("maxItems"),
            min_items: size("minItems"),
            unique_items: flag("uniqueItems"),
            max_properties: size("maxProperties"),
            min_properties: size("minProperties"),
            required: strings(&schema["required"]),
            values: schema["enum"].as_array().cloned().unwrap_or_default(),
            all_of,
            any_of,
            one_of,
            not: schema["not"].is_object().then(|| Box::new(Schema::with(&schema["not"], patterns))),
        }
    }
}

/// Returns whether a JSON schema has rules in the Common Expression Language, at any depth.
pub(crate) fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(name, value)| {
            (name == "x-kubernetes-validations" && value.as_array().is_some_and(|rules| !rules.is_empty()))
                || has_rules(value)
        }),
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

/// About how much work the rules of a JSON schema are for each byte of an object: little for most, and much for those that
/// compile patterns.
pub(crate) fn weight_of_rules(schema: &Value) -> usize {
    const WITH_PATTERN: usize = 256;
    let weight = |rule: &Value| {
        let text = rule["rule"].as_str().unwrap_or_default();
        if text.contains("matches") || text.contains("find") { WITH_PATTERN } else { 1 }
    };
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value.as_array().filter(|_| name == "x-kubernetes-validations") {
                Some(rules) => rules.iter().map(weight).sum(),
                None => weight_of_rules(value),
            })
            .sum(),
        Value::Array(items) => items.iter().map(weight_of_rules).sum(),
        _ => 0,
    }
}

/// The texts of a list.
pub(crate) fn strings(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
