//! Label selectors: which labelled objects a list, a watch, a service or a controller chooses.
//!
//! Start at [`Selector`]. [`Selector::parse`] reads the string form of a query (`app=web,tier notin (a,b),!old`),
//! [`Selector::from_label_selector`] the `LabelSelector` of a deployment, [`Selector::from_map`] the plain map of a
//! replication controller. What may be a label is checked by [`validate_label_key`] and [`validate_label_value`].
//!
//! Field selectors live in `quarterdeck-registry`: which fields exist depends on the kind.

mod parse;
mod validate;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use validate::{quote, validate_dns1123_subdomain, validate_label_key, validate_label_value};

/// Why a selector cannot be made. The text is what upstream's API server answers in a Status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectorError {
    message: String,
}

impl SelectorError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// How a [`Requirement`] relates its key to its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `key=value`: the label is there and has this value.
    Equals,
    /// `key==value`: the same as [`Operator::Equals`], kept apart so that it prints as it was written.
    DoubleEquals,
    /// `key!=value`: the label is missing or has another value.
    NotEquals,
    /// `key in (a,b)`: the label is there and has one of the values.
    In,
    /// `key notin (a,b)`: the label is missing or has none of the values.
    NotIn,
    /// `key`: the label is there.
    Exists,
    /// `!key`: the label is missing.
    DoesNotExist,
    /// `key>5`: the label is there, is an integer, and is greater.
    GreaterThan,
    /// `key<5`: the label is there, is an integer, and is less.
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, each once.
    values: Vec<String>,
}

impl Requirement {
    /// Makes a condition after checking that key, operator and values fit together.
    ///
    /// # Errors
    ///
    /// [`SelectorError`] when the key or a value is not a valid label, or when there are too many or too few values.
    pub fn try_new<V: Into<String>>(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Self, SelectorError> {
        let key = key.into();
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        values.sort();
        values.dedup();
        let mut problems = Vec::new();
        if let Some(problem) = invalid("key", &key, &validate_label_key(&key)) {
            problems.push(problem);
        }
        problems.extend(validate::value_count(operator, &values));
        for (index, value) in values.iter().enumerate() {
            problems.extend(invalid(&format!("values[{index}][{key}]"), value, &validate_label_value(value)));
        }
        match problems.len() {
            0 => Ok(Self { key, operator, values }),
            1 => Err(SelectorError::new(problems.remove(0))),
            _ => Err(SelectorError::new(format!("[{}]", problems.join(", ")))),
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the label is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it is compared with: sorted, each value once.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether an object whose label `key` is `label` (`None` without the label) meets this condition.
    pub fn matches_value(&self, label: Option<&str>) -> bool {
        let listed = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => label.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compare(label).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.compare(label).is_some_and(|(label, bound)| label < bound),
        }
    }

    fn compare(&self, label: Option<&str>) -> Option<(i64, i64)> {
        Some((label?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        let values = values.join(",");
        match operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// A conjunction of [`Requirement`]s, or the selector that chooses nothing.
///
/// Requirements are kept sorted by key. `Display` writes the canonical string form, which [`Selector::parse`] reads
/// back; [`Selector::nothing`] has no such form and prints as the empty string, as upstream's does: ask
/// [`Selector::is_nothing`] before you send one.
///
/// ```
/// use quarterdeck_core::labels::Selector;
///
/// let selector = Selector::parse("tier in (web,api), app=shop")?;
///
/// assert!(selector.matches(|key| match key {
///     "app" => Some("shop"),
///     "tier" => Some("web"),
///     _ => None,
/// }));
/// assert_eq!(selector.to_string(), "app=shop,tier in (api,web)");
/// # Ok::<(), quarterdeck_core::labels::SelectorError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// `None` chooses nothing.
    requirements: Option<Vec<Requirement>>,
}

impl Selector {
    /// Chooses every object.
    pub fn everything() -> Self {
        Self::new([])
    }

    /// Chooses no object.
    pub fn nothing() -> Self {
        Self { requirements: None }
    }

    /// Chooses the objects that meet all `requirements`.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut requirements: Vec<_> = requirements.into_iter().collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// Reads the string form, as in the query parameter `labelSelector`. The empty string chooses everything.
    ///
    /// # Errors
    ///
    /// [`SelectorError`] with upstream's text: what was found where something else was expected, or which key or value
    /// is not a valid label.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(Self::new)
    }

    /// Chooses the objects that have all these labels, unchecked; everything when there are none.
    ///
    /// Services and replication controllers choose nothing when theirs is empty: that is the caller's to decide.
    pub fn from_map<K: Into<String>, V: Into<String>>(labels: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::new(labels.into_iter().map(|(key, value)| Requirement {
            key: key.into(),
            operator: Operator::Equals,
            values: vec![value.into()],
        }))
    }

    /// Reads a `LabelSelector` (`matchLabels`, `matchExpressions`) of an object in JSON.
    ///
    /// A missing (or null) selector chooses nothing, an empty one everything.
    ///
    /// # Errors
    ///
    /// [`SelectorError`] when an operator is unknown or a requirement breaks [`Requirement::try_new`].
    pub fn from_label_selector(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            requirements.push(Requirement::try_new(key, Operator::Equals, [value])?);
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = expression["values"].as_array().into_iter().flatten();
            requirements.push(expression_requirement(
                expression["key"].as_str().unwrap_or_default(),
                expression["operator"].as_str().unwrap_or_default(),
                values.map(|value| value.as_str().unwrap_or_default()),
            )?);
        }
        Ok(Self::new(requirements))
    }

    /// Whether an object with these labels is chosen. `labels` returns the value of a label, if the object has it.
    pub fn matches<'a>(&self, labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.as_ref().is_some_and(|all| {
            all.iter().all(|requirement| requirement.matches_value(labels(&requirement.key)))
        })
    }

    /// Whether an object with this map of labels is chosen.
    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches(|key| labels.get(key).map(String::as_str))
    }

    /// Whether the object `object`, in JSON, is chosen by its `metadata.labels`.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.matches(|key| labels.get(key).and_then(Value::as_str))
    }

    /// Whether this chooses every object: nothing needs to be looked at.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether this is [`Selector::nothing`].
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The conditions, sorted by key; `None` for [`Selector::nothing`].
    pub fn requirements(&self) -> Option<&[Requirement]> {
        self.requirements.as_deref()
    }

    /// The one value that this demands of the label `key`, if it demands exactly one: what an index can look up.
    pub fn exact_value(&self, key: &str) -> Option<&str> {
        let requirement = self.requirements.as_ref()?.iter().find(|requirement| requirement.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().flatten().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

#[cfg(feature = "client")]
impl TryFrom<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector> for Selector {
    type Error = SelectorError;

    fn try_from(
        selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    ) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::try_new(key, Operator::Equals, [value])?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.iter().flatten().map(String::as_str);
            requirements.push(expression_requirement(&expression.key, &expression.operator, values)?);
        }
        Ok(Self::new(requirements))
    }
}

fn expression_requirement<'a>(
    key: &str,
    operator: &str,
    values: impl Iterator<Item = &'a str>,
) -> Result<Requirement, SelectorError> {
    let operator = match operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            return Err(SelectorError::new(format!(
                "{} is not a valid label selector operator",
                quote(other)
            )));
        }
    };
    Requirement::try_new(key, operator, values)
}

/// The text of a field error, if there is one to report.
fn invalid(path: &str, value: &str, problems: &[String]) -> Option<String> {
    (!problems.is_empty())
        .then(|| format!("{path}: Invalid value: {}: {}", quote(value), problems.join("; ")))
}

#[cfg(test)]
mod tests;
