//! Crashes at every operation on the disk of a random run, without threads: each leaves a disk from which everything
//! comes back that anybody was told of, and nothing by half. Processes are killed, too: then nothing is lost that was written.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::FutureExt as _;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Expect, List, Revision, StorageError, Transaction, Write};

use super::super::super::history::Retention;
use super::super::super::published::Published;
use super::super::log::Preparation;
use super::super::recovery::{Recovered, recover};
use super::super::snapshot::Job;
use super::super::writer::Writer;
use super::super::{EmbeddedOptions, Shared, SyncPolicy};
use super::fake_disk::FakeDisk;

const RETENTION: Retention = Retention { commits: 12, bytes: usize::MAX };
const SEGMENT: u64 = 4 << 10;
/// Both policies that differ in what is promised: an interval is `Never` with syncs in between, which the test makes itself.
const STRICT: SyncPolicy = SyncPolicy::EveryCommit;
const LOOSE: SyncPolicy = SyncPolicy::Never;
const TURNS: usize = 45;
const IMAGES_PER_OPERATION: usize = 2;

type Entries = BTreeMap<String, Bytes>;
type Pending = Pin<Box<dyn Future<Output = Result<Revision, StorageError>>>>;

/// What the test knows of the store while it runs.
#[derive(Default)]
struct Known {
    /// The entries after each commit that was tried.
    tried: Vec<Entries>,
    /// The last revision that somebody was told of.
    acknowledged: usize,
    /// The last revision that no crash may take.
    durable: usize,
    compacted: u64,
}

