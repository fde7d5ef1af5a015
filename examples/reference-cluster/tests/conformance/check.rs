//! Runs recorded cases, and says what differs.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::sync::Mutex;

use crate::case::Case;
use crate::compare::{Difference, Drift, Level};
use crate::names::Masking;
use crate::overrides::Overrides;
use crate::run::{Outcome, Stop, run};
use crate::server::Server;

/// The rules by which answers are masked and compared.
#[derive(Debug)]
pub(crate) struct Rules {
    masking: Masking,
    drift: Drift,
    overrides: Overrides,
}

/// What became of a case.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// How the lists name the case.
    pub(crate) id: String,
    /// What differs from what the project should answer: nothing, if the case passes.
    pub(crate) problems: Vec<String>,
    /// The level of each problem.
    pub(crate) levels: Vec<Level>,
    /// Whether the record itself is met, overrides aside: what `conform.py` says.
    pub(crate) as_recorded: bool,
    /// Whether a step waited in vain, which takes long where time is not virtual.
    pub(crate) waited_in_vain: bool,
}

impl Verdict {
    /// Whether the case passes.
    pub(crate) fn passes(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Rules {
    /// The rules of the lists in `overrides`.
    pub(crate) fn new(overrides: Overrides) -> Self {
        Self { masking: Masking::new(), drift: Drift::load(), overrides }
    }

    /// Runs one case against `server`, with the word `id`.
    pub(crate) async fn check(&self, server: &Server, case: &Case, id: &str) -> Verdict {
        let outcome = run(server, &self.masking, case, id).await;
        let recorded = self.compare(case, &outcome, false);
        let as_recorded = recorded.is_empty() && outcome.stopped.is_none();
        let mut problems =
            if self.overrides.touch(case) { self.compare(case, &outcome, true) } else { recorded };
        if let Some(stop) = &outcome.stopped {
            problems.push((Level::Stopped, format!("step {}: stopped: {stop}", outcome.answers.len() + 1)));
        }
        let (levels, problems) = problems.into_iter().unzip();
        Verdict {
            id: case.id(),
            problems,
            levels,
            as_recorded,
            waited_in_vain: matches!(outcome.stopped, Some(Stop::InVain { .. })),
        }
    }

    fn compare(&self, case: &Case, outcome: &Outcome, overridden: bool) -> Vec<(Level, String)> {
        let mut problems = Vec::new();
        for (index, (step, got)) in case.steps.iter().zip(&outcome.answers).enumerate() {
            let (Some(want), Some(got)) = (&step.want, got) else { continue };
            let number = index + 1;
            let today = if overridden { self.overrides.apply(case, number, want) } else { want.clone() };
            let name = match (&step.request, &step.join) {
                (Some(request), _) => request.clone(),
                (None, join) => format!("join {}", join.as_deref().unwrap_or_default()),
            };
            for Difference { level, text } in self.drift.differences(&today, got, step) {
                problems.push((level, format!("step {number} {name}: {level}: {text}")));
            }
        }
        problems
    }
}

/// The word of the case with this number: lower-case letters that no recorded answer holds.
pub(crate) fn word(number: usize) -> String {
    let letters = [number / 676 % 26, number / 26 % 26, number % 26];
    letters.iter().fold("qzx".to_owned(), |word, letter| word + &char::from(b'a' + *letter as u8).to_string())
}

/// Runs the `chosen` ones of all `cases` and returns their verdicts, in the same order. Each file has a server of its own, made by `start`
/// together with what must live as long, and virtual time; files run side by side.
pub(crate) fn check_all<F, G>(
    rules: &Rules,
    cases: &[Case],
    chosen: impl Fn(&Case) -> bool,
    start: F,
) -> Vec<Verdict>
where
    F: AsyncFn() -> (Server, G) + Sync,
{
    let numbered: Vec<(usize, &Case)> = cases.iter().enumerate().filter(|(_, case)| chosen(case)).collect();
    let waiting: Mutex<VecDeque<&[(usize, &Case)]>> =
        Mutex::new(numbered.chunk_by(|(_, one), (_, next)| one.file == next.file).collect());
    let done: Mutex<BTreeMap<usize, Verdict>> = Mutex::default();
    let take = || waiting.lock().expect("no worker panics with the lock").pop_front();
    let work = || {
        while let Some(file) = take() {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            runtime.expect("a runtime can be made").block_on(async {
                let (server, _alive) = start().await;
                for (number, case) in file {
                    let verdict = rules.check(&server, case, &word(*number)).await;
                    done.lock().expect("no worker panics with the lock").insert(*number, verdict);
                }
            });
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    done.into_inner().expect("no worker panics with the lock").into_values().collect()
}
