//! A place in an object: the value there, and the path that names it in errors.

use std::fmt::{self, Display};

use quarterdeck_core::quantity::Quantity;
use serde_json::Value;

use super::error::{FieldError, Shown};

/// What is wrong, in the order in which it was found.
pub(super) type Errors = Vec<FieldError>;

static NULL: Value = Value::Null;

/// A value in an object, with its path. Looking at a field costs no allocation: the path is written out only for errors.
///
/// A field that is missing is there too, as null: so one can ask for its fields, and report that it is required.
#[derive(Clone, Copy)]
pub(super) struct At<'v, 'p> {
    value: &'v Value,
    step: Step<'p>,
    parent: Option<&'p dyn Display>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Child(&'p str),
    Index(usize),
    Key(&'p str),
}

impl Display for At<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.parent, self.step) {
            (_, Step::Root) => Ok(()),
            (None, Step::Child(name)) => f.write_str(name),
            (Some(parent), Step::Child(name)) => write!(f, "{parent}.{name}"),
            (Some(parent), Step::Index(index)) => write!(f, "{parent}[{index}]"),
            (Some(parent), Step::Key(key)) => write!(f, "{parent}[{key}]"),
            (None, Step::Index(index)) => write!(f, "[{index}]"),
            (None, Step::Key(key)) => write!(f, "[{key}]"),
        }
    }
}

impl<'v, 'p> At<'v, 'p> {
    /// The object itself.
    pub(super) fn root(value: &'v Value) -> Self {
        Self { value, step: Step::Root, parent: None }
    }

    /// Another value at a path of its own choice.
    pub(super) fn named(value: &'v Value, path: &'p str) -> Self {
        Self { value, step: Step::Child(path), parent: None }
    }

