//! Conditional writes to a store in this process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quarterdeck_core::component::BoxError;
use quarterdeck_core::metrics::Metrics;
use quarterdeck_core::storage::{Expect, Key, Revision, Storage, Transaction};
use quarterdeck_registry::storage::{EmbeddedOptions, MemoryStorage};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::metrics::{LOG_SYNCS, value};
use crate::peers::{Grouped, Redb, Sqlite};
use crate::rate::Rate;
use crate::report::{Report, What};
use crate::{IN_FLIGHT, Plan, VALUE, process};

const KEYS: usize = 10_000;

/// A store that takes a value if the key is as expected.
pub(crate) trait Writes: Send + Sync + 'static {
    fn write(&self, key: &Key, expect: Expect, value: Bytes) -> impl Future<Output = Revision> + Send;
}

impl<S: Storage> Writes for S {
    async fn write(&self, key: &Key, expect: Expect, value: Bytes) -> Revision {
        let transaction = Transaction::new().expect(key.clone(), expect).put(key.clone(), value);
        self.commit(transaction).await.expect("nobody else writes the key")
    }
}

/// Measures every store at every number of writes under way.
pub(crate) fn measure(report: &mut Report, directory: &Path, plan: &Plan) -> Result<(), BoxError> {
    let (runtime, time) = (runtime()?, plan.time);
    for (in_flight, _) in IN_FLIGHT {
        let path = |store: &str| directory.join(format!("{store}-{in_flight}"));
        if plan.has("memory") {
            let store = MemoryStorage::new();
            report.add(What::Memory, in_flight, drive(&runtime, store, in_flight, time, || f64::NAN)?);
        }
        if plan.has("embedded") {
            let ways = [(What::Embedded, "embedded", false), (What::InPlace, "in-place", true)];
            // What finds others under way is never written in place.
            for (what, name, in_place) in ways.into_iter().take(if in_flight == 1 { 2 } else { 1 }) {
                let store = EmbeddedOptions::default().in_place(in_place).open(path(name))?;
                let metrics = Metrics::new();
                store.tell(&metrics);
                let syncs = || value(&metrics.answer(None).text, LOG_SYNCS).unwrap_or(f64::NAN);
                report.add(what, in_flight, drive(&runtime, store, in_flight, time, syncs)?);
            }
        }
        if plan.has("redb") {
            let (store, syncs) = Redb::create(&path("redb"))?;
            let (store, syncs) = (Grouped::start(store), || syncs.load(Ordering::Relaxed) as f64);
            report.add(What::Redb, in_flight, drive(&runtime, store, in_flight, time, syncs)?);
        }
        if plan.has("sqlite") {
            let store = Grouped::start(Sqlite::create(&path("sqlite"))?);
            report.add(What::Sqlite, in_flight, drive(&runtime, store, in_flight, time, || f64::NAN)?);
        }
    }
    Ok(())
}

pub(crate) fn runtime() -> Result<Runtime, BoxError> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_time().build()?)
}

/// Writes for so long, after a while to get warm. Returns what that was like, and by how much `counted` grew for each write.
fn drive(
    runtime: &Runtime,
    store: impl Writes,
    in_flight: usize,
    time: Duration,
    counted: impl Fn() -> f64,
) -> Result<(Rate, f64), BoxError> {
    runtime.block_on(async {
        let start = Instant::now() + time / 4;
        let writing =
            tokio::spawn(write_until(Arc::new(store), (KEYS, Expect::Absent), in_flight, start, time));
        sleep_until(start.into()).await;
        let (cpu, count) = (process::worked(std::process::id())?, counted());
        sleep_until((start + time).into()).await;
        let (cpu, count) = (process::worked(std::process::id())?.saturating_sub(cpu), counted() - count);
        let times: Vec<_> = writing.await?.into_iter().map(|(_, took)| took).collect();
        let writes = times.len().max(1) as f64;
        Ok((Rate { cpu: cpu.div_f64(writes), ..Rate::of(time, times, VALUE) }, count / writes))
    })
}

/// Has workers write keys, which are all as expected at first. Returns when each write began that ended in so long a time after
/// `start`, and how long it took.
pub(crate) async fn write_until(
    store: Arc<impl Writes>,
    keys: (usize, Expect),
    in_flight: usize,
    start: Instant,
    time: Duration,
) -> Vec<(Instant, Duration)> {
    let mut workers = JoinSet::new();
    for worker in 0..in_flight {
        workers.spawn(work(Arc::clone(&store), keys, (worker, in_flight), start, start + time));
    }
    workers.join_all().await.concat()
}

/// Writes the keys of one worker in turn until the end.
async fn work(
    store: Arc<impl Writes>,
    (keys, expect): (usize, Expect),
    (worker, of): (usize, usize),
    start: Instant,
    end: Instant,
) -> Vec<(Instant, Duration)> {
    let mut keys: Vec<_> = (worker..keys.max(of)).step_by(of).map(|index| (key(index), expect)).collect();
    let value = Bytes::from(vec![b'v'; VALUE]);
    let (mut written, count) = (Vec::new(), keys.len());
    for index in 0.. {
        let (key, expect) = &mut keys[index % count];
        let begin = Instant::now();
        *expect = Expect::Modified(store.write(key, *expect, value.clone()).await);
        let now = Instant::now();
        if now >= end {
            break;
        }
        if now >= start {
            written.push((begin, now - begin));
        }
        // The memory store never waits: without this, some workers would never start.
        tokio::task::consume_budget().await;
    }
    written
}

/// Returns the key of a number.
pub(crate) fn key(index: usize) -> Key {
    Key::from(format!("/registry/pods/default/pod-{index:06}"))
}
