//! The group `batch`.

use jiff::Timestamp;
use serde_json::Value;

use super::Columns;
use super::cell::{self, count, int, or, since};
use super::definition::{age, boolean, containers, images, integer, name, selector, text};
use super::duration::{human_duration, seconds_between};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    match kind {
        "Job" => Some(job()),
        "CronJob" => Some(cron_job()),
        _ => None,
    }
}

fn job() -> Columns {
    let definitions = [
        name(),
        text("Status", "Whether the job runs, is suspended or has ended, and how"),
        text("Completions", "How many pods have succeeded, of how many should"),
        text("Duration", "How long the job took, or runs by now"),
        age(),
        containers(),
        images(),
        selector(),
    ];
    Columns::new(definitions, |job, now| {
        let spec = &job["spec"];
        let [names, images] = cell::containers(&spec["template"]["spec"]);
        vec![
            cell::name(job),
            state(job).into(),
            completions(job).into(),
            job_duration(job, now).into(),
            cell::age(job, now),
            names,
            images,
            cell::label_selector(&spec["selector"]),
        ]
    })
}

fn state(job: &Value) -> &'static str {
    let has = |condition| cell::has_condition(&job["status"]["conditions"], condition);
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if cell::is_deleted(job) {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let succeeded = int(&job["status"]["succeeded"]);
    match (job["spec"]["completions"].as_i64(), int(&job["spec"]["parallelism"])) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn job_duration(job: &Value, now: Timestamp) -> String {
    let time = |field: &str| job["status"][field].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    time("startTime").map_or_else(String::new, |start| {
        human_duration(seconds_between(start, time("completionTime").unwrap_or(now)))
    })
}

fn cron_job() -> Columns {
    let definitions = [
        name(),
        text("Schedule", "When jobs start, in the manner of cron"),
        text("Timezone", "The time zone of the schedule"),
        boolean("Suspend", "Whether no more jobs start"),
        integer("Active", "How many of its jobs run"),
        text("Last Schedule", "How long ago a job last started"),
        age(),
        containers(),
        images(),
        selector(),
    ];
    Columns::new(definitions, |cron_job, now| {
        let (spec, status) = (&cron_job["spec"], &cron_job["status"]);
        let job = &spec["jobTemplate"]["spec"];
        let [names, images] = cell::containers(&job["template"]["spec"]);
        let suspended = match spec["suspend"].as_bool() {
            None => "<unset>",
            Some(true) => "True",
            Some(false) => "False",
        };
        let last = match &status["lastScheduleTime"] {
            Value::Null => "<none>".to_owned(),
            time => since(time, now),
        };
        vec![
            cell::name(cron_job),
            cell::text(&spec["schedule"]),
            or(&spec["timeZone"], "<none>"),
            suspended.into(),
            count(&status["active"]).into(),
            last.into(),
            cell::age(cron_job, now),
            names,
            images,
            cell::label_selector(&job["selector"]),
        ]
    })
}
