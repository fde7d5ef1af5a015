//! What concurrent clients did, and whether it can have happened one after the other.
//!
//! Each object is a register whose states are numbered by revisions, and every value is written once. So a history is linearizable if
//! revisions grow with time wherever one operation ended before another began, and each value has one revision.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What a watch showed: an object's name, its value and its revision.
pub(super) type Shown = (String, String, u64);

/// All that a watch showed.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) events: Vec<Shown>,
    /// The revisions between which it was cut off, and listed anew.
    pub(super) gaps: Vec<(u64, u64)>,
}

impl Watched {
    fn missed(&self, revision: u64) -> bool {
        self.gaps.iter().any(|(from, to)| (from + 1..=*to).contains(&revision))
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// It was acknowledged with this revision.
    Revision(u64),
    /// It certainly did not happen.
    Nothing,
    /// Nobody said.
    Open,
}

/// An operation that ended.
#[derive(Debug, Clone)]
pub(super) struct Done {
    name: String,
    value: String,
    is_write: bool,
    outcome: Outcome,
    begun: u64,
    ended: u64,
}

impl Done {
    pub(super) fn write(name: String, value: String, begun: u64, outcome: Outcome) -> Self {
        Self { name, value, is_write: true, outcome, begun, ended: 0 }
    }

    pub(super) fn read(name: String, value: String, begun: u64, revision: u64) -> Self {
        Self { name, value, is_write: false, outcome: Outcome::Revision(revision), begun, ended: 0 }
    }

    fn revision(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Revision(revision) => Some(revision),
            Outcome::Nothing | Outcome::Open => None,
        }
    }
}

/// All operations, with a clock that orders their ends.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    clock: AtomicU64,
    done: Mutex<Vec<Done>>,
}

