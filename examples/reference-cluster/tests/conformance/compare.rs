//! Compares an answer with the recorded one, by the rules of `drift.yaml`.
//!
//! Answers are compared in full: nothing missing, nothing extra, the same errors.

use std::fmt;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::case::{Step, folder};
use crate::json::{brief, dump, same, text};

/// How much a difference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Another code.
    Status,
    /// Another field of a Status.
    Error,
    /// Another value, or none.
    Body,
    /// A field that was not recorded.
    Extra,
    /// A step had nothing to build on.
    Stopped,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "status",
            Self::Error => "error",
            Self::Body => "body",
            Self::Extra => "extra",
            Self::Stopped => "stopped",
        })
    }
}

/// What contradicts the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// Where newer servers rightly differ from the recorded one.
#[derive(Debug)]
pub(crate) struct Drift {
    extra: Vec<Regex>,
    ignore: Vec<Regex>,
    same: Vec<(Regex, String)>,
    message: Regex,
}

impl Drift {
    /// Reads `drift.yaml`.
    pub(crate) fn load() -> Self {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unread {
            extra: Vec<String>,
            ignore: Vec<String>,
            same: Vec<(String, String)>,
        }

        let path = folder().join("drift.yaml");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let unread: Unread =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let backslash = pattern(r"\\(\d+)");
        Self {
            extra: patterns(&unread.extra),
            ignore: patterns(&unread.ignore),
            same: unread
                .same
                .iter()
                .map(|(recorded, today)| {
                    let today = today.replace('$', "$$");
                    (pattern(recorded), backslash.replace_all(&today, "$${$1}").into_owned())
                })
                .collect(),
            message: pattern(r"(?s)^(.* is invalid: )\[(.*)\]$"),
        }
    }

    /// What in `got` contradicts `want`, the recorded answer of `step`.
    pub(crate) fn differences(&self, want: &Value, got: &Value, step: &Step) -> Vec<Difference> {
        let difference = |level, text| vec![Difference { level, text }];
        let mut out = Vec::new();
        if let Some(Value::Array(events)) = want.get("events") {
            let seen = got["events"].as_array().map_or(&[][..], Vec::as_slice);
            if want["status"] != got["status"] {
                return difference(
                    Level::Status,
                    format!("watch answered {}, not {}", got["status"], want["status"]),
                );
            }
            if events.len() != seen.len() {
                let text = format!("events: want {}, got {}", types(events), types(seen));
                return difference(Level::Body, text);
            }
        } else if want["status"] != got["status"] {
            let text = format!("want {}, got {}: {}", want["status"], got["status"], brief(&got["body"]));
            return difference(Level::Status, text);
        }
        for name in ["type", "location", "allow"] {
            if want.get(name) != got.get(name) {
                let text = format!("{name}: want {}, got {}", want[name], got[name]);
                out.push(Difference { level: Level::Body, text });
            }
        }
        let part = if want.get("events").is_some() { "events" } else { "body" };
        let mut comparison = Comparison {
            drift: self,
            step,
            ignore: patterns(&step.ignore),
            level: if want["body"]["kind"] == "Status" { Level::Error } else { Level::Body },
            out,
        };
        comparison.values(&want[part], &got[part], "");
        comparison.out
    }

    /// Whether two unequal scalars say the same.
    fn excuses(&self, want: &Value, got: &Value) -> bool {
        let parts = |value: &Value| {
            let found = self.message.captures(value.as_str()?)?;
            let mut parts: Vec<String> = found[2].split(", ").map(str::to_owned).collect();
            parts.sort();
            Some((found[1].to_owned(), parts))
        };
        if let (Some(want), Some(got)) = (parts(want), parts(got))
            && want == got
        {
            return true; // the order of some messages' parts is random upstream
        }
        let (want, got) = (text(want), text(got));
        self.same.iter().any(|(recorded, today)| recorded.replace_all(&want, today) == got)
    }
}

struct Comparison<'a> {
    drift: &'a Drift,
    step: &'a Step,
    ignore: Vec<Regex>,
    level: Level,
    out: Vec<Difference>,
}

impl Comparison<'_> {
    fn note(&mut self, level: Level, text: String) {
        self.out.push(Difference { level, text });
    }

    fn is_ignored(&self, path: &str) -> bool {
        let unasked = !self.step.managed_fields && path.ends_with("/managedFields");
        unasked || self.drift.ignore.iter().chain(&self.ignore).any(|pattern| pattern.is_match(path))
    }

    fn values(&mut self, want: &Value, got: &Value, path: &str) {
        if self.is_ignored(path) {
            return;
        }
        match (want, got) {
            (Value::Object(want), Value::Object(got)) => self.objects(want, got, path),
            (Value::Array(want), Value::Array(got)) => self.lists(want, got, path),
            (want, got) if same(want, got) || self.drift.excuses(want, got) => {}
            _ => self.note(self.level, format!("{path}: want {}, got {}", brief(want), brief(got))),
        }
    }

    fn objects(&mut self, want: &Map<String, Value>, got: &Map<String, Value>, path: &str) {
        for (name, value) in want {
            let inner = format!("{path}/{name}");
            match got.get(name) {
                Some(found) => self.values(value, found, &inner),
                None if self.is_ignored(&inner) => {}
                None => self.note(self.level, format!("{inner}: missing, want {}", brief(value))),
            }
        }
        for (name, value) in got.iter().filter(|(name, _)| !want.contains_key(*name)) {
            let inner = format!("{path}/{name}");
            if !self.is_ignored(&inner) && !self.drift.extra.iter().any(|pattern| pattern.is_match(&inner)) {
                self.note(Level::Extra, format!("{inner}: not expected: {}", brief(value)));
            }
        }
    }

    fn lists(&mut self, want: &[Value], got: &[Value], path: &str) {
        if let Some(by) = &self.step.members {
            return self.members(by, want, got, path);
        }
        let (mut want, mut got) = (want.to_vec(), got.to_vec());
        if path.ends_with("/causes") || path.ends_with("/managedFields") {
            want.sort_by_cached_key(dump);
            got.sort_by_cached_key(dump);
        }
        if want.len() != got.len() {
            let all = brief(&got.clone().into());
            self.note(self.level, format!("{path}: want {} items, got {}: {all}", want.len(), got.len()));
        }
        for (index, (want, got)) in want.iter().zip(&got).enumerate() {
            self.values(want, got, &format!("{path}/{index}"));
        }
    }

    /// A list of named things where ours may have more.
    fn members(&mut self, by: &str, want: &[Value], got: &[Value], path: &str) {
        for value in want {
            let key = if value.is_object() { &value[by] } else { value };
            let found = if value.is_object() {
                got.iter().rfind(|found| found.is_object() && found[by] == *key)
            } else {
                got.iter().find(|found| same(found, key))
            };
            match found {
                Some(found) if value.is_object() => {
                    self.values(value, found, &format!("{path}/{}", text(key)))
                }
                Some(_) => {}
                None => self.note(self.level, format!("{path}: no {}", text(key))),
            }
        }
    }
}

fn types(events: &[Value]) -> String {
    events.iter().map(|event| text(&event["type"])).collect::<Vec<_>>().join(" ")
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("{error}"))
}

fn patterns(texts: &[String]) -> Vec<Regex> {
    texts.iter().map(|text| pattern(text)).collect()
}
