//! What readers of a store see: the published versions, and the watches that wait for the next.
//!
//! A watch keeps no buffer. It has a position in the shared history, reads on from there, and waits in line when there
//! is nothing more for it. So a slow reader costs a writer nothing: it finds its position compacted, and ends.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use quarterdeck_core::storage::{Commit, Commits, Revision, StorageError, Transaction};

use super::history::Logged;
use super::versions::{Versions, validate};

/// A watch looks at so many commits before it lets go of the lock for a moment.
const COMMITS_PER_LOOK: usize = 256;

/// Versions that a writer replaces and that any number of readers share.
pub(super) struct Published(Mutex<State>);

struct State {
    versions: Versions,
    watched: BTreeMap<Arc<str>, Watched>,
    next_watch: u64,
    closed: bool,
}

/// The watches of one prefix.
#[derive(Default)]
struct Watched {
    watches: usize,
    /// Those that have seen everything so far, in the order in which they are woken.
    waiting: BTreeMap<u64, Waker>,
    /// Those that were woken and did not look yet, and what they had seen until then.
    woken: BTreeMap<u64, Revision>,
}

impl Published {
    pub(super) fn new(versions: Versions) -> Self {
        Self(Mutex::new(State { versions, watched: BTreeMap::new(), next_watch: 0, closed: false }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the versions")
    }

    /// Reads the versions under the lock: for what takes less time than a clone of them.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Versions) -> T) -> T {
        read(&self.lock().versions)
    }

    /// Returns the versions as they are now.
    pub(super) fn snapshot(&self) -> Versions {
        self.lock().versions.clone()
    }

    /// Checks and does a transaction, and wakes the watches that it concerns.
    pub(super) fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        validate(&transaction.writes)?;
        let mut state = self.lock();
        let logged = state.versions.commit(transaction)?;
        let revision = state.versions.revision();
        let woken = logged.map(|logged| state.touched(&[logged])).unwrap_or_default();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        Ok(revision)
    }

    /// Replaces the versions by later ones, and wakes the watches that the commits between them concern. Returns what was
    /// replaced: to drop it takes a while, for which nobody should wait.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub(super) fn publish(&self, versions: Versions, commits: &[Arc<Logged>]) -> Versions {
        let mut state = self.lock();
        let replaced = std::mem::replace(&mut state.versions, versions);
        let woken = state.touched(commits);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        replaced
    }

    /// Ends the watches once they have shown what is there, and refuses reads from now on.
    #[cfg(feature = "embedded")]
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting: Vec<Waker> = state
            .watched
            .values_mut()
            .flat_map(|watched| std::mem::take(&mut watched.waiting).into_values())
            .collect();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Returns whether [`Published::close`] was called.
    #[cfg(feature = "embedded")]
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Forgets what was replaced at or before `at`.
    pub(super) fn compact(&self, at: Revision) -> Result<(), StorageError> {
        // The guard is gone at the end of the statement, before what was forgotten is dropped.
        let forgotten = self.lock().versions.compact(at)?;
        drop(forgotten);
        Ok(())
    }

    pub(super) fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        let mut state = self.lock();
        state.versions.within(after)?;
        let id = state.next_watch;
        state.next_watch += 1;
        let prefix: Arc<str> = prefix.into();
        state.watched.entry(Arc::clone(&prefix)).or_default().watches += 1;
        drop(state);
        Ok(Box::pin(Watch { published: Arc::clone(self), prefix, id, position: after, ended: false }))
    }
}

impl State {
    /// Takes out the wakers of those who wait for one of the commits, in a fixed order.
    fn touched(&mut self, commits: &[Arc<Logged>]) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for (prefix, watched) in &mut self.watched {
            if watched.waiting.is_empty() {
                continue;
            }
            let Some(first) = commits.iter().find(|logged| logged.touches(prefix)) else { continue };
            let seen = Revision(first.revision.0 - 1);
            for (id, waker) in std::mem::take(&mut watched.waiting) {
                watched.woken.insert(id, seen);
                wakers.push(waker);
            }
        }
        wakers
    }
}

struct Watch {
    published: Arc<Published>,
    prefix: Arc<str>,
    id: u64,
    position: Revision,
    ended: bool,
}

/// What a watch finds when it looks once.
enum Look {
    Commit(Commit),
    More,
    Nothing,
}

impl Watch {
    fn look(&mut self, context: &Context<'_>) -> Result<Look, StorageError> {
        let mut guard = self.published.lock();
        let state = &mut *guard;
        let watched = state.watched.get_mut(&self.prefix).expect("a prefix stays while it is watched");
        if let Some(seen) = watched.woken.remove(&self.id) {
            self.position = self.position.max(seen);
        } else if watched.waiting.contains_key(&self.id) {
            self.position = state.versions.revision();
        }
        if self.position < state.versions.compacted() {
            return Err(StorageError::Compacted(state.versions.compacted()));
        }
        let mut looks = 0;
        let found = state.versions.visit_after(self.position, |logged| {
            if looks == COMMITS_PER_LOOK {
                return ControlFlow::Break(None);
            }
            looks += 1;
            self.position = logged.revision;
            if logged.touches(&self.prefix) {
                return ControlFlow::Break(Some(Arc::clone(logged)));
            }
            ControlFlow::Continue(())
        });
        match found {
            ControlFlow::Continue(()) => {
                if state.closed {
                    return Err(StorageError::Unavailable("the store was closed".into()));
                }
                let stale = watched.waiting.insert(self.id, context.waker().clone());
                // A waker may run anything when it is dropped: not under the lock.
                drop(guard);
                drop(stale);
                Ok(Look::Nothing)
            }
            ControlFlow::Break(None) => Ok(Look::More),
            ControlFlow::Break(Some(logged)) => {
                drop(guard);
                Ok(logged.under(&self.prefix).map_or(Look::More, Look::Commit))
            }
        }
    }
}

impl Stream for Watch {
    type Item = Result<Commit, StorageError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            match self.look(context) {
                Ok(Look::Commit(commit)) => return Poll::Ready(Some(Ok(commit))),
                Ok(Look::More) => {}
                Ok(Look::Nothing) => return Poll::Pending,
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut guard = self.published.lock();
        let Some(watched) = guard.watched.get_mut(&self.prefix) else { return };
        watched.watches -= 1;
        watched.woken.remove(&self.id);
        let waker = watched.waiting.remove(&self.id);
        if watched.watches == 0 {
            guard.watched.remove(&self.prefix);
        }
        drop(guard);
        drop(waker);
    }
}
