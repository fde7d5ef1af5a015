//! Field selectors: which objects a list or a watch chooses by their fields, as in `fieldSelector=status.phase=Running`.
//!
//! Start at [`FieldSelector::parse`], then let [`FieldSelector::validate`] check it against what a kind is selected by
//! ([`selectable_fields`]). Label selectors, which every kind has alike, are in [`quarterdeck_core::labels`].

mod fields;

use std::borrow::Cow;
use std::fmt;

use quarterdeck_core::labels::quote;
use serde_json::Value;

pub use fields::{SelectableField, selectable_fields};

/// Why a field selector is refused: a bad request, with upstream's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole selector.
        selector: String,
        /// The term, as it was written.
        term: String,
    },
    /// A backslash stands before something other than a backslash, a comma or an equals sign.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A value holds an equals sign without a backslash. Upstream prints its code.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
    /// The kind is not selected by this field.
    #[error("{message}")]
    Field {
        /// What to tell the client: the wording differs from kind to kind.
        message: String,
    },
}

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    field: Cow<'static, str>,
    value: String,
    equal: bool,
}

impl Requirement {
    /// Returns the field's name, such as `status.phase`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Returns the value that the field is compared with.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns whether the field has to have the value, rather than any other.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.equal
    }

    /// Returns whether an object with this value of the field meets the condition.
    #[must_use]
    pub fn matches_value(&self, value: &str) -> bool {
        (self.value == value) == self.equal
    }
}

/// A conjunction of [`Requirement`]s on fields. `Display` writes the form that [`FieldSelector::parse`] reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<Requirement>,
}

impl FieldSelector {
    /// Returns the selector that chooses every object.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads the query parameter `fieldSelector`. The empty string chooses everything.
    ///
    /// # Errors
    ///
    /// [`SelectorError`] for a term without an operator, and for a value that is escaped wrongly.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let requirement = |term: &str| {
            let malformed = || SelectorError::Term { selector: text.to_owned(), term: term.to_owned() };
            let (field, equal, value) = split_term(term).ok_or_else(malformed)?;
            Ok(Requirement { field: field.to_owned().into(), value: unescape(value)?, equal })
        };
        let mut terms = split_terms(text);
        // As upstream: it complains of the first wrong term in this order.
        terms.sort_unstable();
        let terms = terms.into_iter().filter(|term| !term.is_empty());
        Ok(Self { requirements: terms.map(requirement).collect::<Result<_, _>>()? })
    }

    /// Returns the conditions, by their text.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Returns whether this chooses every object: nothing needs to be looked at.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Returns the one value that this demands of `field`, if it demands one: what an index can look up.
    #[must_use]
    pub fn exact_value(&self, field: &str) -> Option<&str> {
        let requirement =
            self.requirements.iter().find(|requirement| requirement.equal && requirement.field == field);
        requirement.map(Requirement::value)
    }

    /// Checks that the kind is selected by all these fields, and replaces their old names by the present ones.
    ///
    /// `fields` are the kind's own: name and namespace come for free.
    ///
    /// # Errors
    ///
    /// [`SelectorError::Field`] for the first field that the kind is not selected by.
    pub fn validate(
        mut self,
        group: &str,
        kind: &str,
        fields: &[SelectableField],
    ) -> Result<Self, SelectorError> {
        for requirement in &mut self.requirements {
            let name = requirement.field.as_ref();
            if let Some(field) =
                fields.iter().find(|field| field.name == name || field.aliases.contains(&name))
            {
                requirement.field = field.name.clone();
            } else if !fields::is_common(group, kind, name) {
                return Err(SelectorError::Field { message: fields::refusal(group, kind, name) });
            }
        }
        Ok(self)
    }

    /// Checks that a custom kind is selected by all these fields.
    ///
    /// `fields` are those of its definition: name, and in namespaces the namespace, come for free.
    ///
    /// # Errors
    ///
    /// [`SelectorError::Field`] for the first field that the kind is not selected by.
    pub fn validate_custom(
        self,
        namespaced: bool,
        fields: &[SelectableField],
    ) -> Result<Self, SelectorError> {
        let is_known = |name: &str| match name {
            "metadata.name" => true,
            "metadata.namespace" => namespaced,
            name => fields.iter().any(|field| field.name == name),
        };
        match self.requirements.iter().find(|requirement| !is_known(&requirement.field)) {
            None => Ok(self),
            Some(requirement) => {
                let message = format!("field label not supported: {}", requirement.field);
                Err(SelectorError::Field { message })
            }
        }
    }

    /// Names fields otherwise, where `name` knows another name.
    #[must_use]
    pub fn renamed(mut self, name: impl Fn(&str) -> Option<Cow<'static, str>>) -> Self {
        for requirement in &mut self.requirements {
            if let Some(name) = name(&requirement.field) {
                requirement.field = name;
            }
        }
        self
    }

    /// Returns whether an object is chosen whose fields have the values that `value` returns for their names.
    pub fn matches<'a>(&self, value: impl Fn(&str) -> Cow<'a, str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches_value(&value(&requirement.field)))
    }

    /// Returns whether `object`, of a kind with these fields of its own, is chosen. The selector is validated.
    #[must_use]
    pub fn matches_object(&self, object: &Value, fields: &[SelectableField]) -> bool {
        self.matches(|name| match fields.iter().find(|field| field.name == name) {
            Some(field) => field.value(object),
            None => fields::text_at(object, name).unwrap_or_default(),
        })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { field, value, equal }) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if *equal { "=" } else { "!=" };
            write!(f, "{comma}{field}{operator}{}", escape(value))?;
        }
        Ok(())
    }
}

impl std::str::FromStr for FieldSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

/// Splits at the commas that have no backslash before them.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|char| {
        let separates = char == ',' && !escaped;
        escaped = char == '\\' && !escaped;
        separates
    })
    .collect()
}

/// Splits a term at its first operator: the field, whether it has to be equal, the value.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let equals = term.find('=')?;
    let (before, after) = (&term[..equals], &term[equals + 1..]);
    match before.strip_suffix('!') {
        Some(field) => Some((field, false, after)),
        None => Some((before, true, after.strip_prefix('=').unwrap_or(after))),
    }
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some(char @ ('\\' | ',' | '=')) => text.push(char),
                other => return Err(SelectorError::Escape(std::iter::once('\\').chain(other).collect())),
            },
            ',' | '=' => return Err(SelectorError::Unescaped(char)),
            char => text.push(char),
        }
    }
    Ok(text)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

/// The wording for kinds that are selected by what all kinds have.
fn only_common(field: &str) -> String {
    format!("{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", quote(field))
}

#[cfg(test)]
mod tests;
