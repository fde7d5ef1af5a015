//! An API server of a few lines: collections of anything, list, watch, create, replace, merge patch and delete.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Context;
use crate::clock::Clock;
use crate::component::BoxError;
use crate::random::Random;

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// Where an object is: its plural, namespace and name.
type Path = (String, String, String);

#[derive(Clone, Default)]
pub(super) struct FakeApi(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    revision: u64,
    oldest: u64,
    generation: u64,
    objects: BTreeMap<Path, Value>,
    log: Vec<(u64, String, &'static str, Value)>,
    requests: Vec<String>,
    down: bool,
    hangs: bool,
    late: Duration,
}

impl FakeApi {
    pub(super) fn context(&self) -> Context {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { api.answer(request).await }
        });
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
        Context::new(Client::new(service, "default"), clock, Random::seeded(1))
    }

    pub(super) fn put(&self, plural: &str, namespace: &str, name: &str, object: Value) -> Value {
        let path = (plural.into(), namespace.into(), name.into());
        let stored = self.lock().put(path, object);
        self.0.changed.send_replace(());
        stored
    }

    pub(super) fn remove(&self, plural: &str, namespace: &str, name: &str) {
        self.lock().remove(&(plural.into(), namespace.into(), name.into()));
        self.0.changed.send_replace(());
    }

    pub(super) fn list(&self, plural: &str) -> Vec<Value> {
        self.lock().list(plural, "")
    }

    /// Makes every request fail, and ends all watches.
    pub(super) fn down(&self, down: bool) {
        let mut state = self.lock();
        state.down = down;
        state.generation += 1;
        drop(state);
        self.0.changed.send_replace(());
    }

    /// Lets requests that come from now on have no answer, ever.
    pub(super) fn hang(&self, hangs: bool) {
        self.lock().hangs = hangs;
    }

    /// Lets answers come so long after what they tell of.
    pub(super) fn answer_late(&self, late: Duration) {
        self.lock().late = late;
    }

    /// Forgets history, and ends all watches.
    pub(super) fn compact(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.oldest = state.revision;
        drop(state);
        self.0.changed.send_replace(());
    }

    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().requests)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Result<Answer, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let query = head.uri.query().unwrap_or_default().to_owned();
        let (plural, namespace, name) = parse(head.uri.path());
        if self.lock().down {
            return Err("down".into());
        }
        if self.lock().hangs {
            std::future::pending::<()>().await;
        }
        if query.contains("watch=true") {
            return Ok(self.watch(plural, &query));
        }
        let (answer, late) = {
            let mut state = self.lock();
            state.requests.push(format!("{} {}", head.method, head.uri.path()));
            (state.handle(&head.method, (plural, namespace, name), body), state.late)
        };
        self.0.changed.send_replace(());
        if !late.is_zero() {
            tokio::time::sleep(late).await;
        }
        let (code, value) = answer;
        let body = Full::from(value.to_string()).map_err(BoxError::from).boxed_unsync();
        Ok(Response::builder().status(code).body(body)?)
    }

    fn watch(&self, plural: String, query: &str) -> Answer {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let from: u64 = from.unwrap().parse().unwrap();
        let generation = self.lock().generation;
        let (api, changes) = (self.clone(), self.0.changed.subscribe());
        let events = stream::unfold((from, changes, false), move |(from, mut changes, ended)| {
            let (api, plural) = (api.clone(), plural.clone());
            async move {
                if ended {
                    return None;
                }
                loop {
                    let (mut lines, revision, oldest, now) = {
                        let state = api.lock();
                        (state.since(&plural, from), state.revision, state.oldest, state.generation)
                    };
                    if from < oldest {
                        let gone = json!({"type": "ERROR", "object": status(410, "Expired")});
                        return Some((format!("{gone}\n"), (from, changes, true)));
                    }
                    if now != generation {
                        return None;
                    }
                    if !lines.is_empty() {
                        lines.push('\n');
                        return Some((lines, (revision, changes, false)));
                    }
                    changes.changed().await.ok()?;
                }
            }
        });
        let frames = events.map(|line| Ok(http_body::Frame::data(Bytes::from(line))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

impl State {
    fn put(&mut self, path: Path, mut object: Value) -> Value {
        self.revision += 1;
        let known = self.objects.get(&path);
        let uid =
            known.map_or_else(|| format!("uid-{}", self.revision).into(), |o| o["metadata"]["uid"].clone());
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = self.revision.to_string().into();
        metadata["name"] = path.2.clone().into();
        metadata["uid"] = uid;
        if !path.1.is_empty() {
            metadata["namespace"] = path.1.clone().into();
        }
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.log.push((self.revision, path.0.clone(), kind, object.clone()));
        self.objects.insert(path, object.clone());
        object
    }

    fn remove(&mut self, path: &Path) -> Option<Value> {
        let mut object = self.objects.remove(path)?;
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.log.push((self.revision, path.0.clone(), "DELETED", object.clone()));
        Some(object)
    }

    fn list(&self, plural: &str, namespace: &str) -> Vec<Value> {
        let wanted = |path: &Path| path.0 == plural && (namespace.is_empty() || path.1 == namespace);
        self.objects.iter().filter(|(path, _)| wanted(path)).map(|(_, object)| object.clone()).collect()
    }

    fn since(&self, plural: &str, from: u64) -> String {
        let later = self.log.iter().filter(|(at, of, ..)| *at > from && of == plural);
        let lines: Vec<_> =
            later.map(|(_, _, kind, object)| json!({"type": kind, "object": object}).to_string()).collect();
        lines.join("\n")
    }

    fn handle(&mut self, method: &Method, path: Path, body: Value) -> (u16, Value) {
        let known = self.objects.get(&path).cloned();
        match (method.as_str(), known) {
            ("GET", _) if path.2.is_empty() => {
                let metadata = json!({"resourceVersion": self.revision.to_string()});
                (200, json!({"metadata": metadata, "items": self.list(&path.0, &path.1)}))
            }
            ("POST", _) => {
                let path = (path.0, path.1, body["metadata"]["name"].as_str().unwrap().to_owned());
                if self.objects.contains_key(&path) {
                    return (409, status(409, "AlreadyExists"));
                }
                (201, self.put(path, body))
            }
            (_, None) => (404, status(404, "NotFound")),
            ("GET", Some(object)) => (200, object),
            ("PUT", Some(object)) => {
                let expected = &body["metadata"]["resourceVersion"];
                if !expected.is_null() && *expected != object["metadata"]["resourceVersion"] {
                    return (409, status(409, "Conflict"));
                }
                (200, self.put(path, body))
            }
            ("PATCH", Some(mut object)) => {
                for (field, value) in body.as_object().unwrap() {
                    object[field] = value.clone();
                }
                (200, self.put(path, object))
            }
            ("DELETE", Some(_)) => (200, self.remove(&path).unwrap()),
            other => panic!("the fake does not do {other:?}"),
        }
    }
}

fn parse(path: &str) -> Path {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let namespace = if parts[0] == "namespaces" && parts.len() > 2 {
        parts.drain(..2).nth(1).unwrap_or_default()
    } else {
        ""
    };
    (parts[0].into(), namespace.into(), parts.get(1).copied().unwrap_or_default().into())
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}
