//! Turns: writes that would only get in each other's way go one after the other, in the order in which they came.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who is next, by what is written.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, Weak<Semaphore>>>);

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits for a turn.
    pub(crate) async fn take(&self, name: &str) -> Turn {
        // The semaphore is never closed: there is always a permit in the end.
        Turn { _permit: self.line(name).acquire_owned().await.ok() }
    }

    fn line(&self, name: &str) -> Arc<Semaphore> {
        let mut lines = self.0.lock().expect("nothing panics while it holds the turns");
        if let Some(line) = lines.get(name).and_then(Weak::upgrade) {
            return line;
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::new(Semaphore::new(1));
        lines.insert(name.to_owned(), Arc::downgrade(&line));
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_turn_begins_when_the_one_before_ends_and_others_do_not_wait() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        let mut second = Box::pin(turns.take("a"));

        assert!(futures::poll!(second.as_mut()).is_pending());
        turns.take("b").await;
        drop(first);
        second.await;

        turns.take("c").await;
        assert_eq!(turns.0.lock().unwrap().len(), 1, "lines in which nobody waits are forgotten");
    }
}
