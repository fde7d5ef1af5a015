//! Rules for jobs and cron jobs.

use serde_json::Value;

use super::super::at::{At, Errors, IMMUTABLE};
use super::super::compare::same;
use super::super::error::{FieldError, Shown};
use super::super::names::{self, NameRule};
use super::super::{Validator, go, metadata, pods, selectors};
use super::{NO_MATCH, fixed_selector, not_negative, policies};

/// A cron job's name is followed by eleven characters in the names of its jobs.
const MAX_CRON_NAME: usize = 52;
const MAX_INDEXED: i64 = 100_000;
/// From how many pods on less may run at a time and fail, if each has tries of its own.
const MANY: i64 = 100_000;
const MAX_OF_MANY: i64 = 10_000;
const MAX_MANAGER: usize = 63;
const NOT_INDEXED: &str = "requires indexed completion mode";

pub(in super::super) static JOB: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |job, errors| {
        let spec = job.child("spec");
        generated_selector(job, errors);
        job_spec(&spec, errors);
        let (meta, completions) = (job.child("metadata"), spec.child("completions"));
        let last = completions.int().unwrap_or_default() - 1;
        if spec.child("completionMode").str() == "Indexed" && last >= 0 {
            let (name, host) = (meta.child("name"), format!("{}-{last}", meta.child("name").str()));
            if !names::dns_label(&host).is_empty() {
                name.invalid(errors, &format!("will not able to create pod with invalid DNS label: {host}"));
            }
        }
    },
    update: job_update,
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        not_negative(
            &new.child("status"),
            &["active", "succeeded", "failed", "ready", "terminating"],
            errors,
        );
    },
};

pub(in super::super) static CRON_JOB: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |job, errors| {
        cron_spec(&job.child("spec"), None, errors);
        let meta = job.child("metadata");
        let name = meta.child("name");
        if name.str().len() > MAX_CRON_NAME {
            name.invalid(errors, &format!("must be no more than {MAX_CRON_NAME} characters"));
        }
    },
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        cron_spec(&new.child("spec"), Some(&old.child("spec")), errors);
    },
    status: metadata::update_built_in,
};

/// Checks that the labels by which the server chooses a job's pods are on its template.
fn generated_selector(job: &At, errors: &mut Errors) {
    let (meta, spec) = (job.child("metadata"), job.child("spec"));
    let selector = spec.child("selector");
    if spec.child("manualSelector").is_true() || !selector.is_set() {
        return;
    }
    let expected = [
        ("controller-uid", meta.child("uid").str()),
        ("job-name", meta.child("name").str()),
        ("batch.kubernetes.io/controller-uid", meta.child("uid").str()),
        ("batch.kubernetes.io/job-name", meta.child("name").str()),
    ];
    let template = spec.child("template");
    let template_meta = template.child("metadata");
    let labels = template_meta.child("labels");
    for (key, value) in expected {
        let label = labels.key(key);
        let rule = format!("must be '{value}'");
        if !label.is_set() {
            label.required(errors, &rule);
        } else if label.str() != value {
            label.invalid_shown(errors, go::string_map(labels.value()), &rule);
        }
    }
    let expected: serde_json::Map<String, Value> =
        expected.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let expected = Value::Object(expected);
    if selectors::is_readable(&selector) && !selectors::matches(&selector, &At::root(&expected)) {
        selector.invalid_shown(errors, go::label_selector(selector.value()), "`selector` not auto-generated");
    }
}

fn job_spec(spec: &At, errors: &mut Errors) {
    run(spec, errors);
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    if selector.is_set() {
        selectors::label_selector(&selector, errors);
    } else {
        selector.required(errors, "");
    }
    let meta = template.child("metadata");
    let labels = meta.child("labels");
    let everything = selector.is_set() && selectors::is_empty(&selector);
    if !everything && selectors::is_readable(&selector) && !selectors::matches(&selector, &labels) {
        labels.invalid_shown(errors, go::string_map(labels.value()), NO_MATCH);
    }
}

