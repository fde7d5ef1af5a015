//! Rules for the schedule of a cron job.

use super::super::at::{At, Errors};

/// The five fields of a schedule, with their bounds and the names that their values have.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// Checks a schedule: five fields, or one of the words for common ones.
///
/// A zone within the schedule is allowed if it was there before, and there is no other zone.
pub(super) fn check(schedule: &At, keeps_zone: bool, has_zone: bool, errors: &mut Errors) {
    if let Err(problem) = parse(schedule.str()) {
        schedule.invalid(errors, &problem);
    }
    match (schedule.str().contains("TZ"), keeps_zone) {
        (true, true) if has_zone => {
            schedule.invalid(errors, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
        (true, false) => {
            schedule.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        }
        _ => {}
    }
}

fn parse(text: &str) -> Result<(), String> {
    let text = match text.split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => rest.trim(),
        _ => text,
    };
    if let Some(word) = text.strip_prefix('@') {
        return match word {
            "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
            _ if word.starts_with("every ") => Ok(()),
            _ => Err(format!("unrecognized descriptor: {text}")),
        };
    }
    let fields: Vec<_> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields
        .iter()
        .zip(FIELDS)
        .try_for_each(|(field, bounds)| field.split(',').try_for_each(|part| range(part, bounds)))
}

/// One range of a field: `*`, `5`, `1-5`, each with a step (`*/15`).
fn range(text: &str, (low, high, names): (u32, u32, &[&str])) -> Result<(), String> {
    let value = |text: &str| {
        let named = names.iter().position(|name| !name.is_empty() && name.eq_ignore_ascii_case(text));
        match named {
            Some(number) => Ok(u32::try_from(number).expect("at most twelve names")),
            None => number(text),
        }
    };
    let (interval, step) =
        text.split_once('/').map_or((text, None), |(interval, step)| (interval, Some(step)));
    if step.is_some_and(|step| step.contains('/')) {
        return Err(format!("too many slashes: {text}"));
    }
    let (first, last) = match interval.split_once('-') {
        _ if matches!(interval, "*" | "?") => (low, high),
        Some((_, last)) if last.contains('-') => return Err(format!("too many hyphens: {text}")),
        Some((first, last)) => (value(first)?, value(last)?),
        None => {
            let first = value(interval)?;
            (first, if step.is_some() { high } else { first })
        }
    };
    if step.map(number).transpose()? == Some(0) {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    if first < low {
        return Err(format!("beginning of range ({first}) below minimum ({low}): {text}"));
    }
    if last > high {
        return Err(format!("end of range ({last}) above maximum ({high}): {text}"));
    }
    if first > last {
        return Err(format!("beginning of range ({first}) beyond end of range ({last}): {text}"));
    }
    Ok(())
}

fn number(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        _ => {
            let quoted = quarterdeck_core::labels::quote(text);
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax"))
        }
    }
}
