//! Rules for when a job gives its pods up, and when it is content with those that succeeded.

use super::super::at::{At, Errors};
use super::super::error::{FieldError, Shown};
use super::super::names;
use super::not_negative;

const MAX_RULES: usize = 20;
const MAX_CODES: usize = 255;
const MAX_CONDITIONS: usize = 20;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Checks what a job does about pods that failed.
pub(super) fn failure(spec: &At, errors: &mut Errors) {
    let policy = spec.child("podFailurePolicy");
    let rules = policy.child("rules");
    if rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(rules, rules.len(), MAX_RULES));
    }
    for rule in rules.items() {
        let action = rule.child("action");
        match action.str() {
            "FailIndex" if !spec.child("backoffLimitPerIndex").is_set() => {
                action.invalid(errors, "requires the backoffLimitPerIndex to be set");
            }
            "FailIndex" => {}
            _ => one_of(&action, &ACTIONS, errors),
        }
        let (codes, conditions) = (rule.child("onExitCodes"), rule.child("onPodConditions"));
        if codes.is_set() {
            exit_codes(&codes, &spec.child("template").child("spec"), errors);
        }
        if conditions.len() > MAX_CONDITIONS {
            errors.push(FieldError::too_many(conditions, conditions.len(), MAX_CONDITIONS));
        }
        for condition in conditions.items() {
            condition.child("type").rule(errors, names::qualified_name);
            one_of(&condition.child("status"), &STATUSES, errors);
        }
        let problem = match (codes.is_set(), conditions.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        rule.invalid_shown(errors, Shown::verbatim(""), problem);
    }
}

/// Checks that a text is one of `known`, which are named too if it is missing.
fn one_of(at: &At, known: &[&str], errors: &mut Errors) {
    if at.is_empty() {
        let known: Vec<_> = known.iter().map(|one| format!("{one:?}")).collect();
        at.required(errors, &format!("valid values: [{}]", known.join(" ")));
    } else {
        at.one_of(errors, known);
    }
}

fn exit_codes(codes: &At, pod_spec: &At, errors: &mut Errors) {
    let (operator, container) = (codes.child("operator"), codes.child("containerName"));
    one_of(&operator, &["In", "NotIn"], errors);
    let has = |list: &str| {
        let list = pod_spec.child(list);
        list.items().any(|one| one.child("name").str() == container.str())
    };
    if container.is_set() && !has("containers") && !has("initContainers") {
        let rule = "must be one of the container or initContainer names in the pod template";
        container.invalid(errors, rule);
    }
    let values = codes.child("values");
    let shown = || {
        let all: Vec<_> = values.items().map(|value| value.value().to_string()).collect();
        Shown::verbatim(match values.is_set() {
            true => format!("[]int32{{{}}}", all.join(", ")),
            false => "[]int32(nil)".to_owned(),
        })
    };
    if values.is_empty() {
        values.invalid_shown(errors, shown(), "at least one value is required");
    } else if values.len() > MAX_CODES {
        errors.push(FieldError::too_many(values, values.len(), MAX_CODES));
    }
    let (mut seen, mut ordered) = (Vec::new(), true);
    for value in values.items() {
        let code = value.int().unwrap_or_default();
        if operator.str() == "In" && code == 0 {
            value.invalid_shown(errors, code, "must not be 0 for the In operator");
        }
        if seen.contains(&code) {
            errors.push(FieldError::duplicate(value, code));
        }
        ordered &= seen.last().is_none_or(|last| *last <= code);
        seen.push(code);
    }
    if !ordered {
        values.invalid_shown(errors, shown(), "must be ordered");
    }
}

/// Checks of which pods a job with so many of them needs the success.
pub(super) fn success(policy: &At, completions: i64, errors: &mut Errors) {
    let rules = policy.child("rules");
    if rules.is_empty() {
        rules.required(errors, "at least one rules must be specified when the successPolicy is specified");
    } else if rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(rules, rules.len(), MAX_RULES));
    }
    for rule in rules.items() {
        let (count, indexes) = (rule.child("succeededCount"), rule.child("succeededIndexes"));
        if !count.is_set() && !indexes.is_set() {
            rule.required(errors, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let parsed = parse_indexes(indexes.str(), completions);
        if let Err(problem) = &parsed {
            indexes.invalid(errors, &format!("error parsing succeededIndexes: {problem}"));
        }
        not_negative(&rule, &["succeededCount"], errors);
        let total = parsed.unwrap_or_default();
        let mut at_most = |limit: i64, of: &str| {
            if count.int().is_some_and(|count| count > limit) {
                count.invalid(errors, &format!("must be less than or equal to {limit} (the number of {of})"));
            }
        };
        at_most(completions, "specified completions");
        if indexes.is_set() {
            at_most(total, "indexes in the specified succeededIndexes field");
        }
    }
}

/// Returns how many indexes a list like `1,3-5` has.
fn parse_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total): (Option<i64>, i64) = (None, 0);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = parse_interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn parse_interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |part: &str| {
        part.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {part:?}"))
    };
    let parts: Vec<_> = text.split('-').collect();
    let [first, rest @ ..] = parts.as_slice() else { return Ok((0, 0)) };
    if rest.len() > 1 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let start = number(first)?;
    if start >= completions {
        return Err(format!("too large index: {first:?}"));
    }
    let Some(end) = rest.first() else { return Ok((start, start)) };
    let last = number(end)?;
    if last >= completions {
        return Err(format!("too large index: {end:?}"));
    }
    if start >= last {
        return Err(format!("non-increasing order, previous: {start}, current: {last}"));
    }
    Ok((start, last))
}
