//! What a column is, and short ways to say it.

use std::borrow::Cow;

use serde::Serialize;

/// What a column is: a Table's `columnDefinitions` are a list of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnDefinition {
    /// The heading.
    pub name: Cow<'static, str>,
    /// The type of its cells in OpenAPI's words: `string`, `integer`, `number`, `boolean`, or `date`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// More about the type; `name` marks the column that identifies the object.
    pub format: Cow<'static, str>,
    /// What it shows, for people.
    pub description: Cow<'static, str>,
    /// 0 is always shown, greater numbers only where there is room (`-o wide`).
    pub priority: i32,
}

impl ColumnDefinition {
    /// Makes a column that is always shown, with no format.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            format: Cow::Borrowed(""),
            description: description.into(),
            priority: 0,
        }
    }

    /// Sets the format (default: none).
    #[must_use]
    pub fn with_format(mut self, format: impl Into<Cow<'static, str>>) -> Self {
        self.format = format.into();
        self
    }

    /// Sets the priority (default: 0, always shown).
    #[must_use]
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }
}

pub(super) fn name() -> ColumnDefinition {
    text("Name", "The object's name, unique within its kind and namespace").with_format("name")
}

pub(super) fn age() -> ColumnDefinition {
    text("Age", "How long ago the object was created")
}

pub(super) fn created_at() -> ColumnDefinition {
    ColumnDefinition::new("Created At", "date", "When the object was created")
}

pub(super) fn text(name: &'static str, description: &'static str) -> ColumnDefinition {
    ColumnDefinition::new(name, "string", description)
}

pub(super) fn integer(name: &'static str, description: &'static str) -> ColumnDefinition {
    ColumnDefinition::new(name, "integer", description)
}

pub(super) fn boolean(name: &'static str, description: &'static str) -> ColumnDefinition {
    ColumnDefinition::new(name, "boolean", description)
}

pub(super) fn wide(name: &'static str, description: &'static str) -> ColumnDefinition {
    text(name, description).with_priority(1)
}

pub(super) fn containers() -> ColumnDefinition {
    wide("Containers", "The names of the template's containers")
}

pub(super) fn images() -> ColumnDefinition {
    wide("Images", "The images of the template's containers")
}

pub(super) fn selector() -> ColumnDefinition {
    wide("Selector", "Which pods are chosen, by their labels")
}
