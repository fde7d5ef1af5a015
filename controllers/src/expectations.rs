//! What a controller did that its informer has not shown yet.
//!
//! A controller that decides on a stale view makes too many pods or deletes too many. So it writes down, before it asks the
//! API server, the name of each pod that it creates and the uid of each that it deletes, and does neither again until its
//! informer showed them all. What never shows (the answer to the request was lost; the pod came and went unseen) is settled
//! by asking the server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use quarterdeck_core::client::ObjectKey;
use tokio::time::Instant;

/// What is expected to show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expected {
    /// A pod of this name, existing or gone again.
    Created(String),
    /// The end, or its beginning, of the pod of this name and uid.
    Deleted(String, String),
}

/// What each owner of pods waits for.
#[derive(Debug, Default)]
pub(crate) struct Expectations(Mutex<BTreeMap<ObjectKey, BTreeMap<Expected, Instant>>>);

impl Expectations {
    /// After this time without a sign, the server is asked.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

    pub(crate) fn expect(&self, owner: &ObjectKey, what: Expected) {
        self.lock().entry(owner.clone()).or_default().insert(what, Instant::now());
    }

    /// It showed, or will never.
    pub(crate) fn settle(&self, owner: &ObjectKey, what: &Expected) {
        let mut owners = self.lock();
        if let Some(expected) = owners.get_mut(owner) {
            expected.remove(what);
            if expected.is_empty() {
                owners.remove(owner);
            }
        }
    }

    /// The pod called `name` showed: it is there (with `alive`, and not being deleted) or not.
    pub(crate) fn saw(&self, owner: &ObjectKey, name: &str, uid: &str, alive: bool) {
        self.settle(owner, &Expected::Created(name.into()));
        if !alive {
            self.settle(owner, &Expected::Deleted(name.into(), uid.into()));
        }
    }

    pub(crate) fn are_met(&self, owner: &ObjectKey) -> bool {
        !self.lock().contains_key(owner)
    }

    pub(crate) fn forget(&self, owner: &ObjectKey) {
        self.lock().remove(owner);
    }

    /// Returns what has not shown for so long that the server is to be asked.
    pub(crate) fn overdue(&self, owner: &ObjectKey) -> BTreeSet<Expected> {
        let owners = self.lock();
        let expected = owners.get(owner).into_iter().flatten();
        expected
            .filter(|(_, since)| since.elapsed() >= Self::PATIENCE)
            .map(|(expected, _)| expected.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, BTreeMap<Expected, Instant>>> {
        self.0.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expectations_are_met_when_every_pod_showed() {
        let (expectations, owner) = (Expectations::default(), ObjectKey::new("ns", "rs"));
        expectations.expect(&owner, Expected::Created("a".into()));
        expectations.expect(&owner, Expected::Deleted("b".into(), "2".into()));

        expectations.saw(&owner, "a", "1", true);
        expectations.saw(&owner, "b", "2", true);
        assert!(!expectations.are_met(&owner), "b still lives");
        expectations.saw(&owner, "b", "2", false);

        assert!(expectations.are_met(&owner));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_show_is_overdue_after_a_while() {
        let (expectations, owner) = (Expectations::default(), ObjectKey::new("ns", "rs"));
        expectations.expect(&owner, Expected::Created("a".into()));
        assert!(expectations.overdue(&owner).is_empty());

        tokio::time::advance(Expectations::PATIENCE).await;

        assert_eq!(expectations.overdue(&owner), [Expected::Created("a".into())].into());
    }
}
