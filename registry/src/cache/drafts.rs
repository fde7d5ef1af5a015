//! What writers hand to the feed, so that it does not parse again what was parsed just before.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::object::Draft;

/// How many drafts wait for their commits at most. Of what comes on top the oldest is parsed again.
const CAPACITY: usize = 256;
/// Larger objects are not handed over: of a commit whose answer was lost, nobody may ever take them.
const LARGEST: usize = 32 * 1024;

/// Drafts on their way through the store, in the order in which they were written.
///
/// They are recognised by their bytes, all that an object is made of: a store that is elsewhere hands out others than it was
/// given.
#[derive(Debug, Default)]
pub(super) struct Drafts(Mutex<VecDeque<Draft>>);

impl Drafts {
    /// Adds a draft that is about to be committed.
    pub(super) fn add(&self, draft: &Draft) {
        if draft.bytes().len() > LARGEST {
            return;
        }
        let mut drafts = self.lock();
        let oldest = if drafts.len() == CAPACITY { drafts.pop_front() } else { None };
        drafts.push_back(draft.clone());
        drop(drafts);
        drop(oldest);
    }

    /// Takes out the draft that has exactly these bytes.
    pub(super) fn take(&self, bytes: &Bytes) -> Option<Draft> {
        let mut drafts = self.lock();
        let index = drafts.iter().position(|draft| draft.bytes() == bytes)?;
        drafts.remove(index)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Draft>> {
        self.0.lock().expect("nothing panics while it holds the drafts")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Resource, Scope};

    fn draft(name: &str) -> Draft {
        let maps = Resource::builtin("", "v1", "ConfigMap", "configmaps", Scope::Namespaced);
        Draft::new(&maps, &json!({"metadata": {"name": name}}))
    }

    #[test]
    fn a_draft_is_handed_over_once_and_only_for_the_same_bytes() {
        let (drafts, one, other) = (Drafts::default(), draft("one"), draft("two"));
        drafts.add(&one);
        // As it comes back from a store that is elsewhere.
        let copy = Bytes::copy_from_slice(one.bytes());

        assert!(drafts.take(other.bytes()).is_none());
        assert!(drafts.take(&copy).is_some());
        assert!(drafts.take(one.bytes()).is_none());
    }

    #[test]
    fn drafts_that_nobody_takes_make_room() {
        let (drafts, first) = (Drafts::default(), draft("first"));

        drafts.add(&first);
        (0..CAPACITY).for_each(|index| drafts.add(&draft(&index.to_string())));

        assert!(drafts.take(first.bytes()).is_none());
        assert_eq!(drafts.lock().len(), CAPACITY);
    }
}
