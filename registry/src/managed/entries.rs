//! `metadata.managedFields`: who owns which fields.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fields_v1;
use super::set::FieldSet;

/// How many entries of updates are kept apart.
const MOST_UPDATERS: usize = 10;
/// Who owns what the oldest of too many updaters wrote.
const ANCIENT: &str = "ancient-changes";

/// How somebody came to own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// One owner and its fields.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// The version that the fields are named in.
    pub(super) api_version: String,
    /// The path below the object that was written; empty for the object itself.
    pub(super) subresource: String,
    /// When the owner wrote last, in seconds.
    pub(super) time: Option<String>,
    pub(super) fields: FieldSet,
}

impl Entry {
    /// Returns whether two entries are the same owner's. Who applies is the same in all versions.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    fn encode(&self) -> Value {
        let mut entry = Map::new();
        let mut put = |name: &str, value: &str| {
            if !value.is_empty() {
                entry.insert(name.into(), value.into());
            }
        };
        put("manager", &self.manager);
        put("operation", if self.operation == Operation::Apply { "Apply" } else { "Update" });
        put("apiVersion", &self.api_version);
        put("subresource", &self.subresource);
        put("time", self.time.as_deref().unwrap_or_default());
        put("fieldsType", "FieldsV1");
        entry.insert("fieldsV1".into(), fields_v1::encode(&self.fields));
        Value::Object(entry)
    }

    fn decode(value: &Value, at: usize) -> Result<Self, String> {
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".into()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".into());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {at}")),
        }
        let fields = fields_v1::decode(&value["fieldsV1"]);
        Ok(Self {
            manager: text("manager").to_owned(),
            operation,
            api_version: text("apiVersion").to_owned(),
            subresource: text("subresource").to_owned(),
            // Clients that cannot read one of these could not read the object at all, and anybody may write them.
            time: value["time"].as_str().filter(|time| time.parse::<Timestamp>().is_ok()).map(str::to_owned),
            fields: fields.map_err(|error| format!("error decoding set: {error}"))?,
        })
    }
}

/// All owners of an object's fields.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Managed {
    pub(super) entries: Vec<Entry>,
}

impl Managed {
    /// Reads `metadata.managedFields`; null is empty.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn decode(value: &Value) -> Result<Self, String> {
        let mut managed = Self::default();
        for (at, value) in value.as_array().into_iter().flatten().enumerate() {
            managed.put(Entry::decode(value, at)?);
        }
        Ok(managed)
    }

    /// Writes `metadata.managedFields`; absent if nobody owns anything.
    pub(super) fn encode(&self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        let mut sorted: Vec<&Entry> = self.entries.iter().collect();
        sorted.sort_by_key(|entry| {
            (entry.operation, &entry.time, &entry.manager, &entry.api_version, &entry.subresource)
        });
        Some(sorted.into_iter().map(Entry::encode).collect())
    }

    /// Adds an entry in the place of the same owner's.
    pub(super) fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|known| known.is_of(&entry)) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// Takes out an owner's entry.
    pub(super) fn take(&mut self, owner: &Entry) -> Option<Entry> {
        let at = self.entries.iter().position(|known| known.is_of(owner))?;
        Some(self.entries.remove(at))
    }

    /// Merges the oldest entries of updates, version by version, until there are not too many.
    pub(super) fn cap(&mut self) {
        let is_update = |entry: &&Entry| entry.operation == Operation::Update;
        let mut excess = self.entries.iter().filter(is_update).count().saturating_sub(MOST_UPDATERS);
        if excess == 0 {
            return;
        }
        let mut oldest: Vec<Entry> = self.entries.iter().filter(is_update).cloned().collect();
        oldest.sort_by(|one, other| {
            (&one.time, &one.manager, &one.api_version, &one.subresource).cmp(&(
                &other.time,
                &other.manager,
                &other.api_version,
                &other.subresource,
            ))
        });
        let mut first: Vec<Entry> = Vec::new();
        for entry in oldest {
            if excess == 0 {
                return;
            }
            match first.iter().position(|first| first.api_version == entry.api_version) {
                None => first.push(entry),
                Some(at) => {
                    self.merge_into_bucket(&first[at].clone(), entry);
                    excess -= 1;
                }
            }
        }
    }

    /// Moves an entry into the one that holds all ancient changes of its version, which begins as the first of them.
    fn merge_into_bucket(&mut self, first: &Entry, entry: Entry) {
        self.take(&entry);
        let bucket = Entry {
            manager: ANCIENT.into(),
            subresource: String::new(),
            fields: FieldSet::default(),
            ..entry.clone()
        };
        let mut fields = match self.take(&bucket) {
            Some(bucket) => bucket.fields,
            None => self.take(first).map(|first| first.fields).unwrap_or_default(),
        };
        fields.add(entry.fields);
        self.entries.push(Entry { fields, ..bucket });
    }
}

