//! What a namespace asks of its pods: a level and its version for each of three modes, written as labels.

use std::fmt;

use serde_json::Value;

use crate::validation::FieldError;

/// What the labels of namespaces begin with.
const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a pod may be allowed. A later level is stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// What known ways out of a container do not need.
    Baseline,
    /// What a hardened pod needs.
    Restricted,
}

/// The release whose rules a level has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Those of release 1 with this minor number.
    Minor(u64),
    /// The newest that the server knows.
    #[default]
    Latest,
}

/// A level with its version: `restricted:latest`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

/// What holds for each mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// What pods are refused for.
    pub enforce: LevelVersion,
    /// What the audit event says of pods and of what makes them.
    pub audit: LevelVersion,
    /// What the client is warned of.
    pub warn: LevelVersion,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minor(minor) => write!(f, "v1.{minor}"),
            Self::Latest => f.write_str("latest"),
        }
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        [Self::Privileged, Self::Baseline, Self::Restricted]
            .into_iter()
            .find(|level| level.to_string() == text)
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let is_plain =
            minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        minor.parse().ok().filter(|_| is_plain).map(Self::Minor)
    }
}

impl LevelVersion {
    /// Makes a level of the newest version.
    #[must_use]
    pub fn latest(level: Level) -> Self {
        Self { level, version: Version::Latest }
    }

    /// Takes over what labels say of a mode. What they say wrongly is reported, and read as `fallback` and as the latest
    /// version.
    fn read(&mut self, labels: &Value, mode: &str, fallback: Level, errors: &mut Vec<FieldError>) {
        let mut report = |key: &str, value: &str, why: &str| {
            errors.push(FieldError::invalid(format!("metadata.labels[{key}]"), value, why));
        };
        let key = format!("{PREFIX}{mode}");
        if let Some(text) = labels[&key].as_str() {
            self.level = Level::parse(text).unwrap_or_else(|| {
                report(&key, text, "must be one of privileged, baseline, restricted");
                fallback
            });
        }
        let key = format!("{PREFIX}{mode}-version");
        if let Some(text) = labels[&key].as_str() {
            self.version = Version::parse(text).unwrap_or_else(|| {
                report(&key, text, "must be \"latest\" or \"v1.x\"");
                Version::Latest
            });
        }
    }
}

impl Policy {
    /// Reads a namespace's labels; what they do not say is as in `self`. Where they are wrong, pods are judged by the
    /// strictest level, and nobody is warned.
    pub(super) fn of_labels(mut self, labels: &Value) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
            self.enforce.read(labels, "enforce", Level::Restricted, &mut errors);
            self.audit.read(labels, "audit", Level::Privileged, &mut errors);
            self.warn.read(labels, "warn", Level::Privileged, &mut errors);
        }
        (self, errors)
    }

    /// Whether nothing is forbidden in any mode.
    pub(super) fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }

    /// Whether two policies judge alike.
    fn is_equivalent(&self, other: &Self) -> bool {
        let alike = |one: LevelVersion, other: LevelVersion| {
            one == other || (one.level == Level::Privileged && other.level == Level::Privileged)
        };
        alike(self.enforce, other.enforce) && alike(self.audit, other.audit) && alike(self.warn, other.warn)
    }

    /// Says that the labels of a namespace are ignored, if they ask for anything.
    pub(super) fn ignored(&self, defaults: &Self, namespace: &str, labels: &Value) -> Option<String> {
        if self.is_privileged() || self.is_equivalent(defaults) {
            return None;
        }
        let is_given = |mode: &str| {
            [format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version")]
                .iter()
                .any(|key| !labels[key].is_null())
        };
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let asked: Vec<_> = modes
            .iter()
            .filter(|(mode, asked)| asked.level != Level::Privileged && is_given(mode))
            .map(|(mode, asked)| format!("{mode}={asked}"))
            .collect();
        let asked = asked.join(", ");
        Some(format!(
            "namespace {namespace:?} is exempt from Pod Security, and the policy ({asked}) will be ignored"
        ))
    }
}
