use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::moment_in;
use crate::metrics::{Counter, Gauge, Histogram, Metrics, exponential};

/// A queue of things to work on, each at most once at a time. Clones are the same queue.
///
/// An item that is added while it waits is there once. One that is added while a worker has it waits until that worker
/// says [`done`](WorkQueue::done). So the queue is bounded by the number of distinct items, and no item is ever worked on
/// twice at once. Items come out in the order in which they became ready.
pub struct WorkQueue<T>(Arc<Inner<T>>);

struct Inner<T> {
    state: Mutex<State<T>>,
    changed: Notify,
    base: Duration,
    longest: Duration,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Items to work on, and since when: in `ready`, or to be put there when they are done.
    dirty: BTreeMap<T, Instant>,
    /// Items that somebody works on, and since when.
    processing: BTreeMap<T, Instant>,
    /// Items that wait, by time and then in the order of their coming.
    delayed: BTreeMap<(Instant, u64), T>,
    due: BTreeMap<T, (Instant, u64)>,
    failures: BTreeMap<T, u32>,
    sequence: u64,
    closed: bool,
    figures: Option<Figures>,
}

/// What a queue counts, under upstream's names.
struct Figures {
    adds: Counter,
    retries: Counter,
    depth: Gauge,
    waited: Histogram,
    worked: Histogram,
}

impl Figures {
    fn new(metrics: &Metrics, name: &str) -> Self {
        let bounds = exponential(1e-8, 10.0, 12);
        let counter = |metric, help| metrics.counters(metric, help, &["name"]).with(&[name]);
        let histogram = |metric, help| metrics.histograms(metric, help, &["name"], &bounds).with(&[name]);
        Self {
            adds: counter("workqueue_adds_total", "Total number of adds handled by workqueue."),
            retries: counter("workqueue_retries_total", "Total number of retries handled by workqueue."),
            depth: metrics.gauges("workqueue_depth", "Current depth of workqueue.", &["name"]).with(&[name]),
            waited: histogram(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested.",
            ),
            worked: histogram(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes.",
            ),
        }
    }
}

impl<T: Ord + Clone> WorkQueue<T> {
    /// Makes a queue whose [`add_rate_limited`](WorkQueue::add_rate_limited) waits 5 ms at first, up to 1000 s.
    #[must_use]
    pub fn new() -> Self {
        Self::with_backoff(Duration::from_millis(5), Duration::from_secs(1000))
    }

