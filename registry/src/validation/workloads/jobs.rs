//! Rules for jobs and cron jobs.

use serde_json::Value;

use super::super::at::{At, Errors, IMMUTABLE};
use super::super::compare::same;
use super::super::error::{FieldError, Shown};
use super::super::names::{self, NameRule};
use super::super::{Validator, go, metadata, pods, selectors};
use super::{NO_MATCH, fixed_selector, not_negative};

/// A cron job's name is followed by eleven characters in the names of its jobs.
const MAX_CRON_NAME: usize = 52;
const MAX_INDEXED_COMPLETIONS: i64 = 100_000;

pub(in super::super) static JOB: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |job, errors| job_spec(&job.child("spec"), errors),
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
        let meta = job.child("metadata");
        let name = meta.child("name");
        if name.str().len() > MAX_CRON_NAME {
            name.invalid(errors, &format!("must be no more than {MAX_CRON_NAME} characters"));
        }
        cron_spec(&job.child("spec"), errors);
    },
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        cron_spec(&new.child("spec"), errors);
    },
    status: metadata::update_built_in,
};

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
    if !everything && !selectors::matches(&selector, &labels) {
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
    let mode = spec.child("completionMode");
    mode.one_of_if_set(errors, &["Indexed", "NonIndexed"]);
    let completions = spec.child("completions");
    if mode.str() == "Indexed" {
        match completions.int() {
            None => completions.required(errors, "when completion mode is Indexed"),
            Some(number) if number > MAX_INDEXED_COMPLETIONS => {
                let rule = format!(
                    "must be less than or equal to {MAX_INDEXED_COMPLETIONS} when completion mode is Indexed"
                );
                completions.invalid(errors, &rule);
            }
            Some(_) => {}
        }
    } else {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if spec.child(name).is_set() {
                spec.child(name).invalid(errors, "requires indexed completion mode");
            }
        }
    }
    let replacement = spec.child("podReplacementPolicy");
    if spec.child("podFailurePolicy").is_set() {
        replacement.one_of_if_set(errors, &["Failed"]);
    } else {
        replacement.one_of_if_set(errors, &["Failed", "TerminatingOrFailed"]);
    }
    failure_policy(spec, errors);
    let template = spec.child("template");
    pods::template(&template, errors);
    let pod_spec = template.child("spec");
    let policy = pod_spec.child("restartPolicy");
    match policy.str() {
        "OnFailure" | "Never" => {}
        // Pods restart always unless they say otherwise: so nothing was said.
        "Always" | "" => policy.required(errors, "valid values: \"OnFailure\", \"Never\""),
        _ => policy.not_supported(errors, &["OnFailure", "Never"]),
    }
}

fn failure_policy(spec: &At, errors: &mut Errors) {
    let policy = spec.child("podFailurePolicy");
    if !policy.is_set() {
        return;
    }
    let template = spec.child("template");
    let pod_spec = template.child("spec");
    let restart = pod_spec.child("restartPolicy");
    if restart.str() != "Never" {
        restart.invalid(errors, "only \"Never\" is supported when podFailurePolicy is specified");
    }
    for rule in policy.child("rules").items() {
        rule.child("action").one_of_or_required(errors, &["Count", "FailIndex", "FailJob", "Ignore"]);
        let (codes, conditions) = (rule.child("onExitCodes"), rule.child("onPodConditions"));
        match (codes.is_set(), conditions.is_empty()) {
            (true, false) => {
                let shown = Shown(rule.value().to_string());
                rule.invalid_shown(
                    errors,
                    shown,
                    "specifying both OnExitCodes and OnPodConditions is not supported",
                );
            }
            (false, true) => {
                let shown = Shown(rule.value().to_string());
                rule.invalid_shown(
                    errors,
                    shown,
                    "specifying one of OnExitCodes and OnPodConditions is required",
                );
            }
            _ => {}
        }
        if codes.is_set() {
            codes.child("operator").one_of_or_required(errors, &["In", "NotIn"]);
            codes.child("values").require(errors);
        }
        for condition in conditions.items() {
            condition.child("type").rule(errors, names::qualified_name);
            condition.child("status").one_of_or_required(errors, &["False", "True", "Unknown"]);
        }
    }
}

fn job_update(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    let (spec, before) = (new.child("spec"), old.child("spec"));
    job_spec(&spec, errors);
    // An indexed job may be resized, both numbers together.
    let completions = spec.child("completions");
    let resized = spec.child("completionMode").str() == "Indexed"
        && completions.int() == spec.child("parallelism").int();
    if !resized {
        completions.immutable(errors, &before.child("completions"));
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

fn cron_spec(spec: &At, errors: &mut Errors) {
    let (schedule, zone) = (spec.child("schedule"), spec.child("timeZone"));
    if !schedule.require(errors) {
        super::schedule::check(&schedule, zone.is_set(), errors);
    }
    not_negative(spec, &["startingDeadlineSeconds"], errors);
    spec.child("concurrencyPolicy").one_of_or_required(errors, &["Allow", "Forbid", "Replace"]);
    if zone.is_set() {
        if zone.is_empty() {
            zone.invalid(errors, "timeZone must be nil or non-empty string");
        } else if !is_zone(zone.str()) {
            zone.invalid(errors, &format!("unknown time zone {}", zone.str()));
        }
    }
    let template = spec.child("jobTemplate");
    let job = template.child("spec");
    run(&job, errors);
    if job.child("manualSelector").is_true() {
        errors.push(FieldError::not_supported(job.child("manualSelector"), true, &["nil", "false"]));
    }
    if job.child("selector").is_set() {
        let shown = go::label_selector(job.child("selector").value());
        job.child("selector").invalid_shown(errors, shown, "`selector` will be auto-generated");
    }
    not_negative(spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], errors);
}

/// Returns whether there is a time zone of that name, as far as one can know.
fn is_zone(name: &str) -> bool {
    let zones = jiff::tz::db();
    // On a host without a database every name is taken.
    zones.is_definitively_empty() || (zones.get(name).is_ok() && !name.eq_ignore_ascii_case("local"))
}
