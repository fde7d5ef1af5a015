//! JSON as the rules of comparison see it: paths into a value, and one text for each value.

use serde_json::Value;

/// The value at `a.b.0.c`, unless it is missing or null. A name with dots is written in brackets: `a[b.c/d].e`.
/// A negative index counts from the end.
pub(crate) fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let found = segments(path).into_iter().try_fold(value, |value, part| match value {
        Value::Object(members) => members.get(part),
        Value::Array(items) => {
            let index: isize = part.parse().ok()?;
            let index = if index < 0 { index.checked_add_unsigned(items.len())? } else { index };
            items.get(usize::try_from(index).ok()?)
        }
        _ => None,
    })?;
    (!found.is_null()).then_some(found)
}

/// The names that a path consists of.
pub(crate) fn segments(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let (part, after) = match first {
            '[' => rest[1..].split_once(']').unwrap_or((&rest[1..], "")),
            '.' | ']' => ("", &rest[1..]),
            _ => rest.split_at(rest.find(['.', '[', ']']).unwrap_or(rest.len())),
        };
        if !part.is_empty() {
            found.push(part);
        }
        rest = after;
    }
    found
}

/// Whether two values that are not both objects and not both lists are the same. `1` and `1.0` are.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => one == other,
    }
}

/// The text of a scalar as `conform.py` sees it when it compares across types.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => dump(other),
    }
}

/// One line of JSON with sorted members and ASCII only: what lists without an order are sorted by.
pub(crate) fn dump(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// The document `text` on one line, its members in their order: as `conform.py` sends it. Some errors quote it.
pub(crate) fn on_one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in text.chars() {
        if in_string {
            out.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            ',' | ':' => out.extend([character, ' ']),
            c if c.is_whitespace() => {}
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

/// A value in at most 300 characters, for people.
pub(crate) fn brief(value: &Value) -> String {
    let whole = match value {
        Value::String(text) => text.clone(),
        other => dump(other),
    };
    if whole.chars().count() < 300 {
        return whole;
    }
    whole.chars().take(297).chain("...".chars()).collect()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_string(name, out);
                out.push_str(": ");
                write(member, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn write_string(text: &str, out: &mut String) {
    let escaped = Value::from(text).to_string();
    let mut units = [0; 2];
    for character in escaped.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_leads_through_names_indices_and_bracketed_names() {
        let value = json!({"a": {"b.c/d": [{"e": 1}, {"e": null}, 3]}});

        assert_eq!(find(&value, "a[b.c/d].0.e"), Some(&json!(1)));
        assert_eq!(find(&value, "a[b.c/d].-1"), Some(&json!(3)));
        assert_eq!(find(&value, "a[b.c/d].1.e"), None, "null is as good as missing");
        assert_eq!(find(&value, "a[b.c/d].3"), None);
        assert_eq!(find(&value, "a[b.c/d].-4"), None);
        assert_eq!(find(&value, "a[b.c/d].x"), None);
        assert_eq!(find(&value, "a[b.c/d].2.e"), None, "a number has no members");
    }

    #[test]
    fn a_dump_is_one_ascii_line_with_sorted_members() {
        assert_eq!(
            dump(&json!({"b": [1, 1.5, "ä𝄞\"\n"], "a": null})),
            r#"{"a": null, "b": [1, 1.5, "\u00e4\ud834\udd1e\"\n"]}"#
        );
    }

    #[test]
    fn a_document_on_one_line_keeps_order_and_strings() {
        let text = "{\n \"b\": [1,\t2],\r\n \"a\" :{\"c:d, \\\\\": \"e,\\\"  :f\"}\n}";

        assert_eq!(on_one_line(text), "{\"b\": [1, 2], \"a\": {\"c:d, \\\\\": \"e,\\\"  :f\"}}");
    }

    #[test]
    fn numbers_are_the_same_whatever_their_notation() {
        assert!(same(&json!(1), &json!(1.0)));
        assert!(!same(&json!(1), &json!(2)));
        assert!(!same(&json!(1), &json!("1")));
    }
}
