//! A body between parsing and decoding: its kind decides how it is read, or whether.

use super::decode::{DecodeError, Decoded, decode_node};
use super::node::Node;
use super::parse;
use super::types::Structure;

/// JSON text that was parsed and is not yet read as an object of any structure.
#[derive(Debug, Clone)]
pub struct Document<'a>(Node<'a>);

/// A member of a [`Document`] that tells what the document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark<'d> {
    /// A text; empty if the member is absent or null.
    Text(&'d str),
    /// Something else, or several.
    Unreadable,
}

impl<'a> Document<'a> {
    /// Parses JSON text.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, in the words of Go's encoding/json.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        parse::parse(bytes).map(Self)
    }

    /// Returns a member of the document itself, such as its kind.
    #[must_use]
    pub fn mark(&self, name: &str) -> Mark<'_> {
        let Node::Object(members) = &self.0 else { return Mark::Text("") };
        let mut found = members.iter().filter(|(known, _)| known == name).map(|(_, node)| node);
        match (found.next(), found.next()) {
            (None | Some(Node::Null), None) => Mark::Text(""),
            (Some(Node::String(text)), None) => Mark::Text(text),
            _ => Mark::Unreadable,
        }
    }

    /// Returns why the document cannot say what it is, if it cannot, in the words of Go's encoding/json: it is no object, or its kind
    /// or version is no text.
    #[must_use]
    pub fn mistyped(&self) -> Option<String> {
        const HEAD: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        let members = match &self.0 {
            Node::Object(members) => members,
            Node::Null => return None,
            other => {
                return Some(format!("json: cannot unmarshal {} into Go value of type {HEAD}", other.word()));
            }
        };
        let is_wrong = |name: &str, node: &Node<'_>| {
            matches!(name, "kind" | "apiVersion") && !matches!(node, Node::String(_) | Node::Null)
        };
        let (name, node) = members.iter().find(|(name, node)| is_wrong(name, node))?;
        Some(format!("json: cannot unmarshal {} into Go struct field .{name} of type string", node.word()))
    }

    /// Returns the name in the document's metadata; empty if there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        match member(&self.0, "metadata").and_then(|metadata| member(metadata, "name")) {
            Some(Node::String(name)) => name,
            _ => "",
        }
    }

    /// Returns whether a member of a member is a list and empty, which decoding would leave out.
    #[must_use]
    pub fn has_empty_list(&self, outer: &str, inner: &str) -> bool {
        let Node::Object(members) = &self.0 else { return false };
        let Some((_, Node::Object(members))) = members.iter().find(|(name, _)| name == outer) else {
            return false;
        };
        members
            .iter()
            .any(|(name, node)| name == inner && matches!(node, Node::List(list) if list.is_empty()))
    }

    /// Reads the document as an object of this structure.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Type`] as [`decode_json`](super::decode_json).
    pub fn decode(self, structure: &Structure) -> Result<Decoded, DecodeError> {
        decode_node(structure, self.0)
    }
}

/// Returns a member of an object.
fn member<'n, 'a>(node: &'n Node<'a>, name: &str) -> Option<&'n Node<'a>> {
    let Node::Object(members) = node else { return None };
    members.iter().find(|(known, _)| known == name).map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_tells_its_kind_unless_that_is_no_text_or_there_are_two() {
        for (text, mark) in [
            (r#"{"a":1,"kind":"Pod"}"#, Mark::Text("Pod")),
            (r#"{"kind":null}"#, Mark::Text("")),
            ("{}", Mark::Text("")),
            ("[]", Mark::Text("")),
            (r#"{"kind":7}"#, Mark::Unreadable),
            (r#"{"kind":"Pod","kind":"Pod"}"#, Mark::Unreadable),
        ] {
            assert_eq!(Document::parse(text.as_bytes()).unwrap().mark("kind"), mark, "{text}");
        }
    }
}
