//! The pods that wait for a node.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quarterdeck_core::scheduling::{NodeId, PodInfo, Symbol};
use tokio::time::Instant;

/// How long a pod waits after it could not be placed: this at first, doubling up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// A pod that has no node.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) pod: Arc<PodInfo>,
    /// Its place among those of equal importance.
    arrival: u64,
    /// When it came.
    pub(super) since: Instant,
    /// How often it was tried in vain.
    pub(super) attempts: u32,
    /// When it is tried again anyway.
    retry_at: Option<Instant>,
    /// Why it is tried before that.
    pub(super) hint: Option<Hint>,
    /// What was reported last.
    pub(super) reported: Option<String>,
    /// What would make it worth trying again.
    until: Until,
}

/// What might make a pod schedulable that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Until {
    /// A change of a node where it might fit.
    Room,
    /// Any change of the cluster.
    Change,
    /// Nothing but time.
    Time,
}

/// What happened that might help.
#[derive(Debug, Clone)]
pub(super) enum Hint {
    /// These nodes changed.
    Nodes(Arc<[NodeId]>),
    /// So much, or something so vague, that it is simplest to try.
    Anything,
}

/// How many pods wait: to be tried now, for time to pass, for the cluster to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Depths {
    pub(super) active: usize,
    pub(super) backoff: usize,
    pub(super) unschedulable: usize,
}

type Rank = (Reverse<i32>, u64, Symbol);

impl Waiting {
    fn rank(&self) -> Rank {
        (Reverse(self.pod.priority), self.arrival, self.pod.key.clone())
    }

    /// Returns how long it waits after the attempts so far.
    fn backoff(&self) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        SHORTEST.saturating_mul(1 << doublings).min(LONGEST)
    }
}

/// Pods that wait for a node: those to be tried now, by importance and arrival, and those to be tried later.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pods: BTreeMap<Symbol, Waiting>,
    ready: BTreeSet<Rank>,
    /// Those to be tried later, by time.
    later: BTreeSet<(Instant, u64, Symbol)>,
    /// The same, by what would make it sooner.
    sooner: BTreeMap<Until, BTreeSet<Symbol>>,
    arrivals: u64,
}

impl Queue {
    /// Takes in a pod, or what is new about it. What was changed about a pod that waits may help it: it is tried at once.
    /// That it was nominated is the driver's own doing, and helps nobody.
    pub(super) fn offer(&mut self, pod: Arc<PodInfo>) {
        if let Some(known) = self.pods.get_mut(&pod.key) {
            let mut nominated = known.pod.as_ref().clone();
            nominated.nominated.clone_from(&pod.nominated);
            if nominated == *pod {
                known.pod = pod;
                return;
            }
        }
        let waiting = match self.remove(&pod.key).filter(|known| known.pod.uid == pod.uid) {
            Some(known) => Waiting { pod, hint: None, retry_at: None, ..known },
            None => {
                self.arrivals += 1;
                Waiting {
                    pod,
                    arrival: self.arrivals,
                    since: Instant::now(),
                    attempts: 0,
                    retry_at: None,
                    hint: None,
                    reported: None,
                    until: Until::Time,
                }
            }
        };
        self.make_ready(waiting);
    }

    /// Takes a pod out.
    pub(super) fn remove(&mut self, key: &Symbol) -> Option<Waiting> {
        let waiting = self.pods.remove(key)?;
        self.ready.remove(&waiting.rank());
        if let Some(at) = waiting.retry_at {
            self.later.remove(&(at, waiting.arrival, key.clone()));
        }
        if let Some(sleepers) = self.sooner.get_mut(&waiting.until) {
            sleepers.remove(key);
        }
        Some(waiting)
    }

    /// Takes out the pod that is to be tried next.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let (_, _, key) = self.ready.first()?.clone();
        self.remove(&key)
    }

    /// Returns how many pods wait for what.
    pub(super) fn depths(&self) -> Depths {
        let until = |what: Until| self.sooner.get(&what).map_or(0, BTreeSet::len);
        let unschedulable = until(Until::Room) + until(Until::Change);
        Depths { active: self.ready.len(), backoff: until(Until::Time), unschedulable }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts a pod back that was tried in vain, to be tried again when `until` comes true, or after its back-off.
    pub(super) fn put_back(&mut self, mut waiting: Waiting, until: Until) {
        waiting.attempts = waiting.attempts.saturating_add(1);
        waiting.retry_at = Some(Instant::now() + waiting.backoff());
        waiting.until = until;
        self.put_back_unhelped(waiting);
    }

    /// Puts a pod back that a hint did not help: it waits for what it waited for before.
    pub(super) fn put_back_unhelped(&mut self, mut waiting: Waiting) {
        let key = waiting.pod.key.clone();
        waiting.hint = None;
        let at = *waiting.retry_at.get_or_insert_with(Instant::now);
        self.later.insert((at, waiting.arrival, key.clone()));
        self.sooner.entry(waiting.until).or_default().insert(key.clone());
        self.pods.insert(key, waiting);
    }

    fn make_ready(&mut self, waiting: Waiting) {
        self.ready.insert(waiting.rank());
        self.pods.insert(waiting.pod.key.clone(), waiting);
    }

    /// Returns when the next pod is to be tried that waits for its time.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.later.first().map(|(at, _, _)| *at)
    }

    /// Makes ready whose time has come.
    pub(super) fn retry_due(&mut self) {
        let now = Instant::now();
        while let Some((_, _, key)) = self.later.first().filter(|(at, _, _)| *at <= now).cloned() {
            let Some(mut waiting) = self.remove(&key) else { return };
            waiting.retry_at = None;
            self.make_ready(waiting);
        }
    }

    /// Makes ready, for the reason `hint`, those that wait for `until` and that `helped` says may be helped.
    pub(super) fn retry_early(&mut self, until: Until, hint: &Hint, helped: impl Fn(&PodInfo) -> bool) {
        let sleepers = self.sooner.get(&until).into_iter().flatten();
        let woken: Vec<_> = sleepers
            .filter(|key| self.pods.get(*key).is_some_and(|waiting| helped(&waiting.pod)))
            .cloned()
            .collect();
        for key in woken {
            if let Some(waiting) = self.remove(&key) {
                self.make_ready(Waiting { hint: Some(hint.clone()), ..waiting });
            }
        }
    }
}
