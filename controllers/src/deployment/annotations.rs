//! What a deployment notes in annotations, its own and its replica sets'.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Resource;

use super::numbers;
use crate::meta;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// The annotations of a deployment that are not copied to its replica sets.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];

/// The history of one replica set is cut at so many characters.
const LONGEST_HISTORY: usize = 2000;

fn number<N: std::str::FromStr>(object: &impl Resource, key: &str) -> Option<N> {
    meta::annotation(object, key).and_then(|value| value.parse().ok())
}

pub(super) fn revision(object: &impl Resource) -> i64 {
    number(object, REVISION).unwrap_or_default()
}

/// The deployment's wanted number when the replica set was sized last.
pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    number(set, DESIRED)
}

/// The greatest number of pods that there could be when the replica set was sized last.
pub(super) fn most(set: &ReplicaSet) -> Option<i32> {
    number(set, MOST)
}

fn put(annotations: &mut BTreeMap<String, String>, key: &str, value: String) -> bool {
    let changes = annotations.get(key) != Some(&value);
    annotations.insert(key.into(), value);
    changes
}

/// Notes on `set` what the deployment's number is; returns whether that changed anything.
pub(super) fn note_numbers(deployment: &Deployment, set: &mut ReplicaSet) -> bool {
    let wanted = numbers::wanted(deployment);
    let annotations = set.metadata.annotations.get_or_insert_default();
    let desired = put(annotations, DESIRED, wanted.to_string());
    put(annotations, MOST, (wanted + numbers::max_surge(deployment)).to_string()) || desired
}

/// Copies the deployment's annotations to `set` and gives it the revision, which it may have had before; returns whether
/// that changed anything.
pub(super) fn note_revision(deployment: &Deployment, set: &mut ReplicaSet, revision: i64) -> bool {
    let before = meta::annotation(set, REVISION).map(str::to_owned);
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            changed |= put(annotations, key, value.clone());
        }
    }
    let number = before.as_deref().and_then(|before| before.parse().ok()).unwrap_or(0_i64);
    if number < revision {
        changed |= put(annotations, REVISION, revision.to_string());
        if let Some(before) = before {
            let history = annotations.entry(HISTORY.into()).or_default();
            *history = lengthened(history, &before);
        }
    }
    changed
}

fn lengthened(history: &str, revision: &str) -> String {
    let mut all: Vec<&str> = history.split(',').filter(|old| !old.is_empty()).collect();
    all.push(revision);
    while all.len() > 1 && all.iter().map(|old| old.len() + 1).sum::<usize>() > LONGEST_HISTORY {
        all.remove(0);
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_replica_set_used_again_gets_a_new_revision_and_remembers_the_old() {
        let deployment: Deployment = from_value(json!({"metadata": {"annotations": {
            "kubernetes.io/change-cause": "because",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            REVISION: "2",
        }}}))
        .unwrap();
        let mut set: ReplicaSet = from_value(json!({"metadata": {"annotations": {REVISION: "1"}}})).unwrap();

        assert!(note_revision(&deployment, &mut set, 3));
        assert!(!note_revision(&deployment, &mut set, 3));

        let annotations = serde_json::to_value(&set.metadata.annotations).unwrap();
        assert_eq!(
            annotations,
            json!({REVISION: "3", HISTORY: "1", "kubernetes.io/change-cause": "because"})
        );
    }

    #[test]
    fn a_revision_never_goes_back() {
        let mut set: ReplicaSet = from_value(json!({"metadata": {"annotations": {REVISION: "5"}}})).unwrap();

        assert!(!note_revision(&Deployment::default(), &mut set, 3));
        assert_eq!(revision(&set), 5);
    }
}
