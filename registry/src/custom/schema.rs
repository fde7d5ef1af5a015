//! A custom kind's schema, compiled: JSON schema as Kubernetes restricts it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use regex::Regex;
use serde_json::Value;

/// How much memory a pattern may take.
const PATTERN_BYTES: usize = 1 << 20;

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
    pub pattern: Option<Pattern>,
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

/// A regular expression, compiled when it is first used.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn compile(text: &str) -> Result<Regex, regex::Error> {
        regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build()
    }

    /// Returns whether the text has a match. A pattern that cannot be compiled, which no definition may have, matches
    /// nothing.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| Self::compile(&self.text).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

impl Schema {
    /// Compiles a JSON schema, as `openAPIV3Schema` holds it. What Kubernetes does not allow there is left out: whether it
    /// stands there is for the definition's validation to say.
    pub(crate) fn new(schema: &Value) -> Self {
        let flag = |name: &str| schema[name].as_bool().unwrap_or_default();
        let text = |name: &str| schema[name].as_str().unwrap_or_default();
        let properties = schema["properties"].as_object().into_iter().flatten();
        Self {
            kind: text("type").to_owned(),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserves: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties: properties.map(|(name, schema)| (name.clone(), Self::new(schema))).collect(),
            additional: match &schema["additionalProperties"] {
                Value::Bool(true) => Additional::Any,
                of @ Value::Object(_) => Additional::Of(Box::new(Self::new(of))),
                _ => Additional::Absent,
            },
            items: schema["items"].is_object().then(|| Box::new(Self::new(&schema["items"]))),
            default: Some(&schema["default"]).filter(|default| !default.is_null()).cloned().map(Arc::new),
            list: match text("x-kubernetes-list-type") {
                "set" => List::Set,
                "map" => List::Map(strings(&schema["x-kubernetes-list-map-keys"])),
                _ => List::Atomic,
            },
            atomic_map: text("x-kubernetes-map-type") == "atomic",
            checks: Checks::new(schema),
        }
    }

    /// Returns the node at a path of members' names.
    pub(crate) fn at<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<&Self> {
        names.into_iter().try_fold(self, |schema, name| schema.properties.get(name))
    }
}

impl Checks {
    fn new(schema: &Value) -> Self {
        let size = |name: &str| schema[name].as_u64().and_then(|size| usize::try_from(size).ok());
        let flag = |name: &str| schema[name].as_bool().unwrap_or_default();
        let text = |name: &str| schema[name].as_str().filter(|text| !text.is_empty());
        let bound = |name: &str, exclusive: &str| {
            schema[name].as_f64().map(|value| Bound { value, exclusive: flag(exclusive) })
        };
        let schemas = |name: &str| -> Vec<Schema> {
            schema[name].as_array().into_iter().flatten().map(Schema::new).collect()
        };
        Self {
            format: text("format").unwrap_or_default().to_owned(),
            maximum: bound("maximum", "exclusiveMaximum"),
            minimum: bound("minimum", "exclusiveMinimum"),
            multiple_of: schema["multipleOf"].as_f64(),
            max_length: size("maxLength"),
            min_length: size("minLength"),
            pattern: text("pattern").map(Pattern::new),
            max_items: size("maxItems"),
            min_items: size("minItems"),
            unique_items: flag("uniqueItems"),
            max_properties: size("maxProperties"),
            min_properties: size("minProperties"),
            required: strings(&schema["required"]),
            values: schema["enum"].as_array().cloned().unwrap_or_default(),
            all_of: schemas("allOf"),
            any_of: schemas("anyOf"),
            one_of: schemas("oneOf"),
            not: schema["not"].is_object().then(|| Box::new(Schema::new(&schema["not"]))),
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

/// The texts of a list.
pub(crate) fn strings(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
