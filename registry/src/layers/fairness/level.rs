//! One priority level: its seats, and the queues in which requests wait for them.
//!
//! A request that finds room takes its seats under one short lock. One that does not is put into the shortest of the few
//! queues that its flow was dealt, and seats that come free go to the queue that was given least so far, as in
//! `k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::configuration::Queuing;

/// For how long a request is taken to need its seats until it is known, in microseconds.
const GUESS: u64 = 3_000;

/// A level that limits its requests.
#[derive(Debug)]
pub(super) struct Level {
    queuing: Option<Queuing>,
    /// How many seats a request takes at most.
    widest: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many seats there are now.
    limit: usize,
    in_use: usize,
    /// How many seats wait for, in all queues.
    wanted: usize,
    /// The most that was in use and wanted since somebody last looked.
    peak: usize,
    queues: Vec<Queue>,
    /// The queue that was served last.
    last: usize,
    /// How much the queue that was served last had been given, in microseconds of a seat: a queue that was empty starts here.
    given: u64,
    next_id: u64,
    /// The seats of answers that are still being written, and until when they may keep them.
    streams: BTreeMap<u64, (Instant, usize)>,
}

#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Waiter>,
    /// How many seats its requests wait for.
    wanted: usize,
    /// How much it was given, in microseconds of a seat.
    given: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    seats: usize,
    go: oneshot::Sender<()>,
}

/// How busy a level is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// How many seats there are.
    pub(super) limit: usize,
    pub(super) in_use: usize,
    /// How many requests are in the queues.
    pub(super) waiting: usize,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Admitted {
    /// It has its seats.
    Seated(Permit),
    /// It waits for them.
    Queued(Waiting),
    /// There is no room.
    Refused,
}

impl Level {
    /// Makes a level with so many seats.
    pub(super) fn new(seats: usize, queuing: Option<Queuing>) -> Self {
        let queues = queuing.map_or(0, |queuing| queuing.queues);
        let state = State {
            limit: seats,
            in_use: 0,
            wanted: 0,
            peak: 0,
            queues: std::iter::repeat_with(Queue::default).take(queues).collect(),
            last: 0,
            given: 0,
            next_id: 0,
            streams: BTreeMap::new(),
        };
        // As upstream, no request takes more than 15 % of a level.
        Self { queuing, widest: (seats * 15).div_ceil(100).max(1), state: Mutex::new(state) }
    }

    /// Returns how many seats a request takes at most.
    pub(super) fn widest(&self) -> usize {
        self.widest
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds a level")
    }

    /// Takes seats for a request of a flow, or a place in one of the flow's queues.
    pub(super) fn admit(self: &Arc<Self>, flow: u64, seats: usize) -> Admitted {
        let seats = seats.clamp(1, self.widest);
        let mut state = self.state();
        state.peak = state.peak.max(state.in_use + state.wanted + seats);
        if !state.has_room(seats) && !state.streams.is_empty() {
            // Answers that are written for too long may leave room.
            state.expire(Instant::now());
            state.serve();
        }
        if state.has_room(seats) {
            state.in_use += seats;
            drop(state);
            return Admitted::Seated(Permit { level: self.clone(), seats, served: None, stream: None });
        }
        let Some(queuing) = self.queuing else { return Admitted::Refused };
        let queue = state.shortest(&hand(flow, queuing));
        if state.queues[queue].requests.len() >= queuing.length {
            return Admitted::Refused;
        }
        let (go, granted) = oneshot::channel();
        let id = state.enqueue(queue, seats, go);
        drop(state);
        Admitted::Queued(Waiting { level: self.clone(), queue, id, seats, granted, is_over: false })
    }

    /// Returns how busy the level is.
    pub(super) fn load(&self) -> Load {
        let state = self.state();
        let waiting = state.queues.iter().map(|queue| queue.requests.len()).sum();
        Load { limit: state.limit, in_use: state.in_use, waiting }
    }

    /// Returns the most seats that were in use and wanted since the last call.
    pub(super) fn take_peak(&self) -> usize {
        let mut state = self.state();
        let peak = state.peak;
        state.peak = state.in_use + state.wanted;
        peak
    }

    /// Sets how many seats there are, and takes back those of answers that are written for too long.
    pub(super) fn set_limit(&self, limit: usize) {
        let mut state = self.state();
        state.limit = limit;
        state.expire(Instant::now());
        state.serve();
    }
}

impl State {
    /// Whether a request finds room. One that is wider than the level has it to itself.
    fn fits(&self, seats: usize) -> bool {
        self.in_use + seats <= self.limit || self.in_use == 0
    }

    /// Whether a request need not wait.
    fn has_room(&self, seats: usize) -> bool {
        self.wanted == 0 && self.fits(seats)
    }

    /// Returns the queue of a hand whose requests wait for least; the first of several.
    fn shortest(&self, hand: &[usize]) -> usize {
        let shortest = hand.iter().min_by_key(|queue| self.queues[**queue].wanted);
        shortest.copied().unwrap_or_default()
    }

