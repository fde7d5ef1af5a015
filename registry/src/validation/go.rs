//! Values as Go's `%#v` and `%+v` print them, since upstream shows them so in messages that clients know.

use quarterdeck_core::labels::quote;
use serde_json::Value;

use super::error::Shown;

/// A field of a struct: its name in Go, and its value as Go prints it.
pub(super) type Field = (&'static str, String);

/// A struct `name` with all its fields.
pub(super) fn structure(name: &str, fields: &[Field]) -> Shown {
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    Shown(format!("{name}{{{}}}", fields.join(", ")))
}

/// A string field.
pub(super) fn string(value: &Value) -> String {
    quote(value.as_str().unwrap_or_default())
}

/// A number field.
pub(super) fn number(value: &Value) -> String {
    value.as_i64().unwrap_or_default().to_string()
}

/// A field that is a pointer to a `kind`. Where it points to is noise: the value stands there instead.
pub(super) fn pointer(kind: &str, value: &Value) -> String {
    if value.is_null() { format!("(*{kind})(nil)") } else { format!("(*{kind})({value})") }
}

/// JSON of no particular structure, as `%+v` prints it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            let members: Vec<_> =
                members.into_iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

/// A list of strings of the Go type `kind` (`[]string`).
pub(super) fn strings(kind: &str, value: &Value) -> Shown {
    let Value::Array(items) = value else {
        return Shown(format!("{kind}(nil)"));
    };
    let items: Vec<_> = items.iter().map(string).collect();
    Shown(format!("{kind}{{{}}}", items.join(", ")))
}

/// A map from strings to strings.
pub(super) fn string_map(value: &Value) -> Shown {
    let Value::Object(fields) = value else {
        return Shown("map[string]string(nil)".to_owned());
    };
    let fields: Vec<_> =
        fields.iter().map(|(key, value)| format!("{}:{}", quote(key), string(value))).collect();
    Shown(format!("map[string]string{{{}}}", fields.join(", ")))
}

/// A number or a string.
pub(super) fn int_or_string(value: &Value) -> Shown {
    structure(
        "intstr.IntOrString",
        &[
            ("Type", i32::from(value.is_string()).to_string()),
            ("IntVal", number(value)),
            ("StrVal", string(value)),
        ],
    )
}

/// A quantity, from its canonical text.
pub(super) fn quantity(text: &str) -> Shown {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let (number, suffix) = match text.split_once('e') {
        Some((number, exponent)) => (number, exponent),
        None => (number, &text[number.len()..]),
    };
    let number: i128 = number.parse().unwrap_or_default();
    let (number, scale, format) = match suffix {
        "" => (number, 0, "DecimalSI"),
        "n" => (number, -9, "DecimalSI"),
        "u" => (number, -6, "DecimalSI"),
        "m" => (number, -3, "DecimalSI"),
        "k" => (number, 3, "DecimalSI"),
        "M" => (number, 6, "DecimalSI"),
        "G" => (number, 9, "DecimalSI"),
        "T" => (number, 12, "DecimalSI"),
        "P" => (number, 15, "DecimalSI"),
        "E" => (number, 18, "DecimalSI"),
        "Ki" => (number << 10, 0, "BinarySI"),
        "Mi" => (number << 20, 0, "BinarySI"),
        "Gi" => (number << 30, 0, "BinarySI"),
        "Ti" => (number << 40, 0, "BinarySI"),
        "Pi" => (number << 50, 0, "BinarySI"),
        "Ei" => (number << 60, 0, "BinarySI"),
        exponent => (number, exponent.parse().unwrap_or_default(), "DecimalExponent"),
    };
    Shown(format!(
        "resource.Quantity{{i:resource.int64Amount{{value:{number}, scale:{scale}}}, \
         d:resource.infDecAmount{{Dec:(*inf.Dec)(nil)}}, s:{}, Format:\"{format}\"}}",
        quote(text)
    ))
}

/// A map from resource names to quantities.
pub(super) fn resource_list(value: &Value) -> Shown {
    let Value::Object(fields) = value else {
        return Shown("core.ResourceList(nil)".to_owned());
    };
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{}:{}", quote(name), quantity(value.as_str().unwrap_or_default()).0))
        .collect();
    Shown(format!("core.ResourceList{{{}}}", fields.join(", ")))
}

/// A label selector.
pub(super) fn label_selector(value: &Value) -> Shown {
    let expressions = match &value["matchExpressions"] {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(requirement).collect();
            format!("[]v1.LabelSelectorRequirement{{{}}}", items.join(", "))
        }
        _ => "[]v1.LabelSelectorRequirement(nil)".to_owned(),
    };
    structure(
        "v1.LabelSelector",
        &[("MatchLabels", string_map(&value["matchLabels"]).0), ("MatchExpressions", expressions)],
    )
}

fn requirement(value: &Value) -> String {
    let fields = [
        ("Key", string(&value["key"])),
        ("Operator", string(&value["operator"])),
        ("Values", strings("[]string", &value["values"]).0),
    ];
    structure("v1.LabelSelectorRequirement", &fields).0
}
