//! A store around another that fails as a network or a disk does: at random, by a plan, from a seed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};

use crate::metrics::Metrics;
use crate::random::Random;
use crate::storage::{Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction};

/// What goes wrong, and how often; a frequency is in percent.
///
/// All of it is within the contract of [`Storage`], so whoever uses a store has to live with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPlan {
    refused: usize,
    lost: usize,
    delayed: usize,
    longest: Duration,
    cut: usize,
}

impl FaultPlan {
    /// Lets everything go well.
    #[must_use]
    pub fn calm() -> Self {
        Self { refused: 0, lost: 0, delayed: 0, longest: Duration::ZERO, cut: 0 }
    }

    /// Lets a little of everything happen: a plan for a whole test.
    #[must_use]
    pub fn rough() -> Self {
        Self::calm().refuse(8).lose_answers(8).delay(20, Duration::from_millis(3)).cut_watches(5)
    }

    /// Lets so many calls fail with [`StorageError::Unavailable`] before they do anything (default: none).
    #[must_use]
    pub fn refuse(mut self, percent: u8) -> Self {
        self.refused = percent.into();
        self
    }

    /// Lets so many commits and compactions happen and fail with [`StorageError::Unavailable`] all the same (default: none).
    #[must_use]
    pub fn lose_answers(mut self, percent: u8) -> Self {
        self.lost = percent.into();
        self
    }

    /// Lets so many calls, answers and commits in watches wait for up to `longest`, on tokio's clock (default: none).
    #[must_use]
    pub fn delay(mut self, percent: u8, longest: Duration) -> Self {
        (self.delayed, self.longest) = (percent.into(), longest);
        self
    }

    /// Lets a watch end with [`StorageError::Unavailable`] before so many of its commits (default: before none).
    #[must_use]
    pub fn cut_watches(mut self, percent: u8) -> Self {
        self.cut = percent.into();
        self
    }
}

/// A store that fails at times, by a [`FaultPlan`]. Clones share the plan and what chance brings.
///
/// Behind a plan that only delays, the whole suite holds. With errors, [`check_history`](super::check_history) does, and so
/// should everything that is built on a store.
#[derive(Clone)]
pub struct FaultyStorage<S> {
    inner: S,
    chance: Arc<Chance>,
}

/// What decides on each fault, and counts them.
struct Chance {
    plan: Mutex<FaultPlan>,
    random: Random,
    faults: AtomicU64,
}

impl<S: Storage> FaultyStorage<S> {
    /// Lets `inner` fail by this plan. The same seed brings the same faults to the same calls in the same order.
    pub fn new(inner: S, plan: FaultPlan, seed: u64) -> Self {
        let (plan, random) = (Mutex::new(plan), Random::seeded(seed).fork("faults"));
        Self { inner, chance: Arc::new(Chance { plan, random, faults: AtomicU64::new(0) }) }
    }

    /// Goes on by another plan, which holds for open watches, too.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.chance.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// Returns how many calls failed and watches were cut until now.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.chance.faults.load(Ordering::Relaxed)
    }

    /// Returns the store that does not fail.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStorage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStorage").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Chance {
    fn plan(&self) -> FaultPlan {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn happens(&self, percent: usize) -> bool {
        percent > 0 && self.random.below(100) < percent
    }

    async fn delay(&self) {
        let plan = self.plan();
        if self.happens(plan.delayed) {
            let longest = usize::try_from(plan.longest.as_micros()).unwrap_or(usize::MAX - 1);
            tokio::time::sleep(Duration::from_micros(self.random.below(longest + 1) as u64)).await;
        }
    }

    fn fail_if(&self, percent: usize, why: &'static str) -> Result<(), StorageError> {
        if self.happens(percent) {
            self.faults.fetch_add(1, Ordering::Relaxed);
            return Err(StorageError::Unavailable(why.into()));
        }
        Ok(())
    }

    /// Does something that reads.
    async fn read<T>(&self, read: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
        self.delay().await;
        self.fail_if(self.plan().refused, "the call was made to fail")?;
        let answer = read.await;
        self.delay().await;
        answer
    }

    /// Does something that writes, of which the answer may be lost.
    async fn write<T>(
        &self,
        write: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let answer = self.read(write).await?;
        self.fail_if(self.plan().lost, "the answer was made to be lost")?;
        Ok(answer)
    }

    /// Lets a watch be slow, and end before its time.
    fn watch(self: Arc<Self>, commits: Commits) -> Commits {
        let shown = stream::unfold(Some((self, commits)), async |watch| {
            let (chance, mut commits) = watch?;
            let next = commits.next().await?;
            chance.delay().await;
            match chance.fail_if(chance.plan().cut, "the watch was made to end") {
                Ok(()) => Some((next, Some((chance, commits)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        shown.boxed()
    }
}

#[async_trait]
impl<S: Storage> Storage for FaultyStorage<S> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        self.chance.read(self.inner.get(key)).await
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        self.chance.read(self.inner.list(list)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        self.chance.write(self.inner.commit(transaction)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        let commits = self.chance.read(self.inner.watch(prefix, after)).await?;
        Ok(Arc::clone(&self.chance).watch(commits))
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        self.chance.write(self.inner.compact(at)).await
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        self.chance.read(self.inner.revision()).await
    }

    fn check(&self) -> Result<(), StorageError> {
        self.inner.check()
    }

    fn tell(&self, metrics: &Metrics) {
        self.inner.tell(metrics);
    }
}
