//! What may be the key or the value of a label, in upstream's words.

use super::Operator;

const NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is";
const MAX_NAME: usize = 63;
const MAX_SUBDOMAIN: usize = 253;

/// Returns what is wrong with `key` as the key of a label, an annotation or a selector; nothing when it is valid.
///
/// A key is a name of at most 63 bytes, after an optional DNS subdomain and a slash.
pub fn validate_label_key(key: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut parts = key.split('/');
    let first = parts.next().unwrap_or_default();
    let name = match (parts.next(), parts.next()) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                let prefix = validate_dns1123_subdomain(first);
                problems.extend(prefix.into_iter().map(|problem| format!("prefix part {problem}")));
            }
            name
        }
        (Some(_), Some(_)) => {
            problems.push(format!(
                "a qualified name {NAME_RULE} '{NAME}') with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            ));
            return problems;
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > MAX_NAME {
        problems.push(format!("name part {}", too_long(MAX_NAME)));
    }
    if !is_name(name) {
        problems.push(format!("name part {NAME_RULE} '{NAME}')"));
    }
    problems
}

/// Returns what is wrong with `value` as the value of a label; nothing when it is valid. It may be empty.
pub fn validate_label_value(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > MAX_NAME {
        problems.push(too_long(MAX_NAME));
    }
    if !value.is_empty() && !is_name(value) {
        problems.push(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
             for validation is '({NAME})?')"
        ));
    }
    problems
}

/// Returns what is wrong with `value` as a DNS subdomain (RFC 1123, lower case); nothing when it is valid.
pub fn validate_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > MAX_SUBDOMAIN {
        problems.push(too_long(MAX_SUBDOMAIN));
    }
    if !value.split('.').all(is_dns_label) {
        problems.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    problems
}

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn is_name(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    has_shape(text.as_bytes(), u8::is_ascii_alphanumeric, inner)
}

fn is_dns_label(text: &str) -> bool {
    let outer = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    has_shape(text.as_bytes(), outer, |byte| outer(byte) || *byte == b'-')
}

fn has_shape(bytes: &[u8], outer: impl Fn(&u8) -> bool, inner: impl Fn(&u8) -> bool) -> bool {
    bytes.first().is_some_and(&outer) && bytes.last().is_some_and(&outer) && bytes.iter().all(inner)
}

/// What is wrong with the number of values, or with the number that a value must be.
pub(super) fn value_count(operator: Operator, values: &[String]) -> Vec<String> {
    let listed = || {
        let quoted: Vec<_> = values.iter().map(|value| quote(value)).collect();
        format!("[{}]", quoted.join(","))
    };
    let wrong = |rule: &str| vec![format!("values: Invalid value: {}: {rule}", listed())];
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            wrong("for 'in', 'notin' operators, values set can't be empty")
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            wrong("exact-match compatibility requires one single value")
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            wrong("values set must be empty for exists and does not exist")
        }
        Operator::GreaterThan | Operator::LessThan => {
            let mut problems = Vec::new();
            if values.len() != 1 {
                problems = wrong("for 'Gt', 'Lt' operators, exactly one value is required");
            }
            for (index, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err())
            {
                problems.push(format!(
                    "values[{index}]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                    quote(value)
                ));
            }
            problems
        }
        _ => Vec::new(),
    }
}

/// Returns `text` in double quotes, escaped as Go's `%q` does it: error texts of the API quote what a client sent so.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            char if char.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(char))),
            char if char.is_ascii() || char.escape_debug().len() == 1 => quoted.push(char),
            char if u32::from(char) < 0x1_0000 => quoted.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => quoted.push_str(&format!("\\U{:08x}", u32::from(char))),
        }
    }
    quoted.push('"');
    quoted
}
