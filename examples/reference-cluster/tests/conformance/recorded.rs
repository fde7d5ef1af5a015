//! The lists: every listed case passes, and no other.

use std::collections::BTreeMap;

use crate::case::{Case, files, load};
use crate::check::{Rules, Verdict, check_all};
use crate::cluster;
use crate::compare::Level;
use crate::overrides::Overrides;
use crate::passing::Passing;

#[test]
fn listed_cases_are_answered_as_recorded_and_no_others() {
    let cases: Vec<Case> = files().iter().flat_map(|file| load(file)).collect();
    let words = std::env::var("CONFORMANCE_CASE").ok();
    let chosen = |case: &Case| words.as_ref().is_none_or(|words| case.id().contains(words.as_str()));
    let overrides = Overrides::load();
    let mut faults = overrides.faults(&cases);
    let mut passing = Passing::load();

    let verdicts = check_all(&Rules::new(overrides), &cases, chosen, cluster::start);

    if words.is_some() {
        verdicts.iter().for_each(print);
    }
    println!("{}", summary(&verdicts));
    if std::env::var("CONFORMANCE_UPDATE").is_ok_and(|value| value == "1") {
        println!("{} added to the list", passing.grow(&verdicts));
        passing.save(&cases).expect("the list can be written");
    }
    faults.extend(passing.faults(&cases, &verdicts));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn print(verdict: &Verdict) {
    println!("{} {}", if verdict.passes() { "pass" } else { "FAIL" }, verdict.id);
    for problem in &verdict.problems {
        println!("    {problem}");
    }
}

/// How many cases of each file pass, and how many differences of each level there are.
fn summary(verdicts: &[Verdict]) -> String {
    let mut files: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut levels: BTreeMap<Level, usize> = BTreeMap::new();
    for verdict in verdicts {
        let file = verdict.id.split(':').next().unwrap_or_default();
        let (passed, all) = files.entry(file).or_default();
        *passed += usize::from(verdict.passes());
        *all += 1;
        for level in &verdict.levels {
            *levels.entry(*level).or_default() += 1;
        }
    }
    let passed: usize = files.values().map(|(passed, _)| passed).sum();
    let lines =
        files.iter().map(|(file, (passed, all))| format!("{file:<24} {passed:4} of {all:4} passed\n"));
    let levels: Vec<String> = levels.iter().map(|(level, count)| format!("{level} {count}")).collect();
    lines.collect::<String>()
        + &format!("{passed} of {} passed; differences by level: {}", verdicts.len(), levels.join(", "))
}
