//! What can be done beside the writing: by threads that are started for one thing and end with it.

use std::io;
use std::thread::{self, JoinHandle};

/// A thread for one thing at a time.
pub(super) struct Aside<T> {
    name: &'static str,
    thread: Option<JoinHandle<io::Result<T>>>,
}

impl<T: Send + 'static> Aside<T> {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, thread: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.thread.is_none()
    }

    pub(super) fn start(&mut self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<()> {
        self.thread = Some(thread::Builder::new().name(self.name.to_owned()).spawn(work)?);
        Ok(())
    }

    /// Returns the result if there is one.
    pub(super) fn finished(&mut self) -> Option<io::Result<T>> {
        self.thread.take_if(|thread| thread.is_finished()).map(join)
    }

    /// Waits for the result, if there will be one.
    pub(super) fn wait(&mut self) -> Option<io::Result<T>> {
        self.thread.take().map(join)
    }
}

fn join<T>(thread: JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}
