//! A watch in process.

use bytes::BytesMut;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::Value;
use tower::ServiceExt as _;

/// What a server sends to one who watches a collection.
#[derive(Debug)]
pub(crate) struct Watch {
    body: Body,
    read: BytesMut,
}

impl Watch {
    /// Watches what happens behind a revision.
    pub(crate) async fn start(server: &ApiServer, path: &str, after: u64) -> Self {
        let path = format!("{path}?watch=true&resourceVersion={after}");
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Self { body: answer.into_body(), read: BytesMut::new() }
    }

    /// Returns the next event; nothing if the watch has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1);
                return Some(serde_json::from_slice(&line).expect("an event is JSON"));
            }
            let frame = self.body.frame().await?.ok()?;
            self.read.extend_from_slice(frame.data_ref().expect("a watch has no trailers"));
        }
    }
}
