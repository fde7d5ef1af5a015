//! Masks over what differs from run to run.

use std::sync::OnceLock;

use regex::Regex;

use crate::cluster::Lab;

/// Patterns, and what stands in their place. Earlier ones come first.
const MASKS: &[(&str, &str)] = &[
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} UTC", "<time>"),
    (r#"([rR]esource ?Version"?: +)"?\d+"?"#, "$1<revision>"),
    (r"\.[0-9a-f]{16}\b", ".<stamp>"),
    (r"\b1?\d{1,2}s\b", "<age>"),
    (r"\b2m\d*s?\b", "<age>"),
    (r"\b10\.\d+\.\d+\.\d+\b", "<address>"),
    (r"\b3[0-2]\d{3}\b", "<node port>"),
    (r"-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "-<random>"),
];

/// Masks what a command printed. Columns are set apart by two spaces: their widths depend on what is masked.
pub(crate) fn mask(printed: &str, lab: &Lab) -> String {
    static PATTERNS: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    static GAP: OnceLock<Regex> = OnceLock::new();
    let patterns = PATTERNS.get_or_init(|| {
        MASKS.iter().map(|(pattern, mask)| (Regex::new(pattern).expect("a pattern"), *mask)).collect()
    });
    let gap = GAP.get_or_init(|| Regex::new(r"(\S) {3,}").expect("a pattern"));
    let mut masked = printed.replace(&lab.address, "<server>").replace(&lab.directory(), "<directory>");
    for (pattern, mask) in patterns {
        masked = pattern.replace_all(&masked, *mask).into_owned();
    }
    let lines = masked.lines().map(|line| format!("{}\n", gap.replace_all(line, "$1  ").trim_end()));
    lines.collect()
}
