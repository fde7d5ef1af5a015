//! Where a custom kind keeps what its Scale shows.

use serde_json::Value;

use super::check::shown;
use crate::validation::FieldError;

/// The paths of a kind's scale subresource, each as a definition writes it: `.spec.replicas`.
#[derive(Debug, Clone)]
pub(crate) struct ScalePaths {
    replicas: String,
    status_replicas: String,
    selector: Option<String>,
}

impl ScalePaths {
    /// Reads the paths of a version; absent if it has no scale subresource.
    pub(super) fn of(version: &Value) -> Option<Self> {
        let scale = version["subresources"]["scale"].as_object()?;
        let path = |name: &str| scale.get(name).and_then(Value::as_str).filter(|path| !path.is_empty());
        Some(Self {
            replicas: path("specReplicasPath")?.to_owned(),
            status_replicas: path("statusReplicasPath")?.to_owned(),
            selector: path("labelSelectorPath").map(str::to_owned),
        })
    }

    /// Returns the replicas that are wanted; absent if the object does not say.
    pub(crate) fn replicas(&self, object: &Value) -> Option<i64> {
        at(object, &self.replicas)?.as_i64()
    }

    /// Returns where the replicas that are wanted are, as the definition says it.
    pub(crate) fn replicas_field(&self) -> &str {
        &self.replicas
    }

    /// Returns the way to the replicas that are wanted.
    pub(crate) fn replicas_path(&self) -> Vec<&str> {
        names(&self.replicas).collect()
    }

    /// Returns the replicas that there are.
    pub(crate) fn status_replicas(&self, object: &Value) -> i64 {
        at(object, &self.status_replicas).and_then(Value::as_i64).unwrap_or_default()
    }

    /// Returns the selector of what is counted, as text.
    pub(crate) fn selector<'a>(&self, object: &'a Value) -> &'a str {
        let path = self.selector.as_deref();
        path.and_then(|path| at(object, path)?.as_str()).unwrap_or_default()
    }

    /// Sets the replicas that are wanted.
    pub(crate) fn set_replicas(&self, object: &mut Value, replicas: i64) {
        let mut place = object;
        for name in names(&self.replicas) {
            if !place.is_object() {
                *place = Value::Object(serde_json::Map::new());
            }
            place = &mut place[name];
        }
        *place = replicas.into();
    }

    /// Returns what is wrong with the numbers at the paths.
    pub(super) fn check(&self, object: &Value, errors: &mut Vec<FieldError>) {
        for path in [&self.replicas, &self.status_replicas] {
            let Some(value) = at(object, path) else { continue };
            let wrong = match value.as_i64() {
                None => Some("should be an integer"),
                Some(count) if count < 0 => Some("should be a non-negative integer"),
                Some(count) if count > i64::from(i32::MAX) => {
                    Some("should be less than or equal to 2147483647")
                }
                Some(_) => None,
            };
            if let Some(detail) = wrong {
                errors.push(FieldError::invalid(path, shown(value), detail));
            }
        }
        if let Some(path) = &self.selector
            && let Some(value) = at(object, path).filter(|value| !value.is_string())
        {
            errors.push(FieldError::invalid(path, shown(value), "should be a string"));
        }
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.').split('.')
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    names(path).try_fold(object, |value, name| value.get(name)).filter(|value| !value.is_null())
}
