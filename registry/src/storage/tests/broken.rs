//! Stores that break one clause each: proof that the contract suite catches them.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, stream};
use quarterdeck_core::storage::{
    Change, Commit, Commits, Entry, Expect, Key, List, Page, Revision, Storage, StorageError, Transaction,
    Write,
};
use quarterdeck_core::testing::storage::{self as suite, FaultPlan, FaultyStorage};
use tokio::sync::Semaphore;

use crate::storage::{MemoryStorage, Retention};

/// How a store is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    AnswersWithEarlierRevision,
    CommitsEachWriteAlone,
    StartsAtRevision1,
    WritesBeforeItChecks,
    TakesModifiedForPresent,
    TakesModified0ForAbsent,
    BlamesTheFirstCondition,
    CountsReadsAsCommits,
    TakesTheLastOfTwoWrites,
    ChecksNothing,
    ReadsOneCommitBehind,
    ListsOneCommitBehind,
    ListsBackwards,
    ListsWholePathSegments,
    RepeatsTheKeyThatAPageStartsAfter,
    KnowsNotHowManyFollow,
    StartsPagesAtExistingKeysOnly,
    ListsThePresentForThePast,
    PagesThePresent,
    NeverCompacts,
    ListsThePresentForTheFuture,
    WatchesFromNow,
    WatchesFromItsRevisionOn,
    WatchesEverything,
    ForgetsWhatWasReplaced,
    LosesEveryTenthCommit,
    RepeatsEveryTenthCommit,
    WatchesTheFuture,
    WaitsForReaders,
    DropsWhatReadersMiss,
    DeletesWhatItCompacts,
    CompactsOneTooMany,
    CompactsBackwards,
    CompactsTheFuture,
    KeepsTombstones,
    HidesDeletions,
    KeepsCreated,
    DeletesWhatIsAbsent,
    WritesHalfWhenDropped,
    WritesWhenACompactionIsDropped,
    WaitsForReadersThatAreGone,
    TakesSmallTransactionsOnly,
    CutsLargeValues,
    WritesTheRestOfWhatIsTooLarge,
    ListsThePresentForTheForgotten,
    ForgetsTheMiddle,
    ReadsKeyByKey,
    SwapsNeighbours,
    RemembersReads,
    SaysConflictAfterItWrote,
    AnswersBeforeItCommits,
    WritesHalfAndFails,
}

use Fault::*;

/// Readers may be so many commits behind a store that waits for them.
const READER_BUFFER: usize = 100;

/// A store that takes less than it should takes this.
const SMALL: usize = 64 << 10;

#[derive(Debug)]
struct Broken {
    inner: MemoryStorage,
    fault: Fault,
    readers: Arc<Mutex<Vec<Arc<Semaphore>>>>,
    remembered: Mutex<BTreeMap<Key, Option<Entry>>>,
}

/// Has writers wait for a reader from when it is dropped.
struct Gone(Arc<Mutex<Vec<Arc<Semaphore>>>>);

impl Gone {
    /// Does nothing: who calls it has to keep it.
    fn stay(&self) {}
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(Arc::new(Semaphore::new(READER_BUFFER)));
    }
}

impl Broken {
    fn new(fault: Fault) -> Self {
        let inner = match fault {
            DropsWhatReadersMiss | ListsThePresentForTheForgotten => {
                MemoryStorage::with_retention(Retention { commits: 100, bytes: usize::MAX })
            }
            _ => MemoryStorage::new(),
        };
        Self { inner, fault, readers: Arc::default(), remembered: Mutex::default() }
    }

    async fn one_behind(&self) -> Result<Revision, StorageError> {
        Ok(Revision(self.inner.revision().await?.0.saturating_sub(1)))
    }

    /// Reads the keys of a page one after the other, so that each is as it is then.
    async fn key_by_key(&self, list: List) -> Result<Page, StorageError> {
        let mut page = self.inner.list(list).await?;
        let mut entries = Vec::new();
        for entry in page.entries {
            tokio::task::yield_now().await;
            entries.extend(self.inner.get(&entry.key).await?);
        }
        page.entries = entries;
        Ok(page)
    }