/// What a job is to run, without the selector that a cron job's template does not have.
fn run(spec: &At, errors: &mut Errors) {
    let numbers = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    not_negative(spec, &numbers, errors);
    if spec.child("maxFailedIndexes").is_set() && !spec.child("backoffLimitPerIndex").is_set() {
        spec.child("backoffLimitPerIndex").required(errors, "when maxFailedIndexes is specified");
    }
    let manager = spec.child("managedBy");
    if manager.is_set() {
        for (part, problem) in names::domain_prefixed_path(manager.str()) {
            manager.invalid_shown(errors, &part, &problem);
        }
        if manager.str().len() > MAX_MANAGER {
            errors.push(FieldError::too_long(manager, MAX_MANAGER));
        }
    }
    let mode = spec.child("completionMode");
    mode.one_of_if_set(errors, &["NonIndexed", "Indexed"]);
    if mode.str() == "Indexed" {
        indexed(spec, errors);
    } else if matches!(mode.str(), "" | "NonIndexed") {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if spec.child(name).is_set() {
                spec.child(name).invalid(errors, NOT_INDEXED);
            }
        }
    }
    policies::failure(spec, errors);
    let success = spec.child("successPolicy");
    if success.is_set() && mode.str() != "Indexed" {
        success.invalid_shown(errors, Shown(success.value().to_string()), NOT_INDEXED);
    } else if success.is_set() {
        policies::success(&success, spec.child("completions").int().unwrap_or_default(), errors);
    }
    let replacement = spec.child("podReplacementPolicy");
    if spec.child("podFailurePolicy").is_set() {
        replacement.one_of_if_set(errors, &["Failed"]);
    } else {
        replacement.one_of_if_set(errors, &["Failed", "TerminatingOrFailed"]);
    }
    let template = spec.child("template");
    pods::template(&template, errors);
    let pod_spec = template.child("spec");
    let policy = pod_spec.child("restartPolicy");
    match policy.str() {
        "OnFailure" if spec.child("podFailurePolicy").is_set() => {
            policy.invalid(errors, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        // Pods restart always unless they say otherwise: so nothing was said.
        "Always" | "" => policy.required(errors, "valid values: \"OnFailure\", \"Never\""),
        _ => policy.not_supported(errors, &["OnFailure", "Never"]),
    }
}

/// What holds for jobs whose pods have numbers.
fn indexed(spec: &At, errors: &mut Errors) {
    let (completions, parallelism) = (spec.child("completions"), spec.child("parallelism"));
    let failures = spec.child("maxFailedIndexes");
    if !completions.is_set() {
        completions.required(errors, "when completion mode is Indexed");
    }
    at_most(&parallelism, MAX_INDEXED, " when completion mode is Indexed", errors);
    if completions.is_set() && failures.int() > completions.int() {
        failures.invalid(errors, "must be less than or equal to completions");
    }
    at_most(&failures, MAX_INDEXED, "", errors);
    if completions.int().is_none_or(|number| number <= MANY) || !spec.child("backoffLimitPerIndex").is_set() {
        return;
    }
    if !failures.is_set() {
        failures.required(errors, &format!("must be specified when completions is above {MANY}"));
    }
    let behind = format!(" when completions are above {MANY} and used with backoff limit per index");
    for number in [&parallelism, &failures] {
        at_most(number, MAX_OF_MANY, &behind, errors);
    }
}

fn at_most(at: &At, limit: i64, behind: &str, errors: &mut Errors) {
    if at.int().is_some_and(|number| number > limit) {
        at.invalid(errors, &format!("must be less than or equal to {limit}{behind}"));
    }
}

fn job_update(new: &At, old: &At, errors: &mut Errors) {
    JOB.as_new(new, errors);
    metadata::update_built_in(new, old, errors);
    let (spec, before) = (new.child("spec"), old.child("spec"));
    job_spec(&spec, errors);
    let (completions, was) = (spec.child("completions"), before.child("completions"));
    if spec.child("completionMode").str() != "Indexed" {
        completions.immutable(errors, &was);
    } else if completions.is_set()
        && completions.int() != was.int()
        && completions.int() != spec.child("parallelism").int()
    {
        completions.invalid(errors, "can only be modified in tandem with spec.parallelism");
    }
    fixed_selector(new, old, errors);
    let template = spec.child("template");
    let status = old.child("status");
    let startable = before.child("suspend").is_true() && !status.child("startTime").is_set();
    if !same_template(template.value(), before.child("template").value(), startable) {
        template.invalid_shown(errors, Shown(template.value().to_string()), IMMUTABLE);
    }
    for name in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        let (now, was) = (spec.child(name), before.child(name));
        if !same(now.value(), was.value()) {
            now.invalid(errors, IMMUTABLE);
        }
    }
}

/// Returns whether two templates are the same; of a job that has not started, where its pods may run does not count.
fn same_template(new: &Value, old: &Value, startable: bool) -> bool {
    if !startable {
        return same(new, old);
    }
    let bare = |template: &Value| {
        let mut template = template.clone();
        for (part, fields) in [
            ("metadata", &["labels", "annotations"][..]),
            ("spec", &["nodeSelector", "affinity", "tolerations", "schedulingGates"][..]),
        ] {
            if let Some(part) = template.get_mut(part).and_then(Value::as_object_mut) {
                fields.iter().for_each(|field| drop(part.remove(*field)));
            }
        }
        template
    };
    same(&bare(new), &bare(old))
}

fn cron_spec(spec: &At, before: Option<&At>, errors: &mut Errors) {
    let (schedule, zone) = (spec.child("schedule"), spec.child("timeZone"));
    if !schedule.require(errors) {
        // Schedules that had a zone before there was a field for it may keep it.
        let keeps = before.is_some_and(|before| before.child("schedule").str().contains("TZ"));
        super::schedule::check(&schedule, keeps, zone.is_set(), errors);
    }
    not_negative(spec, &["startingDeadlineSeconds"], errors);
    if before.is_none_or(|before| before.child("timeZone").value() != zone.value()) {
        time_zone(&zone, errors);
    }
    spec.child("concurrencyPolicy").one_of_or_required(errors, &["Allow", "Forbid", "Replace"]);
    let template = spec.child("jobTemplate");
    let job = template.child("spec");
    run(&job, errors);
    if job.child("selector").is_set() {
        let shown = go::label_selector(job.child("selector").value());
        job.child("selector").invalid_shown(errors, shown, "`selector` will be auto-generated");
    }
    if job.child("manualSelector").is_true() {
        errors.push(FieldError::not_supported(job.child("manualSelector"), true, &["nil", "false"]));
    }
    not_negative(spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], errors);
}

fn time_zone(zone: &At, errors: &mut Errors) {
    if !zone.is_set() {
        return;
    }
    let name = zone.str();
    let is_part = |part: &str| {
        (1..=14).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
    };
    // On a host without a database every name is taken.
    let zones = jiff::tz::db();
    if name.is_empty() {
        zone.invalid(errors, "timeZone must be nil or non-empty string");
    } else if !name.split('/').all(is_part) {
        zone.invalid(errors, &format!("unknown time zone {name}"));
    } else if name.eq_ignore_ascii_case("local") {
        let rule = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        zone.invalid(errors, rule);
        if name != "Local" {
            zone.invalid(errors, &format!("unknown time zone {name}"));
        }
    } else if !zones.is_definitively_empty() && zones.get(name).is_err() {
        zone.invalid(errors, &format!("unknown time zone {name}"));
    }
}
