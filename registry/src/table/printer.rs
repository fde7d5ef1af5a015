//! Printer columns of custom kinds: cells that a [`JsonPath`] picks from the object.

use jiff::Timestamp;
use serde_json::Value;

use super::definition::{ColumnDefinition, name};
use super::jsonpath::{JsonPath, JsonPathError};
use super::{Columns, cell, duration};

pub(super) fn columns(additional: &Value) -> Result<Columns, JsonPathError> {
    let mut definitions = vec![name()];
    let mut paths = Vec::new();
    for column in cell::items(additional) {
        let text = |field: &str| cell::string(&column[field]).to_owned();
        let path = text("jsonPath");
        let description = match text("description") {
            none if none.is_empty() => {
                format!("Custom resource definition column (in JSONPath format): {path}")
            }
            description => description,
        };
        let definition = ColumnDefinition::new(text("name"), text("type"), description)
            .with_format(text("format"))
            .with_priority(cell::int(&column["priority"]).try_into().unwrap_or_default());
        paths.push((JsonPath::parse(&path)?, text("type")));
        definitions.push(definition);
    }
    if paths.is_empty() {
        definitions.push(ColumnDefinition::new("Age", "date", "When the object was created"));
        paths.push((JsonPath::parse(".metadata.creationTimestamp")?, "date".to_owned()));
    }
    Ok(Columns::new(definitions, move |object, now| {
        let cells = paths.iter().map(|(path, kind)| cell_of(path.find(object).first().copied(), kind, now));
        std::iter::once(cell::name(object)).chain(cells).collect()
    }))
}

/// The cell of a value in a column of this type; null when there is no value or it has another type.
fn cell_of(value: Option<&Value>, kind: &str, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Some(value)) => printed(value).into(),
        ("integer", Some(Value::Number(number))) => {
            #[expect(clippy::cast_possible_truncation, reason = "an integer column cuts off fractions")]
            let cut_off = |number: f64| number as i64;
            number.as_i64().or_else(|| number.as_f64().map(cut_off)).into()
        }
        ("number", Some(value @ Value::Number(_))) => value.clone(),
        ("boolean", Some(value @ Value::Bool(_))) => value.clone(),
        ("date", Some(Value::String(time))) if time.is_empty() => "<unknown>".into(),
        ("date", Some(Value::String(time))) => match time.parse::<Timestamp>() {
            Ok(_) => duration::age(Some(time), now).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

/// A value as Go prints it.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => float.to_string(),
            _ => number.to_string(),
        },
        Value::Array(_) | Value::Object(_) => {
            value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn printer_columns_fill_cells_by_their_types() {
        let column = |kind: &str, path: &str| json!({"name": "C", "type": kind, "jsonPath": path});
        let additional = json!([
            column("integer", ".spec.n"),
            column("string", ".spec.s"),
            column("boolean", ".spec.b"),
            column("string", ".spec.none"),
            column("string", ".spec.l[0].k"),
            column("string", ".spec.o"),
            column("integer", ".spec.s"),
            column("number", ".spec.f"),
            column("date", ".spec.when"),
            column("string", ".spec.l[?(@.k==\"b\")].v"),
            column("string", ".spec.f"),
        ]);
        let object = json!({"metadata": {"name": "a"}, "spec": {
            "n": 5, "s": "str", "b": true, "f": 1.5, "o": {"x": "y"}, "when": "not a date",
            "l": [{"k": "a", "v": "1"}, {"k": "b", "v": "2"}],
        }});

        let cells = Columns::from_printer_columns(&additional).unwrap().cells(&object, Timestamp::UNIX_EPOCH);

        let expected =
            json!(["a", 5, "str", true, null, "a", "{\"x\":\"y\"}", null, 1.5, "<invalid>", "2", "1.5"]);
        assert_eq!(Value::from(cells), expected);
    }

    #[test]
    fn a_custom_kind_without_columns_shows_its_age() {
        let columns = Columns::from_printer_columns(&Value::Null).unwrap();
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "1969-12-31T23:59:00Z"}});

        assert_eq!(columns.definitions()[1].name, "Age");
        assert_eq!(columns.definitions()[1].kind, "date");
        assert_eq!(columns.cells(&object, Timestamp::UNIX_EPOCH), [json!("a"), json!("60s")]);
    }
}
