//! The options of writes: `dryRun`, `fieldManager`, `fieldValidation`.

use http::{HeaderMap, header};

use crate::request::{Query, Verb, is_true};
use crate::status::{Result, Status};
use crate::user::User;
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
    /// Whether an apply takes what others own.
    pub force: bool,
}

/// How long a field manager's name may be.
const MAX_MANAGER: usize = 128;

impl WriteOptions {
    /// Reads the options of a create or an update; `kind` is what upstream calls them, such as `CreateOptions`.
    pub(super) fn parse(query: &Query, kind: &str) -> Result<Self> {
        Self::read(query, kind, Vec::new())
    }

    /// Reads the options of a patch; whether it is an apply decides what must and what may be said.
    pub(super) fn of_patch(query: &Query, is_apply: bool) -> Result<Self> {
        let mut errors = Vec::new();
        if is_apply && query.non_empty("fieldManager").is_none() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if !is_apply && query.get("force").is_some() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        Self::read(query, "PatchOptions", errors)
    }

    fn read(query: &Query, kind: &str, mut errors: Vec<FieldError>) -> Result<Self> {
        if let Some(manager) = query.non_empty("fieldManager") {
            check_manager(manager, &mut errors);
        }
        let dry_run = dry_run(query, &mut errors);
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
            Ok(Self { dry_run, validation, force: query.get("force").is_some_and(is_true) })
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

/// Returns who comes to own what a request writes: the manager that it names, or what its agent calls itself; of a
/// component whose agent says nothing, the component.
pub(super) fn manager(verb: Verb, query: &Query, headers: &HeaderMap, user: &User) -> String {
    if !matches!(verb, Verb::Create | Verb::Update | Verb::Patch) {
        return String::new();
    }
    if let Some(manager) = query.non_empty("fieldManager") {
        return manager.to_owned();
    }
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let agent = agent.or_else(|| user.component()).unwrap_or_default();
    let mut manager = String::new();
    for character in agent.split('/').next().unwrap_or_default().chars().filter(|c| is_printable(*c)) {
        if manager.len() + character.len_utf8() > MAX_MANAGER {
            break;
        }
        manager.push(character);
    }
    manager
}

/// Returns whether a character can be seen, as Go has it.
fn is_printable(character: char) -> bool {
    character.is_ascii_graphic()
        || character == ' '
        // Behind another character, what is escaped is what cannot be seen.
        || (!character.is_ascii() && format!("a{character}").escape_debug().count() == 2)
}

fn check_manager(manager: &str, errors: &mut Vec<FieldError>) {
    if manager.len() > MAX_MANAGER {
        errors.push(FieldError::too_long("fieldManager", MAX_MANAGER));
    }
    for (position, character) in manager.char_indices().filter(|(_, character)| !is_printable(*character)) {
        let detail = format!("invalid character U+{:04X} (at position {position})", u32::from(character));
        errors.push(FieldError::invalid("fieldManager", manager, &detail));
    }
}

impl FieldValidation {
    /// Says what becomes of what is wrong with YAML only if read strictly.
    pub(super) fn judge_yaml(self, problems: Vec<String>) -> Result<Vec<String>> {
        match self {
            Self::Strict if !problems.is_empty() => {
                Err(Status::bad_request(format!("error strict decoding YAML: {}", problems.join(", "))))
            }
            other => other.judge(problems),
        }
    }

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
