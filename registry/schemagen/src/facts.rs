//! Facts that neither crate states: `facts.json`, beside this tool, each with the Kubernetes source it is taken from.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Failure;
use crate::openapi::Kind;

/// What `facts.json` holds. Structures are named `group/version.Type` there, as [`key`] makes it.
pub(crate) struct Facts {
    groups: Vec<String>,
    kinds: BTreeMap<String, Vec<Kind>>,
    presence: BTreeMap<(String, String), String>,
    defaults: BTreeMap<(String, String), Value>,
}

/// `core/v1.Pod` for `io.k8s.api.core.v1.Pod`.
pub(crate) fn key(definition: &str) -> String {
    let mut parts = definition.rsplit('.');
    let (name, version, group) = (parts.next(), parts.next(), parts.next());
    format!("{}/{}.{}", group.unwrap_or_default(), version.unwrap_or_default(), name.unwrap_or_default())
}

impl Facts {
    /// Reads the file that was beside this tool when it was built.
    pub(crate) fn load() -> Result<Self, Failure> {
        let json: Value = serde_json::from_str(include_str!("../facts.json"))
            .map_err(|e| format!("cannot read facts.json: {e}"))?;
        let mut facts = Self {
            groups: strings(&json["groups"]),
            kinds: BTreeMap::new(),
            presence: BTreeMap::new(),
            defaults: BTreeMap::new(),
        };
        for (structure, kinds) in entries(&json["kinds"]) {
            let kinds = kinds.as_array().into_iter().flatten().map(|kind| {
                let [group, version, kind] = &strings(kind)[..] else { return Err("a kind is three words") };
                Ok(Kind { group: group.clone(), version: version.clone(), kind: kind.clone(), list: None })
            });
            facts.kinds.insert(structure.clone(), kinds.collect::<Result<_, _>>()?);
        }
        for (structure, words) in entries(&json["presence"]["structures"]) {
            for (word, members) in entries(words) {
                for member in strings(members) {
                    facts.presence.insert((structure.clone(), member), word.clone());
                }
            }
        }
        for source in json["defaults"].as_array().into_iter().flatten() {
            for (structure, values) in entries(&source["values"]) {
                for (member, value) in entries(values) {
                    facts.defaults.insert((structure.clone(), member.clone()), value.clone());
                }
            }
        }
        Ok(facts)
    }

    /// Whether a definition belongs to a group version that the tables hold.
    pub(crate) fn serves(&self, definition: &str) -> bool {
        let key = key(definition);
        self.groups
            .iter()
            .any(|group| key.strip_prefix(group.as_str()).is_some_and(|rest| rest.starts_with('.')))
    }

    /// Kinds that k8s-openapi does not declare as such.
    pub(crate) fn kinds(&self, definition: &str) -> Vec<Kind> {
        self.kinds.get(&key(definition)).cloned().unwrap_or_default()
    }

    /// `given`, `always`, `null`, `nonzero` or `disabled`, if the rule of thumb does not hold for a member.
    pub(crate) fn presence(&self, definition: &str, member: &str) -> Option<&str> {
        self.presence.get(&(key(definition), member.to_owned())).map(String::as_str)
    }

    /// The value that a member gets when it is absent.
    pub(crate) fn default(&self, definition: &str, member: &str) -> Option<&Value> {
        self.defaults.get(&(key(definition), member.to_owned()))
    }

    /// Names `structure.member` that stand in the file: each must exist.
    pub(crate) fn mentioned(&self) -> impl Iterator<Item = &(String, String)> {
        self.presence.keys().chain(self.defaults.keys())
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}
