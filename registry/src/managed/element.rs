//! One step of the way to a field: a member's name, or what tells an element of a list from the others.

use std::cmp::Ordering;
use std::fmt;

use quarterdeck_core::labels::quote;
use serde_json::{Map, Value};

/// A step from an object or a list to what it holds.
///
/// Ordered as upstream orders them: members, keys, values, positions.
#[derive(Debug, Clone)]
pub(super) enum Element {
    /// The member of this name.
    Field(Box<str>),
    /// The element of a list that has these keys, sorted by name.
    Key(Box<[(Box<str>, Value)]>),
    /// The element of a set that is this value.
    Value(Value),
    /// The element at this position. Nothing here makes one, but others may have.
    Index(i64),
}

/// Why a text is no element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ElementError {
    /// It is of a sort that a newer server may know.
    #[error("unknown path element type")]
    Unknown,
    /// It is none at all.
    #[error("{0:?} is no path element")]
    Malformed(String),
}

impl Element {
    /// Makes the step to a member.
    pub(super) fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// Reads what [`Self::encode`] writes.
    pub(super) fn decode(text: &str) -> Result<Self, ElementError> {
        let malformed = || ElementError::Malformed(text.chars().take(64).collect());
        let (sort, rest) = text.split_once(':').ok_or_else(malformed)?;
        match sort {
            "f" => Ok(Self::field(rest)),
            "v" => serde_json::from_str(rest).map(Self::Value).map_err(|_| malformed()),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).map_err(|_| malformed())?;
                Ok(Self::Key(keys.into_iter().map(|(name, value)| (name.into(), value)).collect()))
            }
            "i" => rest.parse().map(Self::Index).map_err(|_| malformed()),
            sort if sort.len() == 1 => Err(ElementError::Unknown),
            _ => Err(malformed()),
        }
    }

    /// Writes the step as the name of a member of `FieldsV1`.
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let mut text = String::from("k:{");
                for (at, (name, value)) in keys.iter().enumerate() {
                    if at > 0 {
                        text.push(',');
                    }
                    text.push_str(&json(&Value::String(name.to_string())));
                    text.push(':');
                    text.push_str(&json(value));
                }
                text.push('}');
                text
            }
            Self::Value(value) => format!("v:{}", json(value)),
            Self::Index(position) => format!("i:{position}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// Writes JSON as Go does: what HTML gives a meaning is escaped.
fn json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(one), Self::Field(other)) => one.cmp(other),
            (Self::Key(one), Self::Key(other)) => compare_keys(one, other),
            (Self::Value(one), Self::Value(other)) => compare(one, other),
            (Self::Index(one), Self::Index(other)) => one.cmp(other),
            (one, other) => one.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element {}

fn compare_keys(one: &[(Box<str>, Value)], other: &[(Box<str>, Value)]) -> Ordering {
    for ((name, value), (other_name, other_value)) in one.iter().zip(other) {
        let order = name.cmp(other_name).then_with(|| compare(value, other_value));
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

/// Orders values: numbers by size, whole or not; then texts, truth values, lists, objects, null.
pub(super) fn compare(one: &Value, other: &Value) -> Ordering {
    fn rank(value: &Value) -> u8 {
        match value {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.as_f64().unwrap_or(0.0).total_cmp(&other.as_f64().unwrap_or(0.0)),
        },
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Array(one), Value::Array(other)) => {
            let unequal = one.iter().zip(other).map(|(one, other)| compare(one, other));
            unequal.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| one.len().cmp(&other.len()))
        }
        (Value::Object(one), Value::Object(other)) => {
            let unequal = one.iter().zip(other).map(|((name, value), (other_name, other_value))| {
                name.cmp(other_name).then_with(|| compare(value, other_value))
            });
            unequal.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| one.len().cmp(&other.len()))
        }
        (one, other) => rank(one).cmp(&rank(other)),
    }
}

/// As messages show it: `.name`, `[name="c"]`, `[="x"]`, `[3]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={}]", shown(value)),
            Self::Index(position) => write!(f, "[{position}]"),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_element_is_written_and_read_back() {
        for text in [
            "f:metadata",
            "f:a:b",
            "f:",
            r#"k:{"containerPort":80,"protocol":"TCP"}"#,
            r#"v:"example.com/a""#,
            r#"v:"a\u0026b""#,
            "v:7",
            "i:3",
        ] {
            assert_eq!(Element::decode(text).unwrap().encode(), text);
        }
    }

    #[test]
    fn what_is_no_element_is_refused_and_what_a_newer_server_may_know_is_told_apart() {
        assert_eq!(Element::decode("x:1"), Err(ElementError::Unknown));
        for text in ["", "f", "k:[1]", "k:{", "v:", "i:x", "field:x"] {
            assert!(matches!(Element::decode(text), Err(ElementError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn elements_show_themselves_in_upstreams_words_and_numbers_are_equal_however_they_are_written() {
        let keys = Element::decode(r#"k:{"port":1,"protocol":"TCP"}"#).unwrap();

        assert_eq!(keys.to_string(), r#"[port=1,protocol="TCP"]"#);
        assert_eq!(Element::Value(json!("x")).to_string(), r#"[="x"]"#);
        assert_eq!(Element::field("spec").to_string(), ".spec");
        assert_eq!(Element::Value(json!(1)), Element::Value(json!(1.0)));
        assert!(Element::Value(json!(10)) < Element::Value(json!("1")));
    }
}
