//! Who owns the fields of what is written.

use serde_json::Value;

use super::{Target, metadata};
use crate::managed::{self, Part, Writer};
use crate::registry::Registry;
use crate::resource::Subresource;

/// Where owners are in metadata.
pub(super) const MANAGED: &str = "managedFields";

impl Registry {
    /// Says who owns a new object's fields.
    pub(super) fn own_new(&self, target: &Target<'_>, object: &mut Value) {
        let owners = self
            .as_writer(target, |writer| managed::recorded(&target.resource.structure, None, object, writer));
        metadata::put(metadata::of(object), MANAGED, owners);
    }

    /// Says who owns a changed object's fields: what was decided already, or whom the change makes an owner.
    pub(super) fn own(&self, target: &Target<'_>, new: &mut Value, old: &Value, decided: Option<Value>) {
        let owners = match decided {
            Some(decided) => Some(decided).filter(|owners| !owners.is_null()),
            None => self.as_writer(target, |writer| {
                managed::recorded(&target.resource.structure, Some(old), new, writer)
            }),
        };
        metadata::put(metadata::of(new), MANAGED, owners);
    }

    /// Calls `then` with who writes, and what.
    pub(crate) fn as_writer<T>(&self, target: &Target<'_>, then: impl FnOnce(&Writer<'_>) -> T) -> T {
        let now = metadata::seconds(self.clock.now());
        let prefix = &target.resource.prefix;
        let is_served = |version: &str| {
            let resources = self.resources();
            let mut of_kind = resources.all().iter().filter(|resource| resource.prefix == *prefix);
            of_kind.any(|resource| resource.api_version() == version)
        };
        then(&Writer {
            manager: target.manager,
            api_version: &target.resource.api_version(),
            subresource: target.subresource.map_or("", Subresource::name),
            part: match target.subresource {
                Some(Subresource::Status | Subresource::Approval) => Part::Status,
                None if target.resource.has(Subresource::Status) => Part::AllButStatus,
                _ => Part::All,
            },
            now: now.as_str().unwrap_or_default(),
            is_served: &is_served,
        })
    }
}

/// Undoes a change that is one of times only: nobody wrote anything.
pub(super) fn settle(new: &mut Value, old: &Value) {
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    let (Some(before), Some(Value::Object(after))) = (old.get("metadata"), new.get("metadata")) else {
        return;
    };
    let (before, after) = (&before[MANAGED], after.get(MANAGED).unwrap_or(&Value::Null));
    if before == after {
        return;
    }
    let is_rest_same = old.len() == new.len()
        && old.iter().all(|(name, value)| match (name.as_str(), new.get(name)) {
            (_, None) => false,
            ("metadata", Some(other)) => is_same_metadata(value, other),
            (_, Some(other)) => value == other,
        });
    if is_rest_same
        && managed::is_same_but_for_times(before, after)
        && let Some(Value::Object(metadata)) = new.get_mut("metadata")
    {
        metadata.insert(MANAGED.into(), before.clone());
    }
}

fn is_same_metadata(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return false };
    one.len() == other.len()
        && one.iter().all(|(name, value)| name == MANAGED || other.get(name) == Some(value))
}