fn read_back(disk: FakeDisk, policy: SyncPolicy) -> Recovered {
    let options = EmbeddedOptions::default().retention(RETENTION).segment_bytes(SEGMENT).sync(policy);
    recover(Arc::new(disk), options).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Counts acknowledgements, and those that came before their sync.
struct Probe {
    disk: FakeDisk,
    early: AtomicUsize,
}

impl Wake for Probe {
    fn wake(self: Arc<Self>) {
        if self.disk.is_dirty() {
            self.early.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A store without threads on a disk that crashes, in thought, before each operation.
struct Run {
    policy: SyncPolicy,
    random: Random,
    disk: FakeDisk,
    shared: Shared,
    writer: Writer,
    job: Option<Job>,
    preparation: Option<Preparation>,
    known: Arc<Mutex<Known>>,
    images: Arc<AtomicUsize>,
    probe: Arc<Probe>,
}

impl Run {
    fn new(seed: u64, policy: SyncPolicy) -> Self {
        let known = Known { tried: vec![Entries::new()], ..Known::default() };
        Self::on(FakeDisk::default(), policy, Random::seeded(seed), known, Arc::default())
    }

    /// Opens the store on a disk and lets the disk crash, in thought, before each operation from now on.
    fn on(
        disk: FakeDisk,
        policy: SyncPolicy,
        random: Random,
        known: Known,
        images: Arc<AtomicUsize>,
    ) -> Self {
        if random.below(3) == 0 {
            disk.be_sparse();
        }
        let known = Arc::new(Mutex::new(known));
        let seen: Arc<Mutex<Option<Arc<Published>>>> = Arc::default();
        disk.observe({
            let (random, known, images, seen) =
                (random.fork("crashes"), Arc::clone(&known), Arc::clone(&images), Arc::clone(&seen));
            move |disk, _| {
                let published = seen.lock().unwrap().clone();
                let published = published.filter(|_| policy == STRICT);
                let visible =
                    published.map_or(0, |published| published.read(|versions| versions.revision().0));
                for _ in 0..IMAGES_PER_OPERATION {
                    check(disk.crash(&random), policy, &known.lock().unwrap(), visible, &random);
                    images.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let recovered = read_back(disk.clone(), policy);
        let (shared, writer) = Shared::new(recovered);
        *seen.lock().unwrap() = Some(Arc::clone(&shared.published));
        let probe = Arc::new(Probe { disk: disk.clone(), early: AtomicUsize::new(0) });
        Self { policy, random, disk, shared, writer, job: None, preparation: None, known, images, probe }
    }

    /// Crashes, in the middle of a write perhaps, and goes on with what is left.
    fn crash(self) -> Self {
        let mut pending = self.commit();
        let held: Arc<Mutex<Option<FakeDisk>>> = Arc::default();
        let (random, hold) = (self.random.fork("crash"), Arc::clone(&held));
        self.disk.observe(move |disk, _| {
            hold.lock().unwrap().get_or_insert_with(|| disk.crash(&random));
        });
        let (disk, random, images) = (self.disk.clone(), self.random.clone(), Arc::clone(&self.images));
        let known = Arc::clone(&self.known);
        let mut writer = self.writer;
        if pending.take().is_some() {
            writer.turn();
        }
        let left = held.lock().unwrap().take().unwrap_or_else(|| disk.crash(&random));
        let known = std::mem::take(&mut *known.lock().unwrap());
        check(left.clone(), self.policy, &known, 0, &random);
        Self::again(left, self.policy, random, known, images)
    }

    /// Kills the process, in the middle of a write perhaps: what it wrote is there, synced or not.
    fn kill(self) -> Self {
        let pending = self.commit();
        let (disk, random, images) = (self.disk.clone(), self.random.clone(), Arc::clone(&self.images));
        let mut writer = self.writer;
        if pending.is_some() {
            disk.fail_syncs();
            writer.turn();
            disk.work_again();
        }
        drop((writer, pending));
        let known = std::mem::take(&mut *self.known.lock().unwrap());
        Self::again(disk, self.policy, random, known, images)
    }

    /// Opens what is left, and knows from then on what is there.
    fn again(
        left: FakeDisk,
        policy: SyncPolicy,
        random: Random,
        mut known: Known,
        images: Arc<AtomicUsize>,
    ) -> Self {
        let revision = read_back(left.copy(), policy).versions.revision();
        known.tried.truncate(usize::try_from(revision.0).unwrap() + 1);
        known.acknowledged = known.tried.len() - 1;
        let run = Self::on(left, policy, random, known, images);
        // It was synced before it is shown.
        let mut known = run.known.lock().unwrap();
        known.durable = known.acknowledged;
        drop(known);
        run
    }

    fn transaction(&self) -> Transaction {
        let key = || format!("/k/{}", self.random.below(9));
        let mut transaction = Transaction::new();
        for _ in 0..=self.random.below(3) {
            let key = key();
            if transaction.writes.iter().any(|write| write.key().as_str() == key) {
                continue;
            }
            transaction = match self.random.below(4) {
                0 => transaction.delete(key),
                _ => transaction.put(key, vec![b'a' + self.random.below(26) as u8; self.random.below(700)]),
            };
        }
        match self.random.below(6) {
            0 => transaction.expect(key(), Expect::Absent),
            1 => transaction.expect(key(), Expect::Present),
            _ => transaction,
        }
    }

    /// Brings a transaction to the queue and notes what it should lead to.
    fn commit(&self) -> Option<Pending> {
        let transaction = self.transaction();
        let mut known = self.known.lock().unwrap();
        let mut entries = known.tried.last().unwrap().clone();
        let holds = transaction.conditions.iter().all(|condition| {
            entries.contains_key(condition.key.as_str()) == (condition.expect == Expect::Present)
        });
        let changes = transaction.writes.iter().fold(false, |changes, write| match write {
            Write::Put(key, value) => {
                entries.insert(key.to_string(), value.clone());
                true
            }
            Write::Delete(key) => entries.remove(key.as_str()).is_some() || changes,
        });
        if holds && changes {
            known.tried.push(entries);
        }
        drop(known);
        let queue = Arc::clone(&self.shared.queue);
        self.enter(Box::pin(async move { queue.commit(transaction).await }))
    }

    fn compact(&self) -> Option<Pending> {
        let tried = self.known.lock().unwrap().tried.len() as u64 - 1;
        let at = Revision(tried.saturating_sub(self.random.below(8) as u64));
        let queue = Arc::clone(&self.shared.queue);
        let known = Arc::clone(&self.known);
        self.enter(Box::pin(async move {
            let result = queue.compact(at).await;
            if result.is_ok() {
                let mut known = known.lock().unwrap();
                known.compacted = known.compacted.max(at.0);
            }
            result
        }))
    }

    fn enter(&self, mut future: Pending) -> Option<Pending> {
        let waker = Waker::from(Arc::clone(&self.probe));
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Some(future),
            Poll::Ready(_) => None,
        }
    }

    /// Brings some transactions to the queue at once, lets the writer work, and takes the answers.
    fn turn(&mut self) {
        let full = self.random.below(8) == 0;
        self.disk.leave_room(full.then(|| self.random.below(1500) as u64));
        let mut pending: Vec<Pending> = (0..=self.random.below(3)).filter_map(|_| self.commit()).collect();
        if self.random.below(5) == 0 {
            pending.extend(self.compact());
        }
        if self.random.below(4) == 0 && !pending.is_empty() {
            // Its caller goes away. It happens, or not, as if it had stayed.
            drop(pending.swap_remove(0));
        }
        if pending.is_empty() {
            return;
        }
        assert!(self.writer.turn());
        let mut refused = false;
        let mut last = 0;
        for future in pending {
            match future.now_or_never().expect("the writer answers all") {
                Ok(revision) => last = last.max(usize::try_from(revision.0).unwrap()),
                Err(StorageError::Full(_)) => refused = true,
                Err(StorageError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let mut known = self.known.lock().unwrap();
        if refused {
            assert!(full, "the disk had room");
            let acknowledged = known.acknowledged;
            known.tried.truncate(acknowledged + 1);
        }
        known.acknowledged = known.tried.len() - 1;
        if self.policy == STRICT {
            known.durable = known.acknowledged;
        }
        assert!(last <= known.acknowledged, "an answer is of the future");
        drop(known);
        self.disk.leave_room(None);
    }

    /// Syncs, as an interval ends.
    fn sync(&mut self) {
        self.writer.sync();
        let mut known = self.known.lock().unwrap();
        known.durable = known.acknowledged;
    }

    /// Does what the threads beside the writer do, at any time after it is due.
    fn aside(&mut self) {
        if self.preparation.is_none() {
            self.preparation = self.writer.unprepared();
        }
        if let Some(preparation) = self.preparation.take_if(|_| self.random.below(3) == 0) {
            let result = preparation.run();
            self.writer.prepared(result);
        }
        match self.job.take() {
            Some(job) if self.random.below(3) == 0 => {
                let result = job.run();
                self.writer.snapshotted(result);
            }
            Some(job) => self.job = Some(job),
            None => self.job = self.writer.due(),
        }
    }
}

/// Checks that the disk that a crash left holds what was promised, whole.
fn check(image: FakeDisk, policy: SyncPolicy, known: &Known, visible: u64, random: &Random) {
    let versions = read_back(image.clone(), policy).versions;
    let revision = usize::try_from(versions.revision().0).unwrap();
    assert!(revision >= known.durable, "{revision} is left, {} was durable", known.durable);
    assert!(revision as u64 >= visible, "{revision} is left, {visible} was seen");
    assert!(revision < known.tried.len(), "{revision} is left and was never tried");
    let forgets = policy == LOOSE || versions.compacted().0 >= known.compacted;
    assert!(forgets, "a compaction was lost");
    for at in [versions.compacted().0, revision as u64] {
        let page = versions.list(&List::prefix("").at(Revision(at))).unwrap();
        let entries: Entries =
            page.entries.into_iter().map(|entry| (entry.key.to_string(), entry.value)).collect();
        assert_eq!(entries, known.tried[usize::try_from(at).unwrap()], "what is left at {at}");
    }
    if random.below(4) == 0 {
        // Another crash, during the repair.
        let again = read_back(image.crash(random), policy).versions;
        assert_eq!(again.revision(), versions.revision(), "a crash during the repair lost something");
    }
}

/// Lets a store run, crash and be killed, and returns after how many crashes in thought, and with how many snapshots.
fn survive(seeds: std::ops::Range<u64>, policy: SyncPolicy) -> (usize, usize) {
    let (mut images, mut snapshots) = (0, 0);
    for seed in seeds {
        let mut run = Run::new(seed, policy);

        for _ in 0..TURNS {
            run.turn();
            run.aside();
            if policy == LOOSE && run.random.below(6) == 0 {
                run.sync();
            }
            run = match run.random.below(20) {
                0 => run.crash(),
                1 => run.kill(),
                _ => run,
            };
        }
        let files = run.disk.files();
        run.writer.close();

        let early = run.probe.early.load(Ordering::Relaxed);
        assert!(early == 0 || policy == LOOSE, "seed {seed}: acknowledged before the sync");
        let mut known = run.known.lock().unwrap();
        known.durable = known.acknowledged;
        check(run.disk.crash(&run.random), policy, &known, 0, &run.random);
        images += run.images.load(Ordering::Relaxed);
        snapshots += files.keys().filter(|name| name.starts_with("snapshot")).count();
    }
    (images, snapshots)
}

#[test]
fn no_crash_loses_what_anybody_was_told_of() {
    let (images, snapshots) = survive(0..30, STRICT);

    assert!(images > 10_000, "only {images} crashes");
    assert!(snapshots >= 15, "only {snapshots} runs got as far as a snapshot");
}

#[test]
fn crashes_without_syncs_lose_the_last_commits_only_and_no_data_directory() {
    let (images, snapshots) = survive(100..120, LOOSE);

    assert!(images > 2_000, "only {images} crashes");
    assert!(snapshots >= 8, "only {snapshots} runs got as far as a snapshot");
}

#[test]
#[should_panic(expected = "is left")]
fn crashes_on_a_disk_that_lies_about_syncs_are_noticed() {
    let mut run = Run::new(0, STRICT);
    run.turn();

    run.disk.ignore_syncs();

    for _ in 0..TURNS {
        run.turn();
    }
}