    async fn each_alone(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        let mut conditions = transaction.conditions;
        let mut last = self.inner.revision().await?;
        for write in transaction.writes {
            let one = Transaction { conditions: std::mem::take(&mut conditions), writes: vec![write] };
            last = self.inner.commit(one).await?;
            tokio::task::yield_now().await;
        }
        Ok(last)
    }

    /// Does the wrong thing with what is large.
    fn bound(&self, transaction: &mut Transaction) -> Result<(), StorageError> {
        let size = |write: &Write| match write {
            Write::Put(_, value) => value.len(),
            Write::Delete(_) => 0,
        };
        let total: usize = transaction.writes.iter().map(size).sum();
        match self.fault {
            TakesSmallTransactionsOnly if total > SMALL => {
                return Err(StorageError::Invalid("more than the store takes".into()));
            }
            WritesTheRestOfWhatIsTooLarge => transaction.writes.retain(|write| size(write) <= 2 << 20),
            CutsLargeValues => {
                for write in &mut transaction.writes {
                    if let Write::Put(_, value) = write {
                        value.truncate(SMALL);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn change_conditions(&self, transaction: &mut Transaction) -> Result<(), StorageError> {
        for condition in &mut transaction.conditions {
            condition.expect = match (self.fault, condition.expect) {
                (TakesModifiedForPresent, Expect::Modified(_)) => Expect::Present,
                (TakesModified0ForAbsent, Expect::Modified(Revision(0))) => Expect::Absent,
                (_, expect) => expect,
            };
        }
        match self.fault {
            ChecksNothing => transaction.conditions.clear(),
            CountsReadsAsCommits if transaction.writes.is_empty() => {
                transaction.writes.push(Write::Put("/reads".into(), "".into()));
            }
            TakesTheLastOfTwoWrites => {
                let writes = std::mem::take(&mut transaction.writes);
                for write in writes.into_iter().rev() {
                    if transaction.writes.iter().all(|kept| kept.key() != write.key()) {
                        transaction.writes.insert(0, write);
                    }
                }
            }
            _ => {}
        }
        for write in &mut transaction.writes {
            let Write::Delete(key) = write else { continue };
            if self.fault == DeletesWhatIsAbsent && self.inner.get(key).await?.is_none() {
                self.inner.commit(Transaction::new().put(key.clone(), "")).await?;
            }
            if self.fault == KeepsTombstones {
                *write = Write::Put(key.clone(), "".into());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Storage for Broken {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        if self.fault == ReadsOneCommitBehind {
            let page = self.inner.list(List::prefix(key.as_str()).at(self.one_behind().await?)).await?;
            return Ok(page.entries.into_iter().find(|entry| entry.key == *key));
        }
        if self.fault == RemembersReads
            && let Some(remembered) = self.remembered.lock().unwrap().remove(key)
        {
            return Ok(remembered);
        }
        let mut entry = self.inner.get(key).await?;
        if self.fault == RemembersReads {
            self.remembered.lock().unwrap().insert(key.clone(), entry.clone());
        }
        if let Some(entry) = entry.as_mut().filter(|_| self.fault == KeepsCreated) {
            entry.created = Revision(1);
        }
        Ok(entry)
    }

    async fn list(&self, mut list: List) -> Result<Page, StorageError> {
        let now = self.inner.revision().await?;
        match self.fault {
            ReadsOneCommitBehind | ListsOneCommitBehind if list.at.is_none() => {
                list.at = Some(self.one_behind().await?);
            }
            ListsWholePathSegments => list.prefix = list.prefix.trim_end_matches('/').to_owned(),
            StartsPagesAtExistingKeysOnly => {
                if let Some(after) = &list.after
                    && self.inner.get(after).await?.is_none()
                {
                    list.after = None;
                }
            }
            ListsThePresentForThePast => list.at = None,
            PagesThePresent if list.after.is_some() => list.at = None,
            ListsThePresentForTheFuture => list.at = list.at.filter(|at| *at <= now),
            ListsThePresentForTheForgotten => list.at = list.at.filter(|at| at.0 + 100 >= now.0),
            ForgetsTheMiddle if list.at.is_some_and(|at| (700..800).contains(&at.0)) => {
                return Err(StorageError::Compacted(Revision(800)));
            }
            _ => {}
        }
        let after = list.after.clone();
        let asked = list.at;
        if self.fault == ReadsKeyByKey && list.at.is_none() {
            return self.key_by_key(list).await;
        }
        let mut page = self.inner.list(list).await?;
        match self.fault {
            StartsAtRevision1 => page.revision.0 += 1,
            ListsBackwards => page.entries.reverse(),
            RepeatsTheKeyThatAPageStartsAfter => {
                if let Some(repeated) = self.inner.get(&after.unwrap_or("".into())).await? {
                    page.entries.insert(0, repeated);
                }
            }
            KnowsNotHowManyFollow => page.remaining = page.remaining.min(1),
            ListsThePresentForThePast => page.revision = asked.unwrap_or(page.revision),
            _ => {}
        }
        Ok(page)
    }

    async fn commit(&self, mut transaction: Transaction) -> Result<Revision, StorageError> {
        self.change_conditions(&mut transaction).await?;
        self.bound(&mut transaction)?;
        match self.fault {
            WritesHalfAndFails if transaction.writes.len() > 2 && transaction.conditions.is_empty() => {
                transaction.writes.pop();
                self.inner.commit(transaction).await?;
                return Err(StorageError::Unavailable("half of it is written".into()));
            }
            CommitsEachWriteAlone | WritesHalfWhenDropped => return self.each_alone(transaction).await,
            WritesBeforeItChecks => {
                if let Some(write) = transaction.writes.first().cloned() {
                    let first = Transaction { conditions: Vec::new(), writes: vec![write] };
                    self.inner.commit(first).await?;
                }
            }
            WaitsForReaders | WaitsForReadersThatAreGone => {
                let readers = self.readers.lock().unwrap().clone();
                for reader in readers {
                    reader.acquire().await.expect("never closed").forget();
                }
            }
            _ => {}
        }
        if self.fault == AnswersBeforeItCommits && transaction.conditions.is_empty() {
            let (inner, revision) = (self.inner.clone(), self.inner.revision().await?);
            tokio::spawn(async move { inner.commit(transaction).await });
            return Ok(Revision(revision.0 + 1));
        }
        let conditions = transaction.conditions.clone();
        let writes = !transaction.writes.is_empty();
        let result = self.inner.commit(transaction).await;
        match (self.fault, result) {
            (SaysConflictAfterItWrote, Ok(revision))
                if writes && revision.0.is_multiple_of(10) && !conditions.is_empty() =>
            {
                let first = conditions.into_iter().next().expect("there is a condition");
                Err(StorageError::Conflict { found: None, key: first.key, expected: first.expect })
            }
            (AnswersWithEarlierRevision, Ok(revision)) => Ok(Revision(revision.0.saturating_sub(1))),
            (BlamesTheFirstCondition, Err(StorageError::Conflict { .. })) => {
                let first = conditions.into_iter().next().expect("a condition failed");
                Err(StorageError::Conflict { key: first.key, expected: first.expect, found: None })
            }
            (_, result) => result,
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        let now = self.inner.revision().await?;
        let from = match self.fault {
            WatchesFromNow => now,
            WatchesFromItsRevisionOn => Revision(after.0.saturating_sub(1)),
            WatchesTheFuture => after.min(now),
            _ => after,
        };
        let prefix = if self.fault == WatchesEverything { "" } else { prefix };
        let commits = self.inner.watch(prefix, from).await?;
        if self.fault == WaitsForReadersThatAreGone {
            let gone = Gone(Arc::clone(&self.readers));
            return Ok(commits.inspect(move |_| gone.stay()).boxed());
        }
        if self.fault == SwapsNeighbours {
            return Ok(swapping(commits));
        }
        let (fault, reader) = (self.fault, Arc::new(Semaphore::new(READER_BUFFER)));
        self.readers.lock().unwrap().push(Arc::clone(&reader));
        if fault == DropsWhatReadersMiss {
            return Ok(reconnecting(self.inner.clone(), prefix.to_owned(), commits));
        }
        let commits = commits.flat_map(move |item| {
            stream::iter(item.map_or_else(
                |error| vec![Err(error)],
                |commit| damaged(fault, &reader, commit).into_iter().map(Ok).collect::<Vec<_>>(),
            ))
        });
        Ok(commits.boxed())
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        let now = self.inner.revision().await?;
        match self.fault {
            NeverCompacts => return if at > now { Err(StorageError::Future(now)) } else { Ok(()) },
            CompactsOneTooMany => return self.inner.compact(Revision(at.0 + 1).min(now)).await,
            CompactsBackwards => return self.inner.compact(now).await,
            CompactsTheFuture => {
                self.inner.compact(at.min(now)).await?;
                return Ok(());
            }
            DeletesWhatItCompacts => {
                for entry in self.inner.list(List::prefix("")).await?.entries {
                    if entry.modified < at {
                        self.inner.commit(Transaction::new().delete(entry.key)).await?;
                    }
                }
            }
            WritesWhenACompactionIsDropped => {
                self.inner.commit(Transaction::new().put("/w/a", "compacting")).await?;
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        self.inner.compact(at).await
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        let revision = self.inner.revision().await?;
        Ok(if self.fault == StartsAtRevision1 { Revision(revision.0 + 1) } else { revision })
    }
}

/// Goes on from the present when it falls behind, as if nothing had been missed.
fn reconnecting(store: MemoryStorage, prefix: String, commits: Commits) -> Commits {
    let commits = stream::unfold((store, prefix, commits), async |(store, prefix, mut commits)| {
        loop {
            match commits.next().await? {
                Ok(commit) => return Some((Ok(commit), (store, prefix, commits))),
                Err(_) => {
                    let now = store.revision().await.ok()?;
                    commits = store.watch(&prefix, Revision(now.0 - 1)).await.ok()?;
                }
            }
        }
    });
    commits.boxed()
}

/// Yields what is ready two at a time, the later one first.
fn swapping(commits: Commits) -> Commits {
    let pairs = commits.ready_chunks(2).flat_map(|mut pair| {
        pair.reverse();
        stream::iter(pair)
    });
    pairs.boxed()
}

fn damaged(fault: Fault, reader: &Semaphore, mut commit: Commit) -> Vec<Commit> {
    let tenth = commit.revision.0.is_multiple_of(10) || commit.revision.0 == 3;
    match fault {
        LosesEveryTenthCommit if tenth => Vec::new(),
        RepeatsEveryTenthCommit if tenth => vec![commit.clone(), commit],
        WaitsForReaders => {
            reader.add_permits(1);
            vec![commit]
        }
        ForgetsWhatWasReplaced => {
            for change in &mut commit.changes {
                if let Change::Put { previous, .. } = change {
                    *previous = None;
                }
            }
            vec![commit]
        }
        HidesDeletions => {
            commit.changes.retain(|change| matches!(change, Change::Put { .. }));
            vec![commit]
        }
        _ => vec![commit],
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

/// Asserts that the case of the suite fails on a store with the fault, and because of what the case asserts.
macro_rules! assert_caught {
    ($($fault:ident by $($case:ident)+;)+) => {$($({
        let broken = AssertUnwindSafe(suite::$case(Broken::new($fault))).catch_unwind().await;
        let Err(panic) = broken else {
            panic!("{} does not catch a store that {:?}", stringify!($case), $fault);
        };
        let why = text(&*panic);
        let meant = why.contains("clause ") || why.contains(" fails: ") || why.starts_with("the store answers");
        assert!(meant, "{} stumbles over a store that {:?}: {why}", stringify!($case), $fault);
    })+)+};
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_1() {
    assert_caught! {
        AnswersWithEarlierRevision by clause_1_revisions_grow clause_1_writes_of_a_commit_share_its_revision;
        CommitsEachWriteAlone by clause_1_writes_of_a_commit_share_its_revision;
        StartsAtRevision1 by clause_1_fresh_store_is_at_revision_0;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_2() {
    assert_caught! {
        WritesBeforeItChecks by clause_2_failed_condition_changes_nothing;
        TakesModifiedForPresent by clause_2_conditions_say_what_they_mean;
        TakesModified0ForAbsent by clause_2_conditions_say_what_they_mean;
        ChecksNothing by clause_2_failed_condition_changes_nothing clause_2_contended_counter_loses_no_update;
        BlamesTheFirstCondition by clause_2_conflict_names_the_condition_and_what_was_found;
        CountsReadsAsCommits by clause_2_conditions_alone_write_nothing;
        TakesTheLastOfTwoWrites by clause_2_key_written_twice_is_invalid;
        CommitsEachWriteAlone by clause_2_transaction_is_seen_whole;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_3() {
    assert_caught! {
        ReadsOneCommitBehind by clause_3_reads_see_what_was_acknowledged;
        ListsOneCommitBehind by clause_3_reads_see_what_was_acknowledged clause_3_list_shows_what_get_shows;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_4() {
    assert_caught! {
        ListsBackwards by clause_4_list_is_in_byte_order;
        ListsWholePathSegments by clause_4_list_has_the_prefix_only;
        RepeatsTheKeyThatAPageStartsAfter by clause_4_pages_make_up_the_list;
        KnowsNotHowManyFollow by clause_4_page_tells_how_many_follow;
        StartsPagesAtExistingKeysOnly by clause_4_page_may_start_behind_any_key;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_5() {
    assert_caught! {
        ListsThePresentForThePast by clause_5_list_shows_an_earlier_revision;
        PagesThePresent by clause_5_pages_of_an_earlier_revision_make_up_its_list;
        NeverCompacts by clause_5_compacted_list_is_refused;
        ListsThePresentForTheFuture by clause_5_list_of_the_future_is_refused;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_6() {
    assert_caught! {
        WatchesFromNow by clause_6_watch_yields_each_commit_once_in_order;
        WatchesFromItsRevisionOn by clause_6_watch_begins_after_its_revision;
        WatchesEverything by clause_6_watch_has_its_prefix_only;
        ForgetsWhatWasReplaced by clause_6_watch_tells_what_was_replaced;
        LosesEveryTenthCommit by clause_6_watch_yields_each_commit_once_in_order;
        LosesEveryTenthCommit by clause_6_watches_have_no_gap_among_writers;
        RepeatsEveryTenthCommit by clause_6_watch_yields_each_commit_once_in_order;
        RepeatsEveryTenthCommit by clause_6_watches_have_no_gap_among_writers;
        NeverCompacts by clause_6_compacted_watch_is_refused;
        WatchesTheFuture by clause_6_watch_of_the_future_is_refused;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_7() {
    assert_caught! {
        WaitsForReaders by clause_7_idle_watch_holds_up_no_writer clause_7_watch_that_falls_behind_ends_or_catches_up;
        DropsWhatReadersMiss by clause_7_watch_that_falls_behind_ends_or_catches_up;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_8() {
    assert_caught! {
        DeletesWhatItCompacts by clause_8_compaction_keeps_values;
        CompactsOneTooMany by clause_8_compacted_revision_itself_stays_readable;
        CompactsBackwards by clause_8_earlier_compaction_does_nothing;
        NeverCompacts by clause_8_earlier_compaction_does_nothing;
        CompactsTheFuture by clause_8_compaction_in_the_future_is_refused;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_9() {
    assert_caught! {
        KeepsTombstones by clause_9_deleted_key_is_absent;
        HidesDeletions by clause_9_deletion_is_a_change;
        KeepsCreated by clause_9_key_written_again_is_created_anew;
        DeletesWhatIsAbsent by clause_9_deleting_what_is_absent_changes_nothing;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_10() {
    assert_caught! {
        WritesHalfWhenDropped by clause_10_dropped_commit_happens_whole_or_not_at_all;
        WritesWhenACompactionIsDropped by clause_10_dropped_reads_leave_the_store_intact;
        WaitsForReadersThatAreGone by clause_10_dropped_watches_hold_up_nobody;
    }
}

#[tokio::test(start_paused = true)]
async fn suite_catches_stores_that_break_clause_11() {
    assert_caught! {
        TakesSmallTransactionsOnly by clause_11_transaction_within_the_bounds_is_taken;
        CutsLargeValues by clause_11_transaction_within_the_bounds_is_taken clause_11_larger_transaction_is_taken_whole_or_is_invalid;
        WritesTheRestOfWhatIsTooLarge by clause_11_larger_transaction_is_taken_whole_or_is_invalid;
        ListsThePresentForTheForgotten by clause_11_forgotten_history_is_the_oldest_and_said_to_be_so;
        ForgetsTheMiddle by clause_11_forgotten_history_is_the_oldest_and_said_to_be_so;
    }
}

#[tokio::test(start_paused = true)]
async fn random_histories_catch_broken_stores_and_name_the_seed() {
    for (fault, clause) in [
        (ChecksNothing, "clause 2: an update was lost"),
        (CommitsEachWriteAlone, "clause "),
        (SaysConflictAfterItWrote, "clause 2: client "),
        (ReadsKeyByKey, "clause 2: client "),
        (ReadsOneCommitBehind, "clause 3: client "),
        (RemembersReads, "clause "),
        (AnswersBeforeItCommits, "clause "),
        (AnswersWithEarlierRevision, "clause 1: client "),
        (SwapsNeighbours, "clause 6: "),
        (LosesEveryTenthCommit, "clause 6: "),
        (RepeatsEveryTenthCommit, "clause 6: "),
        (WatchesFromItsRevisionOn, "clause 6: "),
        (ForgetsWhatWasReplaced, "clause 6: "),
        (HidesDeletions, "clause 6: "),
        (NeverCompacts, "clause 5: "),
        (KeepsCreated, "clause 3: "),
        (WritesHalfWhenDropped, "clause "),
        (WritesHalfAndFails, "clause 6: "),
    ] {
        for plan in [FaultPlan::calm(), FaultPlan::rough()] {
            let make = async || FaultyStorage::new(Broken::new(fault), plan, 1);
            let histories = AssertUnwindSafe(suite::random_histories_are_linearizable(make));
            let Err(panic) = histories.catch_unwind().await else {
                panic!("no history catches a store that {fault:?}");
            };
            let why = text(&*panic);
            assert!(why.contains(clause), "a store that {fault:?} is caught because of {why}");
            assert!(why.contains("seed "), "{why} does not say how to see it again");
        }
    }
}

#[test]
fn every_case_of_the_suite_catches_a_store() {
    let words = |text: &'static str| -> BTreeSet<&'static str> {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        words.filter(|word| word.starts_with("clause_")).collect()
    };
    let (_, run) =
        include_str!("../../../../core/src/testing/storage/mod.rs").split_once("macro_rules!").unwrap();
    let (_, caught) = include_str!("broken.rs").split_once("macro_rules!").unwrap();

    let useless: Vec<&str> = words(run).difference(&words(caught)).copied().collect();

    assert!(words(run).len() > 40, "the list of cases is read right");
    assert_eq!(useless, Vec::<&str>::new(), "no store of this file is broken in the way that these look for");
}
