//! Crashes at every operation on the disk of a random run, without threads: each leaves a disk from which everything
//! comes back that anybody was told of, and nothing by half.

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
use super::super::Shared;
use super::super::log::Preparation;
use super::super::recovery::recover;
use super::super::snapshot::Job;
use super::super::writer::Writer;
use super::fake_disk::FakeDisk;

const RETENTION: Retention = Retention { commits: 12, bytes: usize::MAX };
const SEGMENT: u64 = 4 << 10;
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
    compacted: u64,
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
    fn new(seed: u64) -> Self {
        let known = Known { tried: vec![Entries::new()], ..Known::default() };
        Self::on(FakeDisk::default(), Random::seeded(seed), known, Arc::default())
    }

    /// Opens the store on a disk and lets the disk crash, in thought, before each operation from now on.
    fn on(disk: FakeDisk, random: Random, known: Known, images: Arc<AtomicUsize>) -> Self {
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
                let visible =
                    published.map_or(0, |published| published.read(|versions| versions.revision().0));
                for _ in 0..IMAGES_PER_OPERATION {
                    check(disk.crash(&random), &known.lock().unwrap(), visible, &random);
                    images.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let recovered = recover(Arc::new(disk.clone()), RETENTION, SEGMENT).unwrap();
        let (shared, writer) = Shared::new(recovered);
        *seen.lock().unwrap() = Some(Arc::clone(&shared.published));
        let probe = Arc::new(Probe { disk: disk.clone(), early: AtomicUsize::new(0) });
        Self { random, disk, shared, writer, job: None, preparation: None, known, images, probe }
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
        let mut known = std::mem::take(&mut *known.lock().unwrap());
        check(left.clone(), &known, 0, &random);
        let revision =
            recover(Arc::new(left.crash(&random)), RETENTION, SEGMENT).unwrap().versions.revision();
        known.tried.truncate(usize::try_from(revision.0).unwrap() + 1);
        known.acknowledged = known.tried.len() - 1;
        Self::on(left, random, known, images)
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
        assert!(last <= known.acknowledged, "an answer is of the future");
        drop(known);
        self.disk.leave_room(None);
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

/// Checks that the disk that a crash left holds what anybody was told of, whole.
fn check(image: FakeDisk, known: &Known, visible: u64, random: &Random) {
    let read_back =
        || recover(Arc::new(image.clone()), RETENTION, SEGMENT).unwrap_or_else(|e| panic!("{e:?}")).versions;
    let versions = read_back();
    let revision = usize::try_from(versions.revision().0).unwrap();
    assert!(revision >= known.acknowledged, "{revision} is left, {} was acknowledged", known.acknowledged);
    assert!(revision as u64 >= visible, "{revision} is left, {visible} was seen");
    assert!(revision < known.tried.len(), "{revision} is left and was never tried");
    assert!(versions.compacted().0 >= known.compacted, "a compaction was lost");
    for at in [versions.compacted().0, revision as u64] {
        let page = versions.list(&List::prefix("").at(Revision(at))).unwrap();
        let entries: Entries =
            page.entries.into_iter().map(|entry| (entry.key.to_string(), entry.value)).collect();
        assert_eq!(entries, known.tried[usize::try_from(at).unwrap()], "what is left at {at}");
    }
    if random.below(4) == 0 {
        // Another crash, during the repair.
        let again = recover(Arc::new(image.crash(random)), RETENTION, SEGMENT).unwrap().versions;
        assert_eq!(again.revision(), versions.revision(), "a crash during the repair lost something");
    }
}

#[test]
fn no_crash_loses_what_anybody_was_told_of() {
    let mut images = 0;
    let mut snapshots = 0;
    for seed in 0..30 {
        let mut run = Run::new(seed);

        for _ in 0..TURNS {
            run.turn();
            run.aside();
            if run.random.below(15) == 0 {
                run = run.crash();
            }
        }
        let files = run.disk.files();
        run.writer.close();

        assert_eq!(run.probe.early.load(Ordering::Relaxed), 0, "seed {seed}: acknowledged before the sync");
        check(run.disk.crash(&run.random), &run.known.lock().unwrap(), 0, &run.random);
        images += run.images.load(Ordering::Relaxed);
        snapshots += files.keys().filter(|name| name.starts_with("snapshot")).count();
    }
    assert!(images > 10_000, "only {images} crashes");
    assert!(snapshots >= 20, "only {snapshots} runs got as far as a snapshot");
}

#[test]
#[should_panic(expected = "is left")]
fn crashes_on_a_disk_that_lies_about_syncs_are_noticed() {
    let mut run = Run::new(0);
    run.turn();

    run.disk.ignore_syncs();

    for _ in 0..TURNS {
        run.turn();
    }
}
