//! What is said about a request beside its answer: warnings for the client, annotations for the audit log.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

use crate::user::User;

/// How many bytes of warnings a client gets at most (1 MiB of headers would be refused by most; upstream sends 4 KiB).
const MAX_WARNINGS: usize = 4096;
/// How many bytes of one warning a client gets if there are more in all.
const MAX_WARNING: usize = 256;

/// The warnings and the audit annotations of one request. Shared by all who look at the request; each warning is kept once,
/// however often the write starts over.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Inner>);

/// Annotations of an audit event, by key.
pub(crate) type Annotations = BTreeMap<Cow<'static, str>, String>;

/// What is noted so far.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    warnings: Vec<String>,
    pub(crate) annotations: Annotations,
    /// As whom the client acts, if as somebody else.
    pub(crate) impersonated: Option<User>,
    /// Whether the body that the client sent is what its path takes.
    pub(crate) body_is_accepted: bool,
    /// How the object calls itself that the client sent.
    pub(crate) sent: Sent,
}

/// How an object calls itself; empty where it does not say.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

impl Notes {
    /// Warns the client: a `Warning` header of its answer, whatever the answer is.
    pub fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut inner = self.inner();
        if !warning.is_empty() && !inner.warnings.contains(&warning) {
            inner.warnings.push(warning);
        }
    }

    /// Adds an annotation to the request's audit event. Keys are like `authorization.k8s.io/decision`; a later value replaces
    /// an earlier one.
    pub fn annotate(&self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.inner().annotations.insert(key.into(), value.into());
    }

    /// Returns the warnings so far, in order, each once. If they are more than 4 KiB together, each is cut to 256 bytes, and what
    /// is too much still is left out.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.inner().warnings.clone();
        if warnings.iter().map(String::len).sum::<usize>() > MAX_WARNINGS {
            let mut room = MAX_WARNINGS;
            for warning in &mut warnings {
                let end = warning.floor_char_boundary(MAX_WARNING);
                warning.truncate(end);
            }
            warnings.retain(|warning| {
                let fits = warning.len() <= room;
                room = if fits { room - warning.len() } else { 0 };
                fits
            });
        }
        warnings
    }

    /// Returns the annotations so far.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let inner = self.inner();
        inner.annotations.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
    }

    /// Notes as whom the client acts.
    pub(crate) fn impersonate(&self, user: &User) {
        self.inner().impersonated = Some(user.clone());
    }

    /// Notes that the body that the client sent is what its path takes.
    pub(crate) fn accept_body(&self) {
        self.inner().body_is_accepted = true;
    }

    /// Notes the object that the client sent.
    pub(crate) fn see_object(&self, object: &Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        self.inner().sent =
            Sent { name: text("name"), uid: text("uid"), resource_version: text("resourceVersion") };
    }

    /// Returns what is noted so far. Nothing can be noted until that is dropped.
    pub(crate) fn noted(&self) -> impl Deref<Target = Inner> {
        self.inner()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds the notes")
    }
}

#[cfg(test)]
mod tests {
    use super::Notes;

    #[test]
    fn a_warning_is_kept_once() {
        let notes = Notes::default();
        for warning in ["b", "a", "b", ""] {
            notes.warn(warning);
        }
        assert_eq!(notes.warnings(), ["b", "a"]);
    }

    #[test]
    fn many_long_warnings_are_cut_and_then_left_out() {
        let notes = Notes::default();
        for number in 0..100 {
            notes.warn(format!("{number:02}{}", "é".repeat(300)));
        }
        let warnings = notes.warnings();
        assert_eq!(warnings.len(), 16);
        assert!(warnings.iter().all(|warning| warning.len() == 256));
    }

    #[test]
    fn a_later_annotation_replaces_an_earlier_one() {
        let notes = Notes::default();
        notes.annotate("x.io/a", "1");
        notes.annotate("x.io/a", "2");
        assert_eq!(notes.annotations().into_iter().collect::<Vec<_>>(), [("x.io/a".into(), "2".into())]);
    }
}
