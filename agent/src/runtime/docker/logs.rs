//! Reading what containers wrote, as the engine kept it.

use async_trait::async_trait;
use bollard::query_parameters::LogsOptions;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use quarterdeck_core::runtime::{ContainerKey, LogChunks, LogOptions, Logs, RuntimeError};

use super::DockerRuntime;

#[async_trait]
impl Logs for DockerRuntime {
    async fn open(&self, container: &ContainerKey, options: LogOptions) -> Result<LogChunks, RuntimeError> {
        let node = self.node().await?;
        let held = node.find(container).await?;
        let held = held.ok_or_else(|| RuntimeError::ContainerNotFound(container.clone()))?;
        // The engine counts whole seconds: what is older within the first one is left out here, by the times of lines.
        let wanted = LogsOptions {
            follow: options.follow,
            stdout: true,
            stderr: true,
            since: options.since.and_then(|since| i32::try_from(since.as_second()).ok()).unwrap_or_default(),
            timestamps: options.timestamps || options.since.is_some(),
            tail: options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            ..LogsOptions::default()
        };
        let docker = node.engine.docker.clone();
        let frames = docker.logs(&held.id, Some(wanted));
        let chunks = frames.filter_map(move |frame| {
            let chunk = match frame {
                Ok(frame) => cut(frame.into_bytes(), options).map(Ok),
                Err(error) => Some(Err(RuntimeError::unavailable(error))),
            };
            std::future::ready(chunk)
        });
        Ok(chunks.boxed())
    }
}

/// Leaves out a line that is older than asked for, and the time before it if that was not asked for.
fn cut(line: Bytes, options: LogOptions) -> Option<Bytes> {
    let Some(since) = options.since else { return Some(line) };
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let time = std::str::from_utf8(&line[..end]).ok().and_then(|time| time.parse::<Timestamp>().ok());
    match time {
        Some(time) if time < since => None,
        Some(_) if !options.timestamps => Some(line.slice((end + 1).min(line.len())..)),
        _ => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_first_second_are_cut_to_the_nanosecond() {
        let since = Some("2026-01-01T00:00:00.5Z".parse().unwrap());
        let plain = LogOptions { since, ..LogOptions::default() };
        let timed = LogOptions { since, timestamps: true, ..LogOptions::default() };
        let line = |text: &str| Bytes::from(text.to_owned());

        assert_eq!(cut(line("2026-01-01T00:00:00.499999999Z early\n"), plain), None);
        assert_eq!(cut(line("2026-01-01T00:00:00.500000000Z in time\n"), plain), Some(line("in time\n")));
        let with_time = line("2026-01-01T00:00:01Z later\n");
        assert_eq!(cut(with_time.clone(), timed), Some(with_time));
    }
}