    /// Makes a queue whose [`add_rate_limited`](WorkQueue::add_rate_limited) waits `base` at first, doubling to `longest`.
    #[must_use]
    pub fn with_backoff(base: Duration, longest: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: BTreeMap::new(),
            processing: BTreeMap::new(),
            delayed: BTreeMap::new(),
            due: BTreeMap::new(),
            failures: BTreeMap::new(),
            sequence: 0,
            closed: false,
            figures: None,
        };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new(), base, longest }))
    }

    /// Counts what the queue does under this name (default: nothing is counted).
    #[must_use]
    pub fn measured(self, metrics: &Metrics, name: &str) -> Self
    where
        T: Send + 'static,
    {
        let figures = Figures::new(metrics, name);
        self.lock().figures = Some(figures);
        self.sample(
            (metrics, name),
            "workqueue_unfinished_work_seconds",
            "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.",
            |times| times.sum(),
        );
        self.sample(
            (metrics, name),
            "workqueue_longest_running_processor_seconds",
            "How many seconds has the longest running processor for workqueue been running.",
            |times| times.max().unwrap_or_default(),
        );
        self
    }

    /// Tells of the times for which work is under way, for as long as somebody has the queue.
    fn sample(
        &self,
        (metrics, name): (&Metrics, &str),
        metric: &str,
        help: &str,
        of: fn(&mut dyn Iterator<Item = Duration>) -> Duration,
    ) where
        T: Send + 'static,
    {
        let (inner, name) = (Arc::downgrade(&self.0), name.to_owned());
        metrics.sample(metric, help, &["name"], move |samples| {
            let Some(inner) = inner.upgrade() else { return };
            let queue = Self(inner);
            let time = of(&mut queue.lock().processing.values().map(Instant::elapsed));
            samples.push(&[&name], time.as_secs_f64());
        });
    }

    /// Adds `item`, to be worked on as soon as a worker is free.
    pub fn add(&self, item: T) {
        if self.lock().add(item) {
            self.0.changed.notify_one();
        }
    }

    /// Adds `item` after `delay`. If it waits already, the earlier time counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if let Some(figures) = &state.figures {
            figures.retries.inc();
        }
        let at = moment_in(delay);
        if let Some(known) = state.due.get(&item).copied() {
            if known.0 <= at {
                return;
            }
            state.delayed.remove(&known);
        }
        state.sequence += 1;
        let key = (at, state.sequence);
        state.delayed.insert(key, item.clone());
        state.due.insert(item, key);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Adds `item` after a delay that doubles with each call until [`forget`](WorkQueue::forget).
    pub fn add_rate_limited(&self, item: T) {
        let delay = {
            let mut state = self.lock();
            let failures = state.failures.entry(item.clone()).or_default();
            let doublings = *failures;
            *failures = failures.saturating_add(1);
            let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
            self.0.base.saturating_mul(factor).min(self.0.longest)
        };
        self.add_after(item, delay);
    }

    /// Forgets how often `item` was added by [`add_rate_limited`](WorkQueue::add_rate_limited): its work succeeded.
    pub fn forget(&self, item: &T) {
        self.lock().failures.remove(item);
    }

    /// Returns how often `item` was added by [`add_rate_limited`](WorkQueue::add_rate_limited) since it was forgotten.
    #[must_use]
    pub fn failures(&self, item: &T) -> u32 {
        self.lock().failures.get(item).copied().unwrap_or_default()
    }

    /// Waits for the next item; `None` once the queue was [shut down](WorkQueue::shut_down).
    ///
    /// Whoever gets an item calls [`done`](WorkQueue::done) with it. Dropping the future loses nothing.
    pub async fn next(&self) -> Option<T> {
        loop {
            let changed = self.0.changed.notified();
            let due = {
                let mut state = self.lock();
                if state.closed {
                    // The others that wait must learn it too.
                    self.0.changed.notify_one();
                    return None;
                }
                state.promote(Instant::now());
                if let Some(item) = state.ready.pop_front() {
                    state.begin(&item);
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        self.0.changed.notify_one();
                    }
                    return Some(item);
                }
                state.delayed.keys().next().map(|(at, _)| *at)
            };
            match due {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Says that the work on `item` is over; if it was added meanwhile, it is ready again.
    pub fn done(&self, item: &T) {
        let mut state = self.lock();
        let Some(since) = state.processing.remove(item) else { return };
        if let Some(figures) = &state.figures {
            figures.worked.observe_time(since.elapsed());
        }
        if state.dirty.contains_key(item) {
            state.ready.push_back(item.clone());
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Returns how many items are ready.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Returns whether no item is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the queue: what waits is dropped, nothing is added any more, and [`next`](WorkQueue::next) returns `None`.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ready.clear();
        state.dirty.clear();
        state.delayed.clear();
        state.due.clear();
        if let Some(figures) = &state.figures {
            figures.depth.set(0);
        }
        drop(state);
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().expect("no holder panics")
    }
}

impl<T: Ord + Clone> State<T> {
    /// Returns whether the item became ready now.
    fn add(&mut self, item: T) -> bool {
        if self.closed || self.dirty.contains_key(&item) {
            return false;
        }
        self.dirty.insert(item.clone(), Instant::now());
        if let Some(figures) = &self.figures {
            figures.adds.inc();
            figures.depth.set(self.dirty.len());
        }
        if self.processing.contains_key(&item) {
            return false;
        }
        self.ready.push_back(item);
        true
    }

    /// Notes that somebody works on an item.
    fn begin(&mut self, item: &T) {
        let (since, now) = (self.dirty.remove(item), Instant::now());
        self.processing.insert(item.clone(), now);
        if let Some(figures) = &self.figures {
            figures.depth.set(self.dirty.len());
            figures.waited.observe_time(since.map_or(Duration::ZERO, |since| now - since));
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let item = first.remove();
            self.due.remove(&item);
            self.add(item);
        }
    }
}

impl<T: Ord + Clone> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock().expect("no holder panics");
        f.debug_struct("WorkQueue")
            .field("ready", &state.ready)
            .field("processing", &state.processing)
            .field("delayed", &state.delayed.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn an_item_added_twice_comes_out_once() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("b");
        queue.add("a");

        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(queue.next().await, Some("b"));
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn an_item_added_during_its_work_comes_again_after_it() {
        let queue = WorkQueue::new();
        queue.add("a");
        let item = queue.next().await.unwrap();
        queue.add("a");
        assert!(queue.is_empty(), "two workers would have it");

        queue.done(&item);

        assert_eq!(queue.next().await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_counts() {
        let start = Instant::now();
        let queue = WorkQueue::new();
        queue.add_after("a", seconds(9));
        queue.add_after("a", seconds(2));
        queue.add_after("a", seconds(5));

        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");

        assert_eq!(start.elapsed(), seconds(2));
        assert!(tokio::time::timeout(seconds(60), queue.next()).await.is_err(), "it came twice");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_delay_until_forgotten() {
        let queue = WorkQueue::with_backoff(seconds(1), seconds(3));
        let mut delays = Vec::new();
        for round in 0..4 {
            if round == 3 {
                queue.forget(&"a");
            }
            let start = Instant::now();
            queue.add_rate_limited("a");
            let item = queue.next().await.unwrap();
            queue.done(&item);
            delays.push(start.elapsed().as_secs());
        }

        assert_eq!(delays, [1, 2, 3, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_worker_takes_what_comes_due_while_the_first_is_busy() {
        let queue = WorkQueue::new();
        let (first, second) = tokio::join!(queue.next(), async {
            let second = queue.next();
            queue.add_after("a", seconds(1));
            queue.add_after("b", seconds(2));
            second.await
        });

        assert_eq!((first, second), (Some("a"), Some("b")));
    }

    #[tokio::test]
    async fn every_worker_learns_that_the_queue_is_shut_down() {
        let queue = WorkQueue::<u8>::new();

        let ends = tokio::join!(queue.next(), queue.next(), queue.next(), async { queue.shut_down() });

        assert_eq!(ends, (None, None, None, ()));
        queue.add(1);
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_counts_what_waits_and_for_how_long_and_what_is_tried_again() {
        let metrics = Metrics::new();
        let queue = WorkQueue::with_backoff(seconds(1), seconds(3)).measured(&metrics, "ships");
        let (_other, says) = (WorkQueue::<u8>::new(), |line: &str| metrics.answer(None).text.contains(line));
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert!(says("workqueue_depth{name=\"ships\"} 2\n"));

        tokio::time::sleep(seconds(5)).await;
        let item = queue.next().await.unwrap();
        tokio::time::sleep(seconds(1)).await;
        let second = queue.next().await.unwrap();
        tokio::time::sleep(seconds(1)).await;
        assert!(says("workqueue_unfinished_work_seconds{name=\"ships\"} 3.0\n"));
        assert!(says("workqueue_longest_running_processor_seconds{name=\"ships\"} 2.0\n"));
        queue.add(second);
        queue.done(&second);
        queue.add_rate_limited(item);
        queue.done(&item);

        for line in [
            "workqueue_unfinished_work_seconds{name=\"ships\"} 0.0\n",
            "workqueue_longest_running_processor_seconds{name=\"ships\"} 0.0\n",
            "workqueue_adds_total{name=\"ships\"} 3\n",
            "workqueue_depth{name=\"ships\"} 1\n",
            "workqueue_retries_total{name=\"ships\"} 1\n",
            "workqueue_queue_duration_seconds_sum{name=\"ships\"} 11.0\n",
            "workqueue_work_duration_seconds_sum{name=\"ships\"} 3.0\n",
        ] {
            assert!(says(line), "{line} is not in\n{}", metrics.answer(None).text);
        }
    }
}
