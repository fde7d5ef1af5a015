//! What is logged while a test runs, in its own thread.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Level};

/// While there is only one who follows, tracing asks the thread that is the first to come by a place in the code whether anybody
/// wants to know of it, and remembers the answer: which is no, if that thread runs another test. Of two, all are asked.
static OTHER: LazyLock<Dispatch> = LazyLock::new(|| {
    let other = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_writer(io::sink);
    Dispatch::new(other.finish())
});

/// Follows the log of this thread, `DEBUG` and above, until it is dropped.
pub(crate) struct Log {
    written: Written,
    _follows: DefaultGuard,
}

#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn follow() -> Self {
        LazyLock::force(&OTHER);
        let written = Written::default();
        let writer = written.clone();
        let log = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_ansi(false);
        let log = log.with_writer(move || writer.clone()).finish();
        Self { written, _follows: tracing::subscriber::set_default(log) }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.0.lock().unwrap()).into_owned()
    }

    /// Returns the lines that hold a text.
    pub(crate) fn lines_with(&self, wanted: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(wanted)).map(str::to_owned).collect()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
