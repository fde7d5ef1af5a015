//! The judgement: is there a moment for each answer, between question and answer, at which it was true?
//!
//! A commit's moment is known: its place in the order of revisions. A read may have several: all states in which its answer
//! is right. Whoever asked after another was answered must not see less than that one. So each read, in the order of
//! asking, is given the first state that is not before what was seen until then. If that finds none, or if it gives a read a
//! state behind a commit that was not asked for yet, no other choice would do.

use super::model::{Model, holds, is_as_expected};
use super::{Followed, History, Operation, What};
use crate::storage::{Condition, List, Page, Revision, Transaction};

/// Returns why no order of the operations explains their answers, if none does.
pub(super) fn judge(history: &History) -> Result<(), String> {
    let model = Model::of(history)?;
    let mut moments = Vec::new();
    for operation in &history.operations {
        moments.extend(moment(&model, history, operation)?);
    }
    for followed in &history.followed {
        moments.extend(shown(&model, followed)?);
    }
    order(moments, model.len())?;
    was_busy(history)
}

/// What an answer says of the order.
struct Moment<'a> {
    begin: u64,
    end: u64,
    /// The clause that is broken if there is no such moment, and what the answer was.
    what: String,
    when: When<'a>,
}

/// Which states explain an answer; a state is the number of commits before it.
enum When<'a> {
    /// It is the step to this state.
    Commit(usize),
    /// It is true in these states.
    While(Box<dyn Fn(usize) -> bool + 'a>),
}

impl<'a> When<'a> {
    fn is(state: impl Fn(usize) -> bool + 'a) -> Self {
        Self::While(Box::new(state))
    }
}

fn moment<'a>(
    model: &'a Model,
    history: &History,
    operation: &'a Operation,
) -> Result<Option<Moment<'a>>, String> {
    let Operation { who, begin, end, what } = operation;
    let found = match what {
        What::Committed(transaction, at) if transaction.writes.is_empty() => {
            let position = known(model, who, *at)?;
            let holds = |state| transaction.conditions.iter().all(|one| holds(one, model.state(state)));
            let when = When::is(move |state| state == position && holds(state));
            Some((format!("clause 2: {who} was told that its conditions hold at {at}"), when))
        }
        What::Committed(transaction, at) => Some(committed(model, who, transaction, *at)?),
        What::MayHaveCommitted(transaction) => model.commit_of(transaction).map(|(position, at)| {
            (format!("clause 3: {who} committed at {at} without hearing of it"), When::Commit(position))
        }),
        What::Conflicted { transaction, key, expected, found } => {
            if let Some((_, at)) = model.commit_of(transaction) {
                return Err(format!(
                    "clause 2: {who} was told of a conflict on {key}, and it committed at {at}"
                ));
            }
            let condition = Condition { key: key.clone(), expect: *expected };
            if !transaction.conditions.contains(&condition) || is_as_expected(*expected, found.as_ref()) {
                return Err(format!(
                    "clause 2: {who} was told of a conflict on {key} that is none: {found:?}"
                ));
            }
            let when = When::is(|state| model.state(state).get(key) == found.as_ref());
            Some((format!("clause 2: {who} was told of a conflict with {found:?} at {key}"), when))
        }
        What::Got(key, found) => {
            let when = When::is(|state| model.state(state).get(key) == found.as_ref());
            Some((format!("clause 3: {who} got {found:?} at {key}"), when))
        }
        What::Listed(list, page) => listed(model, history, operation, list, page)?,
        What::IsAt(at) => {
            let position = known(model, who, *at)?;
            let when = When::is(move |state| state == position);
            Some((format!("clause 3: {who} was told that the store is at {at}"), when))
        }
        What::WasCompacted { asked, to } if asked >= to => {
            return Err(format!("clause 5: {who} asked for {asked} and was told that it is before {to}"));
        }
        What::Compacted(_) | What::WasCompacted { .. } => None,
        What::IsFuture { asked, now } => {
            let position = known(model, who, *now)?;
            let when = When::is(move |state| state == position && now < asked);
            Some((format!("clause 5: {who} asked for {asked} and was told that the store is at {now}"), when))
        }
    };
    Ok(found.map(|(what, when)| Moment { begin: *begin, end: *end, what, when }))
}