impl History {
    /// Returns the time at which an operation begins.
    pub(super) fn begin(&self) -> u64 {
        self.0.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes an operation that ends now.
    pub(super) fn end(&self, done: Done) {
        let ended = self.0.clock.fetch_add(1, Ordering::SeqCst);
        self.0.done.lock().expect("no client panics here").push(Done { ended, ..done });
    }

    /// Checks the history against itself and against what watches showed, and returns how many writes were acknowledged
    /// and how many left open.
    pub(super) fn check(&self, watched: &[Watched]) -> (usize, usize) {
        let done = self.0.done.lock().expect("no client panics here");
        if let Err(why) = violation(&done, watched) {
            panic!("{why}");
        }
        let count = |is: fn(&Done) -> bool| done.iter().filter(|one| one.is_write && is(one)).count();
        (count(|one| one.revision().is_some()), count(|one| matches!(one.outcome, Outcome::Open)))
    }
}

/// Says what cannot be.
fn violation(done: &[Done], watched: &[Watched]) -> Result<(), String> {
    values(done)?;
    real_time(done)?;
    watched.iter().try_for_each(|watched| events(done, watched))
}

/// Each value that was seen was written, has one revision, and was not refused.
fn values(done: &[Done]) -> Result<(), String> {
    let writes: BTreeMap<_, _> =
        done.iter().filter(|one| one.is_write).map(|one| ((&one.name, &one.value), one)).collect();
    let mut revisions = BTreeMap::new();
    for one in done.iter().filter(|one| one.revision().is_some()) {
        let write = writes.get(&(&one.name, &one.value)).ok_or_else(|| format!("nobody wrote {one:?}"))?;
        if matches!(write.outcome, Outcome::Nothing) {
            return Err(format!("{one:?} shows what was refused"));
        }
        let known = *revisions.entry((&one.name, &one.value)).or_insert(one.revision());
        if known != one.revision() {
            return Err(format!("{one:?} has another revision elsewhere: {known:?}"));
        }
    }
    Ok(())
}

/// What began after something else had ended is not older, and a write is newer.
fn real_time(done: &[Done]) -> Result<(), String> {
    let mut by_name: BTreeMap<&str, Vec<&Done>> = BTreeMap::new();
    for one in done.iter().filter(|one| one.revision().is_some()) {
        by_name.entry(&one.name).or_default().push(one);
    }
    for operations in by_name.values() {
        let mut ends: Vec<_> = operations.clone();
        ends.sort_by_key(|one| one.ended);
        let mut begins: Vec<_> = operations.clone();
        begins.sort_by_key(|one| one.begun);
        let (mut ended, mut newest) = (ends.iter().peekable(), None::<&Done>);
        for one in begins {
            while let Some(earlier) = ended.next_if(|earlier| earlier.ended < one.begun) {
                if newest.is_none_or(|newest| earlier.revision() > newest.revision()) {
                    newest = Some(earlier);
                }
            }
            let Some(newest) = newest else { continue };
            let is_older = one.revision() < newest.revision();
            if is_older || (one.is_write && one.revision() == newest.revision()) {
                return Err(format!("{one:?} came after {newest:?}"));
            }
        }
    }
    Ok(())
}

/// A watch showed each acknowledged write once, in order, and nothing that was refused.
fn events(done: &[Done], watched: &Watched) -> Result<(), String> {
    let events = &watched.events;
    if let Some(pair) = events.windows(2).find(|pair| pair[0].2 >= pair[1].2) {
        return Err(format!("events are out of order: {pair:?}"));
    }
    if let Some(event) = events.iter().find(|event| watched.missed(event.2)) {
        return Err(format!("what the list held was shown again: {event:?}"));
    }
    let shown: BTreeMap<_, _> = events.iter().map(|(name, value, at)| ((name, value), *at)).collect();
    if shown.len() != events.len() {
        return Err("an event was repeated".to_owned());
    }
    let first = events.first().map_or(0, |event| event.2);
    for one in done.iter().filter(|one| one.is_write) {
        let shown = shown.get(&(&one.name, &one.value)).copied();
        let is_right = match one.outcome {
            Outcome::Revision(at) if at < first || watched.missed(at) => true,
            Outcome::Revision(at) => shown == Some(at),
            Outcome::Nothing => shown.is_none(),
            Outcome::Open => true,
        };
        if !is_right {
            return Err(format!("a watch shows {one:?} at {shown:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(value: &str, is_write: bool, outcome: Outcome, time: (u64, u64)) -> Done {
        let (begun, ended) = time;
        Done { name: "m".to_owned(), value: value.to_owned(), is_write, outcome, begun, ended }
    }

    fn event(value: &str, at: u64) -> Shown {
        ("m".to_owned(), value.to_owned(), at)
    }

    /// Makes something wrong.
    type Break = fn(&mut Vec<Done>, &mut Watched);

    /// A history in which nothing is wrong.
    fn good() -> (Vec<Done>, Watched) {
        let done = vec![
            done("a", true, Outcome::Revision(2), (0, 1)),
            done("a", false, Outcome::Revision(2), (2, 5)),
            done("b", true, Outcome::Open, (3, 4)),
            done("c", true, Outcome::Nothing, (3, 4)),
            done("b", false, Outcome::Revision(3), (6, 7)),
            done("d", true, Outcome::Revision(4), (8, 9)),
        ];
        let events = vec![event("a", 2), event("b", 3), event("d", 4)];
        (done, Watched { events, gaps: Vec::new() })
    }

    #[test]
    fn a_history_that_can_have_happened_passes() {
        let (done, watched) = good();

        assert_eq!(violation(&done, &[watched]), Ok(()));
    }

    #[test]
    fn an_event_may_be_missing_where_a_watch_began_anew() {
        let (done, mut watched) = good();
        watched.events.remove(2);
        watched.gaps.push((3, 4));

        assert_eq!(violation(&done, &[watched]), Ok(()));
    }

    #[test]
    fn what_cannot_have_happened_is_found() {
        let broken: [(&str, Break); 9] = [
            ("an event that a list had shown", |_, watched| watched.gaps.push((2, 3))),
            ("a stale read", |all, _| all.push(done("a", false, Outcome::Revision(2), (10, 11)))),
            ("a lost write", |all, _| all.push(done("e", true, Outcome::Revision(3), (10, 11)))),
            ("a value of nobody", |all, _| all.push(done("x", false, Outcome::Revision(9), (10, 11)))),
            ("a refused write that is read", |all, _| {
                all.push(done("c", false, Outcome::Revision(9), (10, 11)));
            }),
            ("two revisions of one value", |all, _| {
                all.push(done("d", false, Outcome::Revision(5), (10, 11)));
            }),
            ("a lost event", |_, watched| drop(watched.events.remove(2))),
            ("a repeated event", |_, watched| watched.events.push(event("a", 5))),
            ("events out of order", |_, watched| watched.events.swap(1, 2)),
        ];
        for (what, break_it) in broken {
            let (mut done, mut watched) = good();

            break_it(&mut done, &mut watched);

            assert!(violation(&done, &[watched]).is_err(), "{what} is not found");
        }
    }
}
