//! A watch in the background: collects events until somebody asks for them.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower::BoxError;

use crate::server::Server;

/// What a watch has seen.
#[derive(Debug, Default)]
struct Seen {
    status: Option<u16>,
    events: Vec<Value>,
    ended: bool,
}

impl Seen {
    /// Bookmarks come when they like: they are not counted and not compared.
    fn is_counted(event: &Value) -> bool {
        event["type"] != "BOOKMARK"
    }

    fn counted(&self) -> usize {
        self.events.iter().filter(|event| Self::is_counted(event)).count()
    }
}

/// An open watch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: watch::Receiver<Seen>,
    reader: JoinHandle<()>,
}

impl Watch {
    /// Opens a watch, and returns when the server has answered with a status.
    pub(crate) async fn open(server: Server, path: String, headers: Vec<(String, String)>) -> Self {
        let (sender, mut seen) = watch::channel(Seen::default());
        let reader = tokio::spawn(async move {
            // A connection that breaks is how a watch ends.
            read(&server, &path, &headers, &sender).await.ok();
            sender.send_modify(|seen| seen.ended = true);
        });
        timeout(Duration::from_secs(10), seen.wait_for(|seen| seen.status.is_some() || seen.ended))
            .await
            .ok();
        Self { seen, reader }
    }

    /// Waits until `count` events were seen, or the watch ended, or for `patience`; then a little longer, because one
    /// event too many should be seen too. Returns the answer to compare.
    pub(crate) async fn join(mut self, count: usize, patience: Duration) -> Value {
        timeout(patience, self.seen.wait_for(|seen| seen.ended || seen.counted() >= count)).await.ok();
        sleep(Duration::from_millis(100)).await;
        let seen = self.seen.borrow();
        let events: Vec<&Value> = seen.events.iter().filter(|event| Seen::is_counted(event)).collect();
        json!({"status": seen.status, "events": events})
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(
    server: &Server,
    path: &str,
    headers: &[(String, String)],
    seen: &watch::Sender<Seen>,
) -> Result<(), BoxError> {
    let answer = server.open("GET", path, headers, None).await?;
    let refused = answer.status() != 200;
    seen.send_modify(|seen| seen.status = Some(answer.status().as_u16()));
    let mut body = answer.into_body();
    let mut unread = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        unread.extend_from_slice(&data);
        if refused {
            continue;
        }
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            note(&line, seen)?;
        }
    }
    note(&unread, seen)
}

fn note(line: &[u8], seen: &watch::Sender<Seen>) -> Result<(), BoxError> {
    if !line.trim_ascii().is_empty() {
        let event = serde_json::from_slice(line)?;
        seen.send_modify(|seen| seen.events.push(event));
    }
    Ok(())
}
