//! The binary under test while it runs.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::place::Place;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_quarterdeck");

/// How long a part may take to come up, or to stop.
const PATIENCE: Duration = Duration::from_secs(40);

/// `quarterdeck` with some arguments.
pub(crate) struct Running {
    what: String,
    child: Child,
    pid: u32,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
    _readers: JoinSet<()>,
}

impl Running {
    /// Starts it.
    pub(crate) async fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::start_by(place, "echo $$; exec \"$0\" \"$@\"", arguments).await
    }

    /// Starts it with so many open files at most, and waits until it says that it is ready.
    pub(crate) async fn limited(place: &Place, files: usize, arguments: &[&str]) -> Self {
        let script = format!("ulimit -n {files}; echo $$; exec \"$0\" \"$@\"");
        let mut running = Self::start_by(place, &script, arguments).await;
        running.until("ready").await;
        running
    }

    /// Starts it by a script of the shell, which prints its process number first.
    async fn start_by(place: &Place, script: &str, arguments: &[&str]) -> Self {
        let what = format!("quarterdeck {}", arguments.join(" "));
        let mut command = place.command("sh");
        command.args(["-c", script, BINARY]).args(arguments);
        command.env_remove("QUARTERDECK_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("programs can be started");
        let (sender, mut lines) = mpsc::channel(10_000);
        let mut readers = JoinSet::new();
        readers.spawn(read("", child.stdout.take().expect("it is piped"), sender.clone()));
        readers.spawn(read("! ", child.stderr.take().expect("it is piped"), sender));
        let pid = loop {
            let line = lines.recv().await.expect("the shell says its process number");
            match line.parse() {
                Ok(pid) => break pid,
                Err(_) => eprintln!("{what}: {line}"),
            }
        };
        Self { what, child, pid, lines, said: Vec::new(), _readers: readers }
    }

    /// Starts it, and waits until it says that it is ready.
    pub(crate) async fn ready(place: &Place, arguments: &[&str]) -> Self {
        let mut running = Self::start(place, arguments).await;
        running.until("ready").await;
        running
    }

    /// Waits until it prints a line with these words.
    pub(crate) async fn until(&mut self, words: &str) {
        let wait = async {
            while let Some(line) = self.lines.recv().await {
                let found = line.contains(words) && !line.starts_with("! ");
                self.said.push(line);
                if found {
                    return true;
                }
            }
            false
        };
        let found = timeout(PATIENCE, wait).await;
        assert!(found == Ok(true), "{} does not say {words:?} ({found:?}): {:#?}", self.what, self.said);
    }

    /// Returns the number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.pid
    }

    /// Presses Ctrl-C; it has to end well.
    pub(crate) async fn stop(mut self, place: &Place) {
        place.signal("INT", self.pid).await;
        let status = self.wait().await;
        assert!(status.success(), "{} after Ctrl-C: {status}: {:#?}", self.what, self.said);
    }

    /// Kills it without warning.
    pub(crate) async fn kill(mut self, place: &Place) {
        place.signal("KILL", self.pid).await;
        self.wait().await;
    }

    async fn wait(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait()).await;
        while let Ok(line) = self.lines.try_recv() {
            self.said.push(line);
        }
        let status = status.unwrap_or_else(|_| panic!("{} does not stop: {:#?}", self.what, self.said));
        status.expect("it can be waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            while let Ok(line) = self.lines.try_recv() {
                self.said.push(line);
            }
            let from = self.said.len().saturating_sub(60);
            eprintln!("{} said: {:#?}", self.what, &self.said[from..]);
        }
    }
}

async fn read(mark: &'static str, output: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(line)) = output.next_line().await {
        if lines.send(format!("{mark}{line}")).await.is_err() {
            return;
        }
    }
}