    fn below<'b>(&'b self, value: &'v Value, step: Step<'b>) -> At<'v, 'b> {
        let parent: Option<&'b dyn Display> = if matches!(self.step, Step::Root) { None } else { Some(self) };
        At { value, step, parent }
    }

    /// A field.
    pub(super) fn child<'b>(&'b self, name: &'b str) -> At<'v, 'b> {
        self.below(self.value.get(name).unwrap_or(&NULL), Step::Child(name))
    }

    /// An entry of a map, written in brackets.
    pub(super) fn key<'b>(&'b self, key: &'b str) -> At<'v, 'b> {
        self.below(self.value.get(key).unwrap_or(&NULL), Step::Key(key))
    }

    /// Another value, as if it were the field `name` of this one: some errors are reported beside their place.
    pub(super) fn moved<'b>(&'b self, value: &'v Value, name: &'b str) -> At<'v, 'b> {
        self.below(value, Step::Child(name))
    }

    /// Another value, as if it were the entry `key` of this map.
    pub(super) fn at_key<'b>(&'b self, value: &'v Value, key: &'b str) -> At<'v, 'b> {
        self.below(value, Step::Key(key))
    }

    /// The items of a list; none when it is missing.
    pub(super) fn items<'b>(&'b self) -> impl Iterator<Item = At<'v, 'b>> {
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().enumerate().map(|(index, value)| self.below(value, Step::Index(index)))
    }

    /// An item of a list; null behind its end.
    pub(super) fn index<'b>(&'b self, index: usize) -> At<'v, 'b> {
        self.below(self.value.get(index).unwrap_or(&NULL), Step::Index(index))
    }

    /// Another value, as if it were the item `index` of this list.
    pub(super) fn at_index<'b>(&'b self, value: &'v Value, index: usize) -> At<'v, 'b> {
        self.below(value, Step::Index(index))
    }

    /// The entries of a map, in the order of their keys; none when it is missing.
    pub(super) fn entries<'b>(&'b self) -> impl Iterator<Item = (&'v str, At<'v, 'b>)>
    where
        'v: 'b,
    {
        let fields = self.value.as_object().into_iter().flatten();
        fields.map(|(key, value)| (key.as_str(), self.below(value, Step::Key(key))))
    }

    /// The texts of a list.
    pub(super) fn strings(&self) -> impl Iterator<Item = &'v str> + use<'v> {
        self.value.as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// The value itself.
    pub(super) fn value(&self) -> &'v Value {
        self.value
    }

    /// Whether the field is there.
    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// The text; empty when it is missing.
    pub(super) fn str(&self) -> &'v str {
        self.value.as_str().unwrap_or_default()
    }

    /// The number, if there is one.
    pub(super) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// Whether it is there and true.
    pub(super) fn is_true(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    /// The quantity, if there is one.
    pub(super) fn quantity(&self) -> Option<Quantity> {
        match self.value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }

    /// The number of items or entries.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        }
    }

    /// Whether it is missing, or an empty text, list or map.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
            && self.str().is_empty()
            && matches!(self.value, Value::Null | Value::Array(_) | Value::Object(_) | Value::String(_))
    }

    /// Reports that the field must be given.
    pub(super) fn required(&self, errors: &mut Errors, detail: &str) {
        errors.push(FieldError::required(self, detail));
    }

    /// Reports that the field must be given, if it is empty; returns whether it is.
    pub(super) fn require(&self, errors: &mut Errors) -> bool {
        let missing = self.is_empty();
        if missing {
            self.required(errors, "");
        }
        missing
    }

    /// Reports what is wrong with the value.
    pub(super) fn invalid(&self, errors: &mut Errors, detail: &str) {
        errors.push(FieldError::invalid(self, self.value, detail));
    }

    /// Reports what is wrong with the value, of which `shown` is shown.
    pub(super) fn invalid_shown(&self, errors: &mut Errors, shown: impl Into<Shown>, detail: &str) {
        errors.push(FieldError::invalid(self, shown, detail));
    }

    /// Reports that the field may not be set so.
    pub(super) fn forbidden(&self, errors: &mut Errors, detail: &str) {
        errors.push(FieldError::forbidden(self, detail));
    }

    /// Reports that the value stands elsewhere already.
    pub(super) fn duplicate(&self, errors: &mut Errors) {
        errors.push(FieldError::duplicate(self, self.value));
    }

    /// Reports that the text is none of `supported`.
    pub(super) fn not_supported(&self, errors: &mut Errors, supported: &[&str]) {
        errors.push(FieldError::not_supported(self, self.str(), supported));
    }

    /// Checks that the text, empty if it is missing, is one of `supported`.
    pub(super) fn one_of(&self, errors: &mut Errors, supported: &[&str]) {
        if !supported.contains(&self.str()) {
            self.not_supported(errors, supported);
        }
    }

    /// Checks that the text is there, and one of `supported`.
    pub(super) fn one_of_or_required(&self, errors: &mut Errors, supported: &[&str]) {
        if !self.require(errors) {
            self.one_of(errors, supported);
        }
    }

    /// Checks that the text, if it is there, is one of `supported`.
    pub(super) fn one_of_if_set(&self, errors: &mut Errors, supported: &[&str]) {
        if self.is_set() {
            self.one_of(errors, supported);
        }
    }

    /// Reports each of the problems that a rule found with the text.
    pub(super) fn rule(&self, errors: &mut Errors, rule: fn(&str) -> Vec<String>) {
        for problem in rule(self.str()) {
            errors.push(FieldError::invalid(self, self.str(), &problem));
        }
    }

    /// Checks that the number, 0 if it is missing, lies between `low` and `high`.
    pub(super) fn in_range(&self, errors: &mut Errors, low: i64, high: i64) {
        let number = self.int().unwrap_or_default();
        if !(low..=high).contains(&number) {
            self.invalid_shown(errors, number, &format!("must be between {low} and {high}, inclusive"));
        }
    }

    /// Checks that the number, if it is there, is not negative.
    pub(super) fn not_negative(&self, errors: &mut Errors) {
        if let Some(number) = self.int()
            && number < 0
        {
            self.invalid_shown(errors, number, NOT_NEGATIVE);
        }
    }

    /// Checks that the value is what it was.
    pub(super) fn immutable(&self, errors: &mut Errors, old: &At) {
        if self.value != old.value {
            self.invalid(errors, IMMUTABLE);
        }
    }
}

/// The rule for numbers and quantities that count something.
pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// The rule for fields that an update must leave alone.
pub(super) const IMMUTABLE: &str = "field is immutable";
