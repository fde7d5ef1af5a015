//! The list of the cases that pass, `passing.txt`: it may only grow, and it is exact.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::case::{Case, folder};
use crate::check::Verdict;

/// The names of the cases that must pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Passing(BTreeSet<String>);

impl Passing {
    fn path() -> PathBuf {
        folder().join("passing.txt")
    }

    /// Reads `passing.txt`; empty if there is none yet.
    pub(crate) fn load() -> Self {
        Self::parse(&std::fs::read_to_string(Self::path()).unwrap_or_default())
    }

    /// Reads a list with one case per line.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Whether the list names a case.
    pub(crate) fn holds(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    /// Adds what passes; what does not pass any more stays, and fails. Says how many were added.
    pub(crate) fn grow(&mut self, verdicts: &[Verdict]) -> usize {
        let before = self.0.len();
        self.0.extend(verdicts.iter().filter(|verdict| verdict.passes()).map(|verdict| verdict.id.clone()));
        self.0.len() - before
    }

    /// Writes the list in the order of the recorded cases. Lines that name no case are dropped.
    pub(crate) fn save(&self, cases: &[Case]) -> std::io::Result<()> {
        let ids = cases.iter().map(Case::id).filter(|id| self.holds(id));
        std::fs::write(Self::path(), ids.map(|id| id + "\n").collect::<String>())
    }

    /// Where the list and the verdicts disagree, and names that no case has.
    pub(crate) fn faults(&self, cases: &[Case], verdicts: &[Verdict]) -> Vec<String> {
        let known: BTreeSet<String> = cases.iter().map(Case::id).collect();
        let strangers = self
            .0
            .difference(&known)
            .map(|id| format!("{id}: passing.txt names it, but there is no such case"));
        let wrong = verdicts.iter().filter_map(|verdict| match (self.holds(&verdict.id), verdict.passes()) {
            (true, false) => {
                Some(format!("{}: passed before\n    {}", verdict.id, verdict.problems.join("\n    ")))
            }
            (false, true) => {
                Some(format!("{}: passes now: add it to the list (CONFORMANCE_UPDATE=1)", verdict.id))
            }
            _ => None,
        });
        strangers.chain(wrong).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str) -> Case {
        Case { file: "f".to_owned(), name: name.to_owned(), needs_namespace: false, steps: Vec::new() }
    }

    fn verdict(name: &str, problems: &[&str]) -> Verdict {
        Verdict {
            id: format!("f: {name}"),
            problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
            levels: Vec::new(),
            as_recorded: problems.is_empty(),
            waited_in_vain: false,
        }
    }

    #[test]
    fn a_listed_case_must_pass_and_an_unlisted_one_must_not() {
        let cases = [case("a"), case("b"), case("c"), case("d")];
        let verdicts =
            [verdict("a", &[]), verdict("b", &["one", "two"]), verdict("c", &[]), verdict("d", &["one"])];

        let faults = Passing::parse("f: a\nf: b\n\nf: e\n").faults(&cases, &verdicts);

        assert_eq!(
            faults,
            [
                "f: e: passing.txt names it, but there is no such case",
                "f: b: passed before\n    one\n    two",
                "f: c: passes now: add it to the list (CONFORMANCE_UPDATE=1)",
            ]
        );
    }

    #[test]
    fn an_update_adds_and_never_removes() {
        let mut list = Passing::parse("f: b\n");

        let added = list.grow(&[verdict("a", &[]), verdict("b", &["one"]), verdict("d", &["one"])]);

        assert_eq!(added, 1);
        assert_eq!(list, Passing::parse("f: a\nf: b\n"));
    }
}
