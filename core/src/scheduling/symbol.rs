//! Text that is compared as an integer.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::hash::fnv1a;

/// A short text (a name, a label's key or value) with its hash beside it, so that telling two apart costs one comparison
/// of integers. Cloning is cheap.
///
/// Symbols need no table to be compared: equal text is equal, wherever it was made. They are ordered as their text is.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::scheduling::Symbol;
///
/// let zone = Symbol::from("topology.kubernetes.io/zone");
///
/// assert_eq!(zone, "topology.kubernetes.io/zone");
/// assert_ne!(zone, Symbol::from("kubernetes.io/hostname"));
/// ```
#[derive(Clone)]
pub struct Symbol {
    hash: u64,
    text: Arc<str>,
}

impl Symbol {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Compares by hash first: an order that is quick and the same everywhere, but means nothing to a reader.
    pub(super) fn quick_cmp(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| self.cmp(other))
    }
}

impl From<&str> for Symbol {
    fn from(text: &str) -> Self {
        Self { hash: fnv1a(text.bytes()), text: text.into() }
    }
}

impl From<String> for Symbol {
    fn from(text: String) -> Self {
        Self { hash: fnv1a(text.bytes()), text: text.into() }
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Symbol;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Symbol, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl PartialEq for Symbol {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
    }
}

impl Eq for Symbol {}

impl PartialEq<str> for Symbol {
    fn eq(&self, other: &str) -> bool {
        &*self.text == other
    }
}

impl PartialEq<&str> for Symbol {
    fn eq(&self, other: &&str) -> bool {
        &*self.text == *other
    }
}

impl PartialOrd for Symbol {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Symbol {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.text, &other.text) { Ordering::Equal } else { self.text.cmp(&other.text) }
    }
}

impl Hash for Symbol {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for Symbol {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl AsRef<str> for Symbol {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_ordered_as_their_text() {
        let mut names = [Symbol::from("node-b"), Symbol::from("node-a"), Symbol::from("a")];

        names.sort();

        assert_eq!(names, ["a", "node-a", "node-b"]);
    }
}
