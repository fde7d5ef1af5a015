//! What strict validation has against JSON of no particular structure: members that stand twice, and in a JSON patch also
//! members that no operation has.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::decode::MOST_STRICT_ERRORS;
use super::node::Node;
use super::parse;

/// The members that operations of a JSON patch have.
const OPERATION: [&str; 4] = ["op", "path", "from", "value"];

/// JSON of no particular structure, and what strict field validation has against it.
#[derive(Debug, Clone, PartialEq)]
pub struct StrictJson {
    /// The value; of members that stand twice the last one counts.
    pub value: serde_json::Value,
    /// `duplicate field "spec.foo"` and `unknown field "[0].foo"`, in the order of the text.
    pub strict_errors: Vec<String>,
}

impl StrictJson {
    /// Parses JSON text.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, in the words of Go's encoding/json.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::read(bytes, |walk, node| walk.value(node))
    }

    /// Parses a JSON patch (RFC 6902).
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_operations(bytes: &[u8]) -> Result<Self, String> {
        Self::read(bytes, Walk::operations)
    }

    fn read(bytes: &[u8], walk: fn(&mut Walk, &Node<'_>)) -> Result<Self, String> {
        let node = parse::parse(bytes)?;
        let mut found = Walk::default();
        walk(&mut found, &node);
        Ok(Self { value: node.into_value()?, strict_errors: found.errors })
    }
}

#[derive(Default)]
struct Walk {
    path: String,
    errors: Vec<String>,
}

impl Walk {
    fn value(&mut self, node: &Node<'_>) {
        match node {
            Node::List(list) => self.list(list, Self::value),
            Node::Object(members) => {
                let mut seen = BTreeSet::new();
                for (name, node) in members {
                    if !seen.insert(name) {
                        self.report("duplicate", name);
                    }
                    self.below(name, |walk| walk.value(node));
                }
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => {}
        }
    }

    fn operations(&mut self, node: &Node<'_>) {
        let Node::List(list) = node else { return };
        self.list(list, |walk, operation| {
            let Node::Object(members) = operation else { return };
            let mut seen = BTreeSet::new();
            for (name, node) in members {
                if !OPERATION.contains(&name.as_ref()) {
                    // What is under an unknown name is not looked at.
                    walk.report("unknown", name);
                    continue;
                }
                if !seen.insert(name) {
                    walk.report("duplicate", name);
                }
                walk.below(name, |walk| walk.value(node));
            }
        });
    }

    fn list(&mut self, list: &[Node<'_>], each: impl Fn(&mut Self, &Node<'_>)) {
        let length = self.path.len();
        for (at, node) in list.iter().enumerate() {
            let _ = write!(self.path, "[{at}]");
            each(self, node);
            self.path.truncate(length);
        }
    }

    fn below(&mut self, name: &str, then: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        then(self);
        self.path.truncate(length);
    }

    fn report(&mut self, what: &str, name: &str) {
        if self.errors.len() >= MOST_STRICT_ERRORS {
            return;
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        let error = format!("{what} field {:?}", format!("{}{dot}{name}", self.path));
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_stand_twice_are_told_once_each_in_the_order_of_the_text() {
        let text = br#"{"a":[{"b":1,"b":2,"b":3},{"c":{"d":1,"d":2}}],"a":[],"e":{"e":1}}"#;

        let read = StrictJson::parse(text).unwrap();

        assert_eq!(read.value, serde_json::json!({"a": [], "e": {"e": 1}}));
        assert_eq!(
            read.strict_errors,
            [r#"duplicate field "a[0].b""#, r#"duplicate field "a[1].c.d""#, r#"duplicate field "a""#]
        );
    }

    #[test]
    fn operations_have_four_members_and_no_other() {
        let text =
            br#"[{"op":"add","Op":"x","op":"add","path":"/a","value":{"b":1,"b":1},"note":{"x":1,"x":1}}]"#;

        let read = StrictJson::parse_operations(text).unwrap();

        assert_eq!(
            read.strict_errors,
            [
                r#"unknown field "[0].Op""#,
                r#"duplicate field "[0].op""#,
                r#"duplicate field "[0].value.b""#,
                r#"unknown field "[0].note""#
            ]
        );
    }
}
