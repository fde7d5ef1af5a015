//! Which objects changed, for the driver's task to look at.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use quarterdeck_core::client::ObjectKey;
use tokio::sync::Notify;

/// An object that changed in some way; what it is now is in the informer's store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Node(ObjectKey),
    Pod(ObjectKey),
}

/// Collects changes in the order in which they came, each object once: so it is bounded by the number of objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Inbox(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    order: VecDeque<Change>,
    known: BTreeSet<Change>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn put(&self, change: Change) {
        let mut state = self.lock();
        if state.known.insert(change.clone()) {
            state.order.push_back(change);
            drop(state);
            self.0.filled.notify_one();
        }
    }

    /// Waits for changes and takes all of them. Dropping the future loses none.
    pub(super) async fn take(&self) -> VecDeque<Change> {
        loop {
            let filled = self.0.filled.notified();
            {
                let mut state = self.lock();
                if !state.order.is_empty() {
                    state.known.clear();
                    return std::mem::take(&mut state.order);
                }
            }
            filled.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder panics")
    }
}