    fn enqueue(&mut self, queue: usize, seats: usize, go: oneshot::Sender<()>) -> u64 {
        let id = self.fresh_id();
        self.wanted += seats;
        let given = self.given;
        let queue = &mut self.queues[queue];
        if queue.requests.is_empty() {
            // Who asked for nothing saved nothing up.
            queue.given = queue.given.max(given);
        }
        queue.wanted += seats;
        queue.requests.push_back(Waiter { id, seats, go });
        id
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Gives free seats to those who wait.
    fn serve(&mut self) {
        while let Some(index) = self.next_queue() {
            let Some(head) = self.queues[index].requests.front() else { return };
            if !self.fits(head.seats) {
                return;
            }
            let queue = &mut self.queues[index];
            let Some(Waiter { seats, go, .. }) = queue.requests.pop_front() else { return };
            self.given = queue.given;
            queue.wanted -= seats;
            queue.given += GUESS * seats as u64;
            self.wanted -= seats;
            self.in_use += seats;
            self.last = index;
            // Who does not wait any more gives the seats back.
            let _ = go.send(());
        }
    }

    /// Returns the queue that was given least, the first behind the last that was served.
    fn next_queue(&self) -> Option<usize> {
        if self.wanted == 0 {
            return None;
        }
        let count = self.queues.len();
        let in_turn = (1..=count).map(|step| (self.last + step) % count);
        let waiting = in_turn.filter(|queue| !self.queues[*queue].requests.is_empty());
        waiting.min_by_key(|queue| self.queues[*queue].given)
    }

    fn give_back(&mut self, seats: usize) {
        self.in_use -= seats;
        self.serve();
    }

    /// Takes back the seats of answers that are written for too long.
    fn expire(&mut self, now: Instant) {
        let mut seats = 0;
        self.streams.retain(|_, (until, of_stream)| {
            let stays = *until > now;
            seats += if stays { 0 } else { *of_stream };
            stays
        });
        self.in_use -= seats;
    }
}

/// Deals queues to a flow: different ones, the same for the same flow.
fn hand(flow: u64, queuing: Queuing) -> Vec<usize> {
    let mut rest = flow;
    let mut dealt: Vec<usize> = Vec::with_capacity(queuing.hand_size);
    for taken in 0..queuing.hand_size.min(queuing.queues) {
        let left = (queuing.queues - taken) as u64;
        let mut card = usize::try_from(rest % left).unwrap_or_default();
        rest /= left;
        // The card counts those that are left.
        let mut sorted = dealt.clone();
        sorted.sort_unstable();
        for other in sorted {
            card += usize::from(card >= other);
        }
        dealt.push(card);
    }
    dealt
}

/// The seats of a request, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    level: Arc<Level>,
    seats: usize,
    /// The queue that the request waited in, and since when it is served.
    served: Option<(usize, Instant)>,
    /// What the seats are known by while an answer is written.
    stream: Option<u64>,
}

impl Permit {
    /// Keeps the seats while an answer is written, but not longer than this.
    pub(super) fn for_stream(mut self, until: Instant) -> Self {
        let mut state = self.level.state();
        let id = state.fresh_id();
        state.streams.insert(id, (until, self.seats));
        drop(state);
        self.stream = Some(id);
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.level.state();
        if let Some((queue, since)) = self.served {
            let taken = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            let given = &mut state.queues[queue].given;
            let seats = self.seats as u64;
            *given = given.saturating_sub(GUESS * seats).saturating_add(taken.saturating_mul(seats));
        }
        let is_kept = self.stream.is_none_or(|id| state.streams.remove(&id).is_some());
        if is_kept {
            state.give_back(self.seats);
        }
    }
}

/// A request in a queue. Dropping it gives up the place.
#[derive(Debug)]
pub(super) struct Waiting {
    level: Arc<Level>,
    queue: usize,
    id: u64,
    seats: usize,
    granted: oneshot::Receiver<()>,
    is_over: bool,
}

impl Waiting {
    /// Waits for the seats; `None` if they do not come within the limit.
    pub(super) async fn wait(mut self, limit: Duration) -> Option<Permit> {
        let granted = tokio::time::timeout(limit, &mut self.granted).await;
        if !matches!(granted, Ok(Ok(()))) {
            return None;
        }
        self.is_over = true;
        let served = Some((self.queue, Instant::now()));
        Some(Permit { level: self.level.clone(), seats: self.seats, served, stream: None })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.level.state();
        let queue = &mut state.queues[self.queue];
        match queue.requests.iter().position(|waiter| waiter.id == self.id) {
            Some(place) => {
                queue.requests.remove(place);
                queue.wanted -= self.seats;
                state.wanted -= self.seats;
                // It may have been too wide for what was free.
                state.serve();
            }
            // The seats came, and nobody took them.
            None => state.give_back(self.seats),
        }
    }
}

#[cfg(test)]
mod tests;
