//! What is stored, as etcd's first API showed it (`/v2/keys`), to be read.
//!
//! Start at [`EtcdV2View`], a tower service over any [`Storage`]: `curl http://127.0.0.1:4001/v2/keys/registry/minions/` tells
//! what is kept of nodes, whatever the engine. Nobody is asked who they are, and secrets are stored too: show it to this machine
//! alone, with `quarterdeck_core::loopback::LoopbackServer`.
//!
//! How nodes are read is in `node`, how a change is waited for in `wait`, what may be asked in `question`.
//!
//! Directories are what keys have in common up to a slash, so there are no empty ones, and a directory's indices are
//! those at which its first key was made. All changes of a commit have its revision as their index; a wait tells the first of them.

mod node;
mod question;
mod wait;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use quarterdeck_core::storage::{Revision, Storage, StorageError};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tower::Service;

use crate::body::Body;
use node::Node;
use question::Question;

/// How many reads are made at a time: each may have [`node::MOST`] bytes in memory. Others wait.
const READS: usize = 4;

/// A read-only view of a store in the shape of etcd's API of version 2. Clones are one.
///
/// It answers `GET /v2/keys/PATH` with `recursive`, `sorted`, `quorum`, `wait` and `waitIndex`, and refuses all else. Reads are
/// linearizable with and without `quorum`, and sorted with and without `sorted`. An answer that would be larger than 64 MiB is refused.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use http::Request;
/// use quarterdeck_core::storage::{Storage, Transaction};
/// use quarterdeck_registry::etcd_v2::EtcdV2View;
/// use quarterdeck_registry::{Body, MemoryStorage};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = Arc::new(MemoryStorage::new());
/// storage.commit(Transaction::new().put("/registry/minions/n1", "{}")).await?;
///
/// let view = EtcdV2View::new(storage);
/// let answer = view.oneshot(Request::get("/v2/keys/registry/minions/").body(Body::empty())?).await?;
///
/// assert_eq!(answer.status(), 200);
/// assert_eq!(answer.headers()["x-etcd-index"], "1");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EtcdV2View {
    storage: Arc<dyn Storage>,
    reads: Arc<Semaphore>,
}

impl EtcdV2View {
    /// Shows a store.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, reads: Arc::new(Semaphore::new(READS)) }
    }

    async fn answer(&self, method: &Method, uri: &Uri) -> Response<Body> {
        let Some(path) =
            uri.path().strip_prefix("/v2/keys").filter(|path| path.is_empty() || path.starts_with('/'))
        else {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if method != Method::GET && method != Method::HEAD {
            let mut answer =
                text(StatusCode::METHOD_NOT_ALLOWED, "this view of the store can only be read\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let asked = async {
            let question = Question::parse(path, uri.query().unwrap_or_default())?;
            if question.waits {
                return wait::wait(&*self.storage, &question).await;
            }
            let _turn = self.reads.acquire().await.map_err(|error| Failure::internal(&error))?;
            let found = node::read(&*self.storage, &question).await?;
            Ok(Some(found))
        };
        match asked.await {
            Ok(Some(found)) => found.respond(),
            // As etcd: nothing happened.
            Ok(None) => answer(StatusCode::OK, None, Body::empty()),
            Err(failure) => {
                let index = match failure.index {
                    Some(index) => index,
                    None => self.storage.revision().await.unwrap_or_default(),
                };
                failure.respond(index)
            }
        }
    }
}

impl<B: Send + 'static> Service<Request<B>> for EtcdV2View {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let view = self.clone();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Box::pin(async move { Ok(view.answer(&method, &uri).await) })
    }
}

/// What was found, and at which revision.
#[derive(Debug)]
struct Found {
    event: Event,
    index: Revision,
}

/// What etcd calls an event: what was done, and to what.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    action: &'static str,
    node: Node,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_node: Option<Node>,
}

impl Found {
    fn respond(&self) -> Response<Body> {
        let mut body = serde_json::to_vec(&self.event).expect("nodes have text for keys");
        body.push(b'\n');
        answer(StatusCode::OK, Some(self.index), Body::full(body))
    }
}

/// An error of etcd's API.
#[derive(Debug)]
struct Failure {
    code: u16,
    cause: String,
    /// The revision at which it was so; the present one if absent.
    index: Option<Revision>,
}

/// What etcd's codes of errors mean, and the status that goes with them.
const CODES: &[(u16, StatusCode, &str)] = &[
    (100, StatusCode::NOT_FOUND, "Key not found"),
    (203, StatusCode::BAD_REQUEST, "The given index in POST form is not a number"),
    (209, StatusCode::BAD_REQUEST, "Invalid field"),
    (300, StatusCode::INTERNAL_SERVER_ERROR, "Raft Internal Error"),
    (401, StatusCode::BAD_REQUEST, "The event in requested index is outdated and cleared"),
];

impl Failure {
    fn not_found(key: &str, index: Revision) -> Self {
        Self { code: 100, cause: key.to_owned(), index: Some(index) }
    }

    fn not_a_number(field: &str) -> Self {
        Self { code: 203, cause: format!("invalid value for \"{field}\""), index: None }
    }

    fn invalid(cause: impl Into<String>) -> Self {
        Self { code: 209, cause: cause.into(), index: None }
    }

    fn cleared(compacted: Revision, asked: Revision) -> Self {
        let cause = format!("the requested history has been cleared [{compacted}/{asked}]");
        Self { code: 401, cause, index: None }
    }

    fn internal(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let cause = causes.fold(error.to_string(), |all, cause| format!("{all}: {cause}"));
        Self { code: 300, cause, index: None }
    }

    fn respond(&self, index: Revision) -> Response<Body> {
        let known = CODES.iter().find(|(code, ..)| *code == self.code);
        let (_, status, message) = *known.unwrap_or(&CODES[0]);
        let body = json!({"errorCode": self.code, "message": message, "cause": self.cause, "index": index.0});
        answer(status, Some(index), Body::full(format!("{body}\n")))
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::internal(&error)
    }
}

fn answer(status: StatusCode, index: Option<Revision>, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(index) = index {
        headers.insert("x-etcd-index", HeaderValue::from(index.0));
    }
    answer
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = answer(status, None, Body::full(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
