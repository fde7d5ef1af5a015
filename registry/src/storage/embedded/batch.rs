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
    /// Makes an empty one. `frame` is memory to use.
    pub(super) fn new(mut frame: Vec<u8>) -> Self {
        frame.clear();
        frame.resize(FRAME_HEADER, 0);
        Self { frame, commits: Vec::new(), forgotten: Vec::new(), answers: Vec::new(), room: 0 }
    }

    /// Applies what was taken to the versions behind all that is in here.
    pub(super) fn apply(&mut self, taken: Taken, versions: &mut Versions) {
        self.room += taken.room;
        self.commits.reserve(taken.waiting.len());
        self.answers.reserve(taken.waiting.len());
        for (caller, request) in taken.waiting {
            let answer = match request {
                Request::Commit(transaction) => self.commit(transaction, versions),
                Request::Compact(at) => self.compact(at, versions),
            };
            self.answers.push((caller, answer));
        }
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
