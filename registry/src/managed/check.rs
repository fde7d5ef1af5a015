//! Whether an applied configuration fits its kind: known members, right types, lists whose elements can be told apart.

use std::collections::BTreeSet;

use quarterdeck_core::labels::quote;
use serde_json::{Map, Value};

use super::element::Element;
use super::shape::{Shape, Typed};
use crate::schema::{Structure, Type};

/// How many problems are told. More come from hostile input.
const MOST_PROBLEMS: usize = 100;

/// Checks an applied configuration.
///
/// # Errors
///
/// All that is wrong with it, in upstream's words.
pub(super) fn check(structure: &Structure, applied: &Value) -> Result<(), String> {
    let mut walk = Walk { path: Vec::new(), problems: Vec::new() };
    walk.structure(structure, applied);
    match walk.problems.as_slice() {
        [] => Ok(()),
        [problem] => Err(problem.clone()),
        problems => Err(format!("errors:\n  {}", problems.join("\n  "))),
    }
}

struct Walk {
    path: Vec<Element>,
    problems: Vec<String>,
}

impl Walk {
    fn problem(&mut self, what: &str) {
        if self.problems.len() >= MOST_PROBLEMS {
            return;
        }
        let path: String = self.path.iter().map(ToString::to_string).collect();
        let separator = if path.is_empty() { "" } else { ": " };
        self.problems.push(format!("{path}{separator}{what}"));
    }

    fn below(&mut self, element: Element, visit: impl FnOnce(&mut Self)) {
        self.path.push(element);
        visit(self);
        self.path.pop();
    }

    fn structure(&mut self, structure: &Structure, value: &Value) {
        let Some(members) = self.object(value) else { return };
        for (name, value) in members {
            let typed = Typed::member(structure, name);
            self.below(Element::field(name), |walk| match typed {
                Some(typed) => walk.value(typed, value),
                None if structure.is_open() => {}
                None => walk.problem("field not declared in schema"),
            });
        }
    }

    fn value(&mut self, typed: Typed<'_>, value: &Value) {
        match typed.ty {
            Type::Nullable(inner) => self.value(typed.inner(inner), value),
            Type::Struct(structure) => self.structure(structure, value),
            Type::Map(element) => {
                let Some(members) = self.object(value) else { return };
                for (name, value) in members {
                    self.below(Element::field(name), |walk| walk.value(typed.element(element), value));
                }
            }
            Type::List(element) => self.list(typed, typed.element(element), value),
            Type::Bool if !value.is_boolean() && !value.is_null() => {
                self.problem(&format!("expected boolean, got {}", pointer(value)));
            }
            Type::Int32 | Type::Int64 | Type::Double if !value.is_number() && !value.is_null() => {
                self.problem(&format!("expected numeric (int or float), got {}", go_type(value)));
            }
            Type::String | Type::Bytes | Type::Time | Type::MicroTime
                if !value.is_string() && !value.is_null() =>
            {
                self.problem(&format!(
                    "expected string, got &value.valueUnstructured{{Value:{}}}",
                    literal(value)
                ));
            }
            _ => {}
        }
    }

    fn object<'v>(&mut self, value: &'v Value) -> Option<&'v Map<String, Value>> {
        match value {
            Value::Object(members) => Some(members),
            Value::Null => None,
            other => {
                self.problem(&format!("expected map, got {}", pointer(other)));
                None
            }
        }
    }

    fn list(&mut self, typed: Typed<'_>, element: Typed<'_>, value: &Value) {
        let list = match value {
            Value::Array(list) => list,
            Value::Null => return,
            other => return self.problem(&format!("expected list, got {}", pointer(other))),
        };
        let shape = typed.shape();
        let mut seen = BTreeSet::new();
        for (at, value) in list.iter().enumerate() {
            let name = if shape.is_list() { self.name(shape, at, value) } else { Some(position(at)) };
            // What has no name has no place that the problems below it could be told of.
            let Some(name) = name else { return };
            if !seen.insert(name.clone()) {
                self.problem(&format!("duplicate entries for key {name}"));
            }
            self.below(name, |walk| walk.value(element, value));
        }
    }

    fn name(&mut self, shape: Shape<'_>, at: usize, value: &Value) -> Option<Element> {
        shape.name(value).map_err(|why| self.problem(&format!("element {at}: {why}"))).ok()
    }
}

fn position(at: usize) -> Element {
    Element::Index(i64::try_from(at).unwrap_or(i64::MAX))
}

/// A value as Go's `%v` shows a pointer to it.
fn pointer(value: &Value) -> String {
    format!("&{{{}}}", plain(value))
}

/// A value as Go's `%v` shows it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}

/// A value as Go's `%#v` shows it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(text) => quote(text),
        Value::Array(list) => {
            format!("[]interface {{}}{{{}}}", list.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{}:{}", quote(name), literal(value))).collect();
            format!("map[string]interface {{}}{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// The Go type that JSON is read into.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;
    use serde_json::json;

    fn problems(kind: (&str, &str), applied: Value) -> String {
        check(builtin(kind.0, "v1", kind.1).unwrap(), &applied).err().unwrap_or_default()
    }

    #[test]
    fn a_configuration_is_refused_for_what_its_kind_has_not() {
        let of = |spec: Value| problems(("", "Pod"), json!({"spec": spec}));

        assert_eq!(of(json!({"nope": 1})), ".spec.nope: field not declared in schema");
        assert_eq!(
            of(json!({"nodeName": 1})),
            ".spec.nodeName: expected string, got &value.valueUnstructured{Value:1}"
        );
        assert_eq!(
            of(json!({"priority": "x"})),
            ".spec.priority: expected numeric (int or float), got string"
        );
        assert_eq!(of(json!({"hostPID": "x"})), ".spec.hostPID: expected boolean, got &{x}");
        assert_eq!(of(json!({"containers": {"a": 1}})), ".spec.containers: expected list, got &{map[a:1]}");
        assert_eq!(of(json!({"nodeSelector": null, "tolerations": [{"key": "k"}, {"key": "k"}]})), "");
    }

    #[test]
    fn elements_that_cannot_be_told_apart_are_refused() {
        let of =
            |env: Value| problems(("", "Pod"), json!({"spec": {"containers": [{"name": "c", "env": env}]}}));

        assert_eq!(
            of(json!([{"name": "E"}, {"name": "E", "value": "x"}])),
            r#".spec.containers[name="c"].env: duplicate entries for key [name="E"]"#
        );
        assert_eq!(
            of(json!([{"value": "x"}])),
            ".spec.containers[name=\"c\"].env: element 0: associative list with keys has an element that omits key \
             field \"name\" (and doesn't have default value)"
        );
    }
}