/// Returns whether a list of managed fields says that nobody is to own anything: it is empty, or has one empty entry.
pub(super) fn is_reset(value: &Value) -> bool {
    match value.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// What asks for a reset, in a form that decoding does not drop.
pub(crate) fn reset() -> Value {
    json!([{}])
}

/// Returns whether two lists of managed fields differ in times only.
pub(crate) fn is_same_but_for_times(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_array(), other.as_array()) else { return false };
    let is_same = |one: &Value, other: &Value| {
        let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return false };
        let timeless = |entry: &Map<String, Value>| entry.len() - usize::from(entry.contains_key("time"));
        timeless(one) == timeless(other)
            && one.iter().all(|(name, value)| name == "time" || other.get(name) == Some(value))
    };
    let find = |entry: &Value| other.iter().any(|other| is_same(entry, other));
    one.len() == other.len() && one.iter().all(find)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updater(manager: &str, second: usize) -> Entry {
        Entry {
            manager: manager.into(),
            operation: Operation::Update,
            api_version: "v1".into(),
            subresource: String::new(),
            time: Some(format!("2026-01-01T00:00:{second:02}Z")),
            fields: FieldSet::default().with(&["data", manager]),
        }
    }

    #[test]
    fn the_oldest_of_too_many_updates_become_one_entry() {
        let mut managed = Managed::default();
        for second in 0..12 {
            managed.put(updater(&format!("m{second:02}"), second));
            managed.cap();
        }

        let names: Vec<&str> = managed.entries.iter().map(|entry| entry.manager.as_str()).collect();
        let ancient = managed.entries.iter().find(|entry| entry.manager == ANCIENT).unwrap();

        assert_eq!(names.len(), MOST_UPDATERS);
        assert_eq!(
            ancient.fields,
            FieldSet::default().with(&["data", "m00"]).with(&["data", "m01"]).with(&["data", "m02"])
        );
        assert_eq!(ancient.time.as_deref(), Some("2026-01-01T00:00:02Z"));
    }

    #[test]
    fn entries_are_written_appliers_first_then_by_age() {
        let mut managed = Managed::default();
        managed.put(updater("late", 9));
        managed.put(updater("early", 1));
        managed.put(Entry { operation: Operation::Apply, ..updater("applier", 30) });

        let written = managed.encode().unwrap();
        let names: Vec<&str> =
            written.as_array().unwrap().iter().map(|entry| entry["manager"].as_str().unwrap()).collect();

        assert_eq!(names, ["applier", "early", "late"]);
        assert_eq!(Managed::decode(&written).unwrap().encode().unwrap(), written);
    }

    #[test]
    fn an_owner_who_applies_is_the_same_in_all_versions() {
        let beta = Entry { api_version: "v1beta1".into(), ..updater("m", 1) };

        assert!(!beta.is_of(&updater("m", 1)));
        let applier = |entry: Entry| Entry { operation: Operation::Apply, ..entry };
        assert!(applier(beta).is_of(&applier(updater("m", 1))));
    }
}
