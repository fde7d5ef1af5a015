//! Regular expressions of schemas, within bounds: what they take of memory, and of time on the texts of an object.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// The least memory that a pattern is counted with.
const LEAST: usize = 4 * 1024;
/// How much memory a pattern may take.
const MOST: usize = 1 << 20;
/// How much memory the patterns of a definition may take together.
const PER_DEFINITION: usize = 8 << 20;
/// About how much memory one state of a pattern takes.
const STATE: usize = 32;
/// How often the states of patterns may meet the bytes of an object's texts.
const PER_OBJECT: u64 = 2_000_000_000;

/// A regular expression, compiled when it is first used.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub text: String,
    compiled: OnceLock<Option<Compiled>>,
}

/// A regular expression that can be used.
#[derive(Debug)]
pub(crate) struct Compiled {
    regex: Regex,
    /// How much memory it takes: no more than this, and more than half of it.
    bytes: usize,
}

impl Compiled {
    /// Compiles a pattern, in as little memory as it takes.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, regex::Error> {
        let mut bytes = LEAST;
        loop {
            // What speeds up the search is bounded by the pattern's size: else the least could take as much as the largest.
            match RegexBuilder::new(text).size_limit(bytes).dfa_size_limit(8 * bytes).build() {
                Err(regex::Error::CompiledTooBig(_)) if bytes < MOST => bytes *= 2,
                other => return other.map(|regex| Self { regex, bytes }),
            }
        }
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// Returns whether the text has a match; nothing if that would take more than is left of the effort. A pattern that cannot be
    /// compiled, which no definition may have, matches nothing.
    pub(crate) fn matches(&self, text: &str, effort: &Effort) -> Option<bool> {
        let compiled = self.compiled.get_or_init(|| Compiled::new(&self.text).ok());
        let Some(Compiled { regex, bytes }) = compiled else { return Some(false) };
        let steps = (*bytes / STATE) as u64 * (text.len() as u64 + 1);
        effort.take(steps).then(|| regex.is_match(text))
    }
}

/// What may still be done for one object.
#[derive(Debug)]
pub(crate) struct Effort(Cell<u64>);

impl Default for Effort {
    fn default() -> Self {
        Self(Cell::new(PER_OBJECT))
    }
}

impl Effort {
    /// Takes so many steps off what is left; if there are fewer, nothing more will be done.
    fn take(&self, steps: u64) -> bool {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or_default());
        left.is_some()
    }
}

/// The patterns of a definition: each is there once, however often it stands in the schemas.
#[derive(Debug, Default)]
pub(crate) struct Patterns(BTreeMap<String, Arc<Pattern>>);

impl Patterns {
    pub(super) fn pattern(&mut self, text: &str) -> Arc<Pattern> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let pattern = Arc::new(Pattern::new(text));
        self.0.insert(text.to_owned(), pattern.clone());
        pattern
    }
}

/// The patterns of a definition that are none, with what is wrong with each.
pub(crate) type Refused = BTreeMap<String, String>;

/// Looks at all patterns of a definition's `spec`. Returns those that are none.
///
/// # Errors
///
/// That they take too much memory together, which means also too much time to be compiled.
pub(crate) fn check(spec: &Value) -> Result<Refused, String> {
    let mut texts = Vec::new();
    for version in spec["versions"].as_array().into_iter().flatten() {
        collect(&version["schema"]["openAPIV3Schema"], &mut texts);
    }
    texts.sort_unstable();
    texts.dedup();
    let (mut refused, mut total) = (Refused::new(), 0);
    for text in texts {
        total += match Compiled::new(text) {
            Ok(compiled) => compiled.bytes,
            Err(error) => {
                let too_big = matches!(error, regex::Error::CompiledTooBig(_));
                refused.insert(text.to_owned(), error.to_string());
                if too_big { MOST } else { LEAST }
            }
        };
        if total > PER_DEFINITION {
            return Err(format!(
                "the patterns of all schemas take more than {PER_DEFINITION} bytes together"
            ));
        }
    }
    Ok(refused)
}

/// The texts of the patterns in a schema, at any depth.
fn collect<'s>(schema: &'s Value, texts: &mut Vec<&'s str>) {
    each_part(schema, &mut |part| {
        texts.extend(part["pattern"].as_str().filter(|text| !text.is_empty()));
    });
}

/// Returns how many patterns stand in a schema.
pub(super) fn count(schema: &Value) -> usize {
    let mut texts = Vec::new();
    collect(schema, &mut texts);
    texts.len()
}

/// Visits a schema and all schemas in it.
fn each_part<'s>(schema: &'s Value, visit: &mut impl FnMut(&'s Value)) {
    if !schema.is_object() {
        return;
    }
    visit(schema);
    for name in ["items", "additionalProperties", "not"] {
        each_part(&schema[name], visit);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for part in schema[name].as_array().into_iter().flatten() {
            each_part(part, visit);
        }
    }
    for part in schema["properties"].as_object().into_iter().flatten().map(|(_, part)| part) {
        each_part(part, visit);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(patterns: impl IntoIterator<Item = String>) -> Value {
        let properties: serde_json::Map<String, Value> = patterns
            .into_iter()
            .enumerate()
            .map(|(at, pattern)| (format!("p{at}"), json!({"type": "string", "pattern": pattern})))
            .collect();
        json!({"versions": [{"schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}}]})
    }

    #[test]
    fn patterns_are_counted_once_each_and_their_sum_is_bounded() {
        let large = |number: usize| format!("^[a-z]{{9000}}{number}$");

        assert_eq!(check(&spec((0..1000).map(|_| large(1)))), Ok(Refused::new()));
        assert_eq!(check(&spec((0..4).map(large))), Ok(Refused::new()));
        assert!(check(&spec((0..1000).map(large))).is_err());
        assert!(check(&spec((0..1000).map(|at| format!("(a{{1000}}){{1000}}{at}")))).is_err());
    }

    #[test]
    fn what_is_no_pattern_is_found_in_any_part() {
        let part = json!({"pattern": "("});
        let schema =
            json!({"properties": {"a": {"items": {"additionalProperties": {"allOf": [{"not": part}]}}}}});

        let refused = check(&json!({"versions": [{"schema": {"openAPIV3Schema": schema}}]})).unwrap();

        assert!(refused["("].contains("unclosed group"), "{refused:?}");
    }

    #[test]
    fn a_text_is_looked_at_only_while_there_is_effort_left() {
        let (pattern, effort) = (Pattern::new("^a+$"), Effort::default());
        let text = "a".repeat(1_000_000);

        let looked_at = (0..1000).take_while(|_| pattern.matches(&text, &effort) == Some(true)).count();

        assert!((1..100).contains(&looked_at), "{looked_at}");
        assert_eq!(pattern.matches("a", &effort), None);
    }
}
