//! One value and those who wait for its changes, woken in the order in which they began to wait.
//!
//! The same as `tokio::sync::watch`, except for that order, which is random there: it spreads its waiters over shards drawn
//! by lot. Where several tasks wait for one thing, that is all it takes to make two runs of a cluster differ.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// Changes the value. Dropping it ends the channel.
pub struct Sender<T>(Arc<Shared<T>>);

/// Reads the value and waits for changes. Each receiver remembers which change it saw last.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

struct Shared<T> {
    slot: RwLock<Slot<T>>,
    changed: Notify,
    closed: AtomicBool,
}

struct Slot<T> {
    value: T,
    version: u64,
}

/// The sender is gone: no change will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sender is gone")]
pub struct Closed;

/// The value, locked for reading. Do not hold it across an `await`.
pub struct Ref<'a, T>(RwLockReadGuard<'a, Slot<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Makes a channel that holds `value`.
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, Slot<T>> {
        self.slot.read().expect("no writer panics")
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl<T> Sender<T> {
    /// Makes a sender that holds `value`, without receivers.
    #[must_use]
    pub fn new(value: T) -> Self {
        let slot = RwLock::new(Slot { value, version: 0 });
        Self(Arc::new(Shared { slot, changed: Notify::new(), closed: AtomicBool::new(false) }))
    }

    /// Makes a receiver that has seen the present value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { seen: self.0.read().version, shared: self.0.clone() }
    }

    /// Returns the present value.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// Replaces the value, wakes all who wait, and returns the former value.
    pub fn send_replace(&self, value: T) -> T {
        let former = {
            let mut slot = self.0.slot.write().expect("no writer panics");
            slot.version += 1;
            std::mem::replace(&mut slot.value, value)
        };
        self.0.changed.notify_waiters();
        former
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// Returns the present value, seen or not.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// Returns the present value, and counts it as seen.
    #[must_use]
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let slot = self.shared.read();
        self.seen = slot.version;
        Ref(slot)
    }

    /// Returns whether there is a value that was not seen.
    ///
    /// # Errors
    ///
    /// [`Closed`] if there is none and will be none.
    pub fn has_changed(&self) -> Result<bool, Closed> {
        // In this order, so that the last change is not missed.
        let closed = self.shared.is_closed();
        let changed = self.shared.read().version != self.seen;
        if closed && !changed { Err(Closed) } else { Ok(changed) }
    }

    /// Waits for a value that was not seen, and counts it as seen. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Closed`] if there is none and will be none.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let shared = self.shared.clone();
        loop {
            let mut change = std::pin::pin!(shared.changed.notified());
            change.as_mut().enable();
            if self.has_changed()? {
                self.seen = self.shared.read().version;
                return Ok(());
            }
            change.await;
        }
    }

    /// Waits until the value satisfies `holds`, and counts it as seen. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it does not and never will.
    pub async fn wait_for(&mut self, holds: impl Fn(&T) -> bool) -> Result<(), Closed> {
        loop {
            if holds(&*self.borrow_and_update()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.0.read().value).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.shared.read().value).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn waiters_wake_in_the_order_in_which_they_began_to_wait() {
        let (sender, receiver) = channel(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..100 {
            let (mut receiver, order) = (receiver.clone(), order.clone());
            tasks.spawn(async move {
                receiver.changed().await.unwrap();
                order.lock().unwrap().push(index);
            });
        }
        // The scheduler runs a limited number of tasks before it comes back here.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }

        sender.send_replace(1);
        tasks.join_all().await;

        assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_change_is_seen_once_also_if_it_came_before_the_wait() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);

        receiver.changed().await.unwrap();

        assert_eq!((*receiver.borrow(), receiver.has_changed()), (1, Ok(false)));
    }

    #[tokio::test]
    async fn the_last_value_outlives_the_sender() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        drop(sender);

        assert_eq!(receiver.wait_for(|value| *value == 1).await, Ok(()));
        assert_eq!(receiver.changed().await, Err(Closed));
        assert_eq!(receiver.wait_for(|value| *value == 2).await, Err(Closed));
        assert_eq!(*receiver.borrow(), 1);
    }

    #[tokio::test]
    async fn a_waiter_learns_that_the_sender_is_gone() {
        let (sender, mut receiver) = channel(0);

        let (end, ()) = tokio::join!(receiver.changed(), async { drop(sender) });

        assert_eq!(end, Err(Closed));
    }
}
