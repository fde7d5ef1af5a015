//! The logs of simulated containers: the lines of their scripts, as time passes.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use quarterdeck_core::runtime::{ContainerKey, ContainerState, LogChunks, LogOptions, Logs, RuntimeError};
use tokio::time::Instant;

use super::SimulatedRuntime;
use super::state::State;

#[async_trait]
impl Logs for SimulatedRuntime {
    async fn open(&self, container: &ContainerKey, options: LogOptions) -> Result<LogChunks, RuntimeError> {
        let written = {
            let state = self.available()?;
            let held = state.container(container);
            held.ok_or_else(|| RuntimeError::ContainerNotFound(container.clone()))?.log(Instant::now()).len()
        };
        let tail = options.tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
        let reader = Reader {
            node: self.clone(),
            key: container.clone(),
            options,
            line: tail.map_or(0, |tail| written.saturating_sub(tail)),
        };
        let chunks = stream::unfold(Some(reader), |reader| async move {
            let (chunk, reader) = reader?.next().await;
            Some((Ok(chunk), reader))
        });
        Ok(chunks.boxed())
    }
}

struct Reader {
    node: SimulatedRuntime,
    key: ContainerKey,
    options: LogOptions,
    /// The number of the line to read next.
    line: usize,
}

impl Reader {
    /// Reads what follows, and returns itself if there is more to come.
    async fn next(mut self) -> (Bytes, Option<Self>) {
        let (lines, ended) = if self.options.follow {
            let next_line = |state: &State| state.container(&self.key)?.next_line(Instant::now());
            let look =
                |state: &State| Some(self.look(state)).filter(|(lines, ended)| *ended || !lines.is_empty());
            self.node.until(look, next_line).await
        } else {
            self.look(&self.node.state())
        };
        self.line += lines.len();
        let text = self.text(&lines);
        let more = self.options.follow && !ended;
        (text, more.then_some(self))
    }

    /// Returns the lines that were not read yet, and whether they are the last.
    fn look(&self, state: &State) -> (Vec<(Timestamp, String)>, bool) {
        let Some(container) = state.container(&self.key) else {
            return (Vec::new(), true);
        };
        let mut lines = container.log(Instant::now());
        let lines = lines.split_off(self.line.min(lines.len()));
        (lines, matches!(container.state, ContainerState::Exited(_)))
    }

    fn text(&self, lines: &[(Timestamp, String)]) -> Bytes {
        let wanted = lines.iter().filter(|(at, _)| self.options.since.is_none_or(|since| *at >= since));
        let text = wanted.map(|(at, line)| {
            if self.options.timestamps { format!("{at:.9} {line}\n") } else { format!("{line}\n") }
        });
        text.collect::<String>().into()
    }
}
