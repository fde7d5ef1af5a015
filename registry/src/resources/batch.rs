//! The group `batch`.

use serde_json::{Map, Value, json};

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::{Strategy, StrategyContext};

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, short| {
        Resource::builtin("batch", "v1", kind, plural, Scope::Namespaced)
            .short_names(short)
            .categories(&["all"])
            .subresources(&[Subresource::Status])
            .counts_generations()
    };
    vec![kind("CronJob", "cronjobs", &["cj"]), kind("Job", "jobs", &[]).strategy(JobStrategy)]
}

/// The labels by which a job's pods are known: the present ones, and those from before labels of the project had a domain.
const LABELS: [(&str, &str); 2] =
    [("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"), ("controller-uid", "job-name")];

/// A job chooses its pods by its own uid, unless it says that it chooses otherwise.
#[derive(Debug)]
struct JobStrategy;

impl Strategy for JobStrategy {
    fn prepare_for_create(&self, job: &mut Value, _context: &StrategyContext<'_>) {
        if job["spec"]["manualSelector"] != true {
            select_by_uid(job);
        }
        // A job without labels has those of its template: a default that upstream applies to what it stored.
        if job["metadata"]["labels"].as_object().is_none_or(Map::is_empty) {
            let labels = job["spec"]["template"]["metadata"]["labels"].clone();
            if labels.is_object() {
                job["metadata"]["labels"] = labels;
            }
        }
    }

    fn orphans_by_default(&self) -> bool {
        true
    }

    fn warnings_on_delete(&self) -> Vec<String> {
        vec![
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them \
             or set propagationPolicy=Orphan to suppress this warning"
                .into(),
        ]
    }
}

/// Labels the template with the job's uid and name, and selects the pods by the uid. What a client gave instead stays, for
/// validation to refuse.
fn select_by_uid(job: &mut Value) {
    let (uid, name) = (job["metadata"]["uid"].clone(), job["metadata"]["name"].clone());
    let template = &mut job["spec"]["template"];
    if !template["metadata"].is_object() {
        template["metadata"] = json!({"creationTimestamp": null});
    }
    if !template["metadata"]["labels"].is_object() {
        template["metadata"]["labels"] = json!({});
    }
    for (of_uid, of_name) in LABELS {
        for (key, value) in [(of_uid, &uid), (of_name, &name)] {
            let label = &mut template["metadata"]["labels"][key];
            if label.is_null() {
                *label = value.clone();
            }
        }
    }
    if !job["spec"]["selector"].is_object() {
        job["spec"]["selector"] = json!({});
    }
    if !job["spec"]["selector"]["matchLabels"].is_object() {
        job["spec"]["selector"]["matchLabels"] = json!({});
    }
    let label = &mut job["spec"]["selector"]["matchLabels"][LABELS[0].0];
    if label.is_null() {
        *label = uid;
    }
}