fn committed<'a>(
    model: &'a Model,
    who: &str,
    transaction: &Transaction,
    at: Revision,
) -> Result<(String, When<'a>), String> {
    match model.commit_of(transaction) {
        Some((position, found)) if found == at => {
            Ok((format!("clause 3: {who} committed at {at}"), When::Commit(position)))
        }
        Some((_, found)) => {
            Err(format!("clause 1: {who} was told {at} of a commit that a watch shows at {found}"))
        }
        None => Err(format!("clause 6: a watch of everything lost the commit of {who} at {at}")),
    }
}

fn listed<'a>(
    model: &'a Model,
    history: &History,
    asked: &Operation,
    list: &List,
    page: &Page,
) -> Result<Option<(String, When<'a>)>, String> {
    let who = &asked.who;
    let position = model.position(page.revision);
    if !model.shows(position, list, page) {
        return Err(format!("clause 2: {who} was shown what there never was: {list:?} gives {page:?}"));
    }
    let Some(at) = list.at else {
        let what = format!("clause 3: {who} was shown {:?} at {}", list.prefix, page.revision);
        return Ok(Some((what, When::is(move |state| state == position))));
    };
    let compacted = history.operations.iter().find(|operation| {
        operation.end < asked.begin && matches!(operation.what, What::Compacted(to) if to > at)
    });
    // What was before the first commit is nothing, and may be told whatever was forgotten since.
    match compacted.filter(|_| at > Revision(0)) {
        Some(operation) => Err(format!("clause 5: {who} listed {at} after {operation:?}")),
        None if page.revision != at => {
            Err(format!("clause 5: {who} listed {at} and was shown {}", page.revision))
        }
        None => Ok(None),
    }
}

/// Compares what a watch yielded with what it had to.
fn shown<'a>(model: &'a Model, followed: &'a Followed) -> Result<Vec<Moment<'a>>, String> {
    let Followed { who, prefix, after, begin, commits } = followed;
    let mut expected = model.after(*after, prefix);
    let mut moments = Vec::new();
    for (seen, commit) in commits {
        let next = expected.next();
        if next.as_ref() != Some(commit) {
            return Err(format!(
                "clause 6: the watch of {prefix:?} after {after} by {who} shows {commit:?} instead of {next:?}"
            ));
        }
        let position = model.position(commit.revision);
        let what = format!("clause 6: {who} was shown the commit at {}", commit.revision);
        moments.push(Moment {
            begin: *begin,
            end: *seen,
            what,
            when: When::is(move |state| state >= position),
        });
    }
    Ok(moments)
}

/// Returns the position of a revision that somebody was told of.
fn known(model: &Model, who: &str, at: Revision) -> Result<usize, String> {
    let position = if at == Revision(0) { Some(0) } else { model.commit_at(at) };
    position.ok_or_else(|| format!("clause 1: {who} was told of revision {at}, which no commit has"))
}

/// Finds a moment for each answer; see the module.
fn order(mut moments: Vec<Moment<'_>>, last: usize) -> Result<(), String> {
    moments.sort_by_key(|moment| moment.begin);
    let mut answered: Vec<(u64, usize)> = Vec::new();
    for moment in moments {
        let before = answered.iter().filter(|(end, _)| *end < moment.begin).map(|(_, state)| *state);
        let seen = before.max().unwrap_or(0);
        let state = match &moment.when {
            When::Commit(state) => Some(*state).filter(|state| *state > seen),
            When::While(is_true) => (seen..=last).find(|state| is_true(*state)),
        };
        let Some(state) = state else {
            return Err(format!("{}, and {seen} commits were seen before it was asked for", moment.what));
        };
        answered.push((moment.end, state));
    }
    Ok(())
}

/// A store that refuses nearly everything proves nothing.
fn was_busy(history: &History) -> Result<(), String> {
    let count = |of: fn(&What) -> bool| history.operations.iter().filter(|one| of(&one.what)).count();
    let committed = count(|what| matches!(what, What::Committed(..)));
    let open = count(|what| matches!(what, What::MayHaveCommitted(_)));
    if committed < 20 || committed < open {
        return Err(format!("{committed} commits were acknowledged, and {open} were not: that is too few"));
    }
    Ok(())
}
