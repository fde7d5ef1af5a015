//! What becomes durable together: transactions and compactions, checked and applied one after the other, and their records.

use std::sync::Arc;

use quarterdeck_core::storage::{Revision, Transaction};

use super::super::history::{Forgotten, Logged};
use super::super::versions::Versions;
use super::format::{FRAME_HEADER, write_commit, write_compact};
use super::queue::{Answer, Caller, Request, Taken};

/// See the module.
#[derive(Debug)]
pub(super) struct Batch {
    /// Room for a frame's header, then the records.
    pub(super) frame: Vec<u8>,
    pub(super) commits: Vec<Arc<Logged>>,
    /// History that is forgotten in it. To drop it takes a while: not what anybody should wait for.
    pub(super) forgotten: Vec<Forgotten>,
    /// Who is to be told what, once it is durable.
    pub(super) answers: Vec<(Caller, Answer)>,
    /// What it takes of what may wait.
    pub(super) room: usize,
}

impl Batch {
    /// Applies what was taken to the versions. `frame` is memory to use.
    pub(super) fn apply(taken: Taken, versions: &mut Versions, mut frame: Vec<u8>) -> Self {
        frame.clear();
        frame.resize(FRAME_HEADER, 0);
        let (commits, answers) =
            (Vec::with_capacity(taken.waiting.len()), Vec::with_capacity(taken.waiting.len()));
        let mut batch = Self { frame, commits, forgotten: Vec::new(), answers, room: taken.room };
        for (caller, request) in taken.waiting {
            let answer = match request {
                Request::Commit(transaction) => batch.commit(transaction, versions),
                Request::Compact(at) => batch.compact(at, versions),
            };
            batch.answers.push((caller, answer));
        }
        batch
    }

    /// Returns whether there is something to write, and not only something to answer.
    pub(super) fn has_records(&self) -> bool {
        self.frame.len() > FRAME_HEADER
    }

    fn commit(&mut self, transaction: Transaction, versions: &mut Versions) -> Answer {
        if let Some(logged) = versions.commit(transaction)? {
            write_commit(&mut self.frame, &logged);
            self.commits.push(logged);
        }
        Ok(versions.revision())
    }

    fn compact(&mut self, at: Revision, versions: &mut Versions) -> Answer {
        let before = versions.compacted();
        let forgotten = versions.compact(at)?;
        if versions.compacted() > before {
            write_compact(&mut self.frame, at);
            self.forgotten.push(forgotten);
        }
        Ok(versions.revision())
    }
}
