//! The options of writes: `dryRun`, `fieldManager`, `fieldValidation`.

use crate::request::Query;
use crate::status::{Result, Status};
use crate::validation::{FieldError, Shown};

/// What happens to fields that a kind does not have, and to fields that stand twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client is warned.
    Warn,
    /// The request is refused.
    Strict,
}

/// The options of a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriteOptions {
    /// Whether nothing is written.
    pub dry_run: bool,
    /// What happens to unknown fields.
    pub validation: FieldValidation,
}

impl WriteOptions {
    /// Reads the options of a write; `kind` is what upstream calls them, such as `CreateOptions`.
    pub(super) fn parse(query: &Query, kind: &str) -> Result<Self> {
        let mut errors = Vec::new();
        let dry_run = dry_run(query, &mut errors);
        if let Some(manager) = query.non_empty("fieldManager") {
            check_manager(manager, &mut errors);
        }
        let validation = match query.non_empty("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                errors.push(FieldError::not_supported(
                    "fieldValidation",
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if errors.is_empty() {
            Ok(Self { dry_run, validation })
        } else {
            Err(Status::invalid("meta.k8s.io", kind, "", &errors))
        }
    }
}

fn dry_run(query: &Query, errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<&str> = query.all("dryRun").collect();
    if let Some(error) = check_dry_run(&values) {
        errors.push(error);
    }
    !values.is_empty()
}

/// Returns what is wrong with the values of `dryRun`.
pub(super) fn check_dry_run(values: &[&str]) -> Option<FieldError> {
    if values.iter().all(|value| *value == "All") {
        return None;
    }
    let shown: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    let shown = Shown::verbatim(format!("[]string{{{}}}", shown.join(", ")));
    Some(FieldError::not_supported("dryRun", shown, &["All"]))
}

fn check_manager(manager: &str, errors: &mut Vec<FieldError>) {
    const MAX: usize = 128;
    if manager.len() > MAX {
        errors.push(FieldError::too_long("fieldManager", MAX));
    }
    for (position, character) in manager.char_indices().filter(|(_, character)| character.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {position})", u32::from(character));
        errors.push(FieldError::invalid("fieldManager", manager, &detail));
    }
}

impl FieldValidation {
    /// Says what becomes of problems with fields: warnings, or a refusal.
    pub(super) fn judge(self, problems: Vec<String>) -> Result<Vec<String>> {
        match self {
            _ if problems.is_empty() => Ok(problems),
            Self::Ignore => Ok(Vec::new()),
            Self::Warn => Ok(problems),
            Self::Strict => {
                Err(Status::bad_request(format!("strict decoding error: {}", problems.join(", "))))
            }
        }
    }
}
