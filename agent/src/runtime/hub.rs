//! Events, from the runtime that sees them to everybody who listens.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use quarterdeck_core::runtime::{Event, RuntimeError};

/// How far a reader may fall behind.
const BOUND: usize = 1024;

/// Where events are published and subscribed to. Clones are the same hub. Takes no room while nobody listens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hub(Arc<Mutex<Readers>>);

#[derive(Debug, Default)]
struct Readers {
    next: u64,
    readers: BTreeMap<u64, Reader>,
}

#[derive(Debug, Default)]
struct Reader {
    queue: VecDeque<Event>,
    missed: bool,
    waker: Option<Waker>,
}

impl Hub {
    /// Tells everybody who listens.
    pub(crate) fn publish(&self, event: &Event) {
        for reader in self.lock().readers.values_mut() {
            if reader.queue.len() >= BOUND {
                reader.queue.clear();
                reader.missed = true;
            } else if !reader.missed {
                reader.queue.push_back(event.clone());
            }
            reader.wake();
        }
    }

    /// Ends every subscription: events were lost.
    pub(crate) fn interrupt(&self) {
        for reader in self.lock().readers.values_mut() {
            reader.missed = true;
            reader.wake();
        }
    }

    /// Has everybody who listens look again, though there may be no event.
    pub(crate) fn wake(&self) {
        self.lock().readers.values_mut().for_each(Reader::wake);
    }

    /// Listens from now on.
    pub(crate) fn subscribe(&self) -> Subscription {
        let mut readers = self.lock();
        let id = readers.next;
        readers.next += 1;
        readers.readers.insert(id, Reader::default());
        Subscription { hub: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

impl Reader {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What one listener has yet to read. Ends with [`RuntimeError::Missed`], or never.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: Hub,
    id: u64,
}

impl Stream for Subscription {
    type Item = Result<Event, RuntimeError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut readers = self.hub.lock();
        let Some(reader) = readers.readers.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        if let Some(event) = reader.queue.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if reader.missed {
            readers.readers.remove(&self.id);
            return Poll::Ready(Some(Err(RuntimeError::Missed)));
        }
        reader.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.lock().readers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use quarterdeck_core::runtime::EventKind;

    use super::*;

    fn event() -> Event {
        Event { pod: "a".into(), kind: EventKind::PodChanged }
    }

    #[test]
    fn a_reader_that_falls_behind_is_told_that_it_missed_events() {
        let hub = Hub::default();
        let mut slow = hub.subscribe();
        let mut quick = hub.subscribe();

        for _ in 0..=BOUND {
            hub.publish(&event());
            assert!(matches!(quick.next().now_or_never(), Some(Some(Ok(_)))));
        }

        assert!(matches!(slow.next().now_or_never(), Some(Some(Err(RuntimeError::Missed)))));
        assert!(matches!(slow.next().now_or_never(), Some(None)));
    }

    #[test]
    fn what_was_published_before_an_interruption_is_still_read() {
        let hub = Hub::default();
        let mut reader = hub.subscribe();

        hub.publish(&event());
        hub.interrupt();

        assert!(matches!(reader.next().now_or_never(), Some(Some(Ok(_)))));
        assert!(matches!(reader.next().now_or_never(), Some(Some(Err(RuntimeError::Missed)))));
    }
}
