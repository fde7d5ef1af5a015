//! Whether a program is well, part by part, and why not.
//!
//! Start at [`Health`]: a list of checks that is a value, handed to whoever has something to check, as
//! [`Metrics`](crate::metrics::Metrics) is. [`Health::answer`] is what `/livez`, `/readyz` and `/healthz` show, in upstream's
//! form. A server that shows it is in [`diagnostics`](crate::diagnostics).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why something is not well; `Ok` if it is.
pub type Checked = Result<(), String>;

type Look = Box<dyn Fn() -> Checked + Send + Sync>;

/// The checks of a program. Clones are the same list.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::health::Health;
///
/// let health = Health::new();
/// health.ready("harbour", || Err("the tide is low".into()));
///
/// assert!(health.answer("/livez", "").unwrap().healthy, "to start again would not help");
/// let answer = health.answer("/readyz", "verbose").unwrap();
/// assert!(!answer.healthy);
/// assert_eq!(answer.text, "[+]ping ok\n[-]harbour failed: the tide is low\nreadyz check failed\n");
/// ```
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Check>>>);

struct Check {
    name: String,
    is_of_life: bool,
    look: Look,
}

/// What somebody is answered who asks for health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthAnswer {
    /// Whether all is well that was asked about: the code is 200, else 500.
    pub healthy: bool,
    /// `ok`, or a line for each check and one for them all.
    pub text: String,
}

impl Health {
    /// Makes a list of no checks but `ping`, which is well whenever somebody answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that fails when only a new start helps: `/livez`, `/healthz` and `/readyz` ask it. `look` must not block.
    pub fn live(&self, name: impl Into<String>, look: impl Fn() -> Checked + Send + Sync + 'static) {
        self.checks().push(Check { name: name.into(), is_of_life: true, look: Box::new(look) });
    }

    /// Adds a check that fails while there is something to wait for: `/readyz` asks it. `look` must not block.
    pub fn ready(&self, name: impl Into<String>, look: impl Fn() -> Checked + Send + Sync + 'static) {
        self.checks().push(Check { name: name.into(), is_of_life: false, look: Box::new(look) });
    }

    /// Answers a path: `/livez`, `/readyz`, `/healthz`, or one of these and a check's name. `query` may hold `verbose` and
    /// `exclude=NAME`. Returns `None` if there is no such path or check.
    #[must_use]
    pub fn answer(&self, path: &str, query: &str) -> Option<HealthAnswer> {
        let question = Question::of(path, query)?;
        let checks = self.checks();
        let is_asked = |check: &&Check| question.endpoint == "readyz" || check.is_of_life;
        let mut found = Vec::new();
        if question.asks("ping") {
            found.push(("ping", Ok(())));
        }
        for check in checks.iter().filter(is_asked).filter(|check| question.asks(&check.name)) {
            found.push((check.name.as_str(), (check.look)()));
        }
        question.answer(&found)
    }

    fn checks(&self) -> MutexGuard<'_, Vec<Check>> {
        // A check that panicked has changed nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks().iter().map(|check| &check.name)).finish()
    }
}

/// What is asked about health.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// `livez`, `readyz` or `healthz`.
    pub endpoint: &'q str,
    one: Option<&'q str>,
    query: &'q str,
}

impl<'q> Question<'q> {
    /// Reads a path and its query; `None` if it does not ask for health.
    #[must_use]
    pub fn of(path: &'q str, query: &'q str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.splitn(2, '/');
        let endpoint = segments.next().filter(|name| matches!(*name, "healthz" | "livez" | "readyz"))?;
        Some(Self { endpoint, one: segments.next(), query })
    }

    /// Whether this check is among those asked about.
    #[must_use]
    pub fn asks(&self, check: &str) -> bool {
        match self.one {
            Some(one) => one == check,
            None => !self.parameters().any(|(name, value)| name == "exclude" && value == check),
        }
    }

    /// Answers with what the checks that are [asked](Self::asks) about found; `None` if these are none.
    #[must_use]
    pub fn answer<N: AsRef<str>>(&self, found: &[(N, Checked)]) -> Option<HealthAnswer> {
        if found.is_empty() {
            return None;
        }
        let healthy = found.iter().all(|(_, found)| found.is_ok());
        let is_verbose = self.parameters().any(|(name, _)| name == "verbose");
        let text = if healthy && !is_verbose { "ok".to_owned() } else { self.report(found, healthy) };
        Some(HealthAnswer { healthy, text })
    }

    fn report<N: AsRef<str>>(&self, found: &[(N, Checked)], healthy: bool) -> String {
        let lines = found.iter().map(|(name, found)| match found {
            Ok(()) => format!("[+]{} ok\n", name.as_ref()),
            // One line for each check, whatever it says.
            Err(reason) => format!("[-]{} failed: {}\n", name.as_ref(), reason.replace('\n', " ")),
        });
        let word = if healthy { "passed" } else { "failed" };
        format!("{}{} check {word}\n", lines.collect::<String>(), self.endpoint)
    }

    fn parameters(&self) -> impl Iterator<Item = (&'q str, &'q str)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let health = Health::new();
        health.live("engine", || Ok(()));
        health.ready("cargo", || Err("two boxes\nare missing".into()));
        health
    }

    fn text(path: &str, query: &str) -> Option<(bool, String)> {
        health().answer(path, query).map(|answer| (answer.healthy, answer.text))
    }

    #[test]
    fn what_a_new_start_does_not_help_makes_nobody_dead() {
        assert_eq!(text("/livez", ""), Some((true, "ok".into())));
        assert_eq!(text("/healthz", ""), Some((true, "ok".into())));
        assert!(!text("/readyz", "").unwrap().0);
    }

    #[test]
    fn each_check_has_a_line_with_its_reason() {
        let told = "[+]ping ok\n[+]engine ok\n[-]cargo failed: two boxes are missing\nreadyz check failed\n";

        assert_eq!(text("/readyz", ""), Some((false, told.into())));
        let told = "[+]ping ok\n[+]engine ok\nlivez check passed\n";
        assert_eq!(text("/livez", "verbose"), Some((true, told.into())));
    }

    #[test]
    fn one_check_can_be_asked_for_or_left_out() {
        assert_eq!(text("/readyz/engine", ""), Some((true, "ok".into())));
        assert!(!text("/readyz/cargo", "").unwrap().0);
        assert_eq!(text("/readyz", "exclude=cargo"), Some((true, "ok".into())));
        assert_eq!(text("/livez/cargo", ""), None, "it is none of life's");
        assert_eq!(text("/readyz/none", ""), None);
        assert_eq!(text("/metrics", ""), None);
        assert_eq!(text("readyz", ""), None);
    }
}
