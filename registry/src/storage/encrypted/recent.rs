//! What was encrypted last, for the watch that is about to see it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use quarterdeck_core::storage::Key;

/// How many values are kept at most. Of what comes on top the oldest is decrypted.
const CAPACITY: usize = 256;
/// Larger values are not kept.
const LARGEST: usize = 32 * 1024;

/// Values on their way through the store.
///
/// The feed of the cache knows an object that it need not parse by the place of its bytes in memory. So a watch gives out the
/// bytes that were committed, not equal ones, wherever it can: that a stored value is one of these is told by its nonce and
/// ciphertext, and by its key, which is as good as opening it.
#[derive(Default)]
pub(super) struct Recent(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    values: VecDeque<Value>,
}

struct Value {
    number: u64,
    key: Key,
    sealed: Bytes,
    plain: Bytes,
}

impl Recent {
    /// Keeps a value that is about to be committed. Returns its number, if it is kept.
    pub(super) fn add(&self, key: &Key, sealed: Bytes, plain: Bytes) -> Option<u64> {
        if plain.len() > LARGEST {
            return None;
        }
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let oldest = if state.values.len() == CAPACITY { state.values.pop_front() } else { None };
        state.values.push_back(Value { number, key: key.clone(), sealed, plain });
        drop(state);
        drop(oldest);
        Some(number)
    }

    /// Takes out what a stored value says.
    pub(super) fn take(&self, key: &Key, sealed: &Bytes) -> Option<Bytes> {
        let mut state = self.lock();
        let index = state.values.iter().position(|value| value.key == *key && value.sealed == *sealed)?;
        state.values.remove(index).map(|value| value.plain)
    }

    /// Drops a value that was not committed.
    pub(super) fn forget(&self, number: u64) {
        self.lock().values.retain(|value| value.number != number);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the values")
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().values.len()
    }
}
