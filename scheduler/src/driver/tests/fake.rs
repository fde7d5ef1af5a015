//! An API server of a few lines that does what the driver asks for, and fails when told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use quarterdeck_core::client::Context;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::BoxError;
use quarterdeck_core::random::Random;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// Where an object is: its plural, namespace and name.
type Path = (String, String, String);

/// What becomes of the next bind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    /// It is refused with this code.
    Refused(u16),
    /// It is not done, and nobody says so.
    RequestLost,
    /// It is done, and nobody says so.
    AnswerLost,
}

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
    objects: BTreeMap<Path, Value>,
    log: Vec<(u64, String, &'static str, Value)>,
    troubles: VecDeque<Trouble>,
    bind_takes: Duration,
    bound: Vec<(Instant, String)>,
    statuses: usize,
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

    pub(super) fn node(&self, name: &str, cpu: &str) {
        self.put("nodes", "", name, json!({ "metadata": {}, "status": { "allocatable": { "cpu": cpu } } }));
    }

    pub(super) fn pod(&self, name: &str, cpu: &str) {
        self.pod_with(name, cpu, json!({}));
    }

    /// Creates a pod with more in its spec.
    pub(super) fn pod_with(&self, name: &str, cpu: &str, spec: Value) {
        let mut pod = json!({
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "resources": { "requests": { "cpu": cpu } } }] },
            "status": {},
        });
        merge(&mut pod["spec"], spec);
        self.put("pods", "default", name, pod);
    }

    pub(super) fn change_pod(&self, name: &str, change: Value) {
        let mut pod = self.get("pods", name);
        merge(&mut pod, change);
        self.put("pods", "default", name, pod);
    }

    pub(super) fn put(&self, plural: &str, namespace: &str, name: &str, object: Value) {
        self.lock().put((plural.into(), namespace.into(), name.into()), object);
        self.0.changed.send_replace(());
    }

    pub(super) fn remove_pod(&self, name: &str) {
        self.lock().remove(&("pods".into(), "default".into(), name.into()));
        self.0.changed.send_replace(());
    }

    pub(super) fn get(&self, plural: &str, name: &str) -> Value {
        let state = self.lock();
        let namespace = if plural == "nodes" { "" } else { "default" };
        state.objects.get(&(plural.into(), namespace.into(), name.into())).cloned().unwrap_or_default()
    }

    /// Returns the node of a pod; empty if it has none.
    pub(super) fn node_of(&self, pod: &str) -> String {
        self.get("pods", pod)["spec"]["nodeName"].as_str().unwrap_or_default().into()
    }

    /// Returns events as `object reason xcount: message`.
    pub(super) fn events(&self) -> Vec<String> {
        let state = self.lock();
        let events = state.objects.iter().filter(|(path, _)| path.0 == "events");
        let mut all: Vec<_> = events
            .map(|(_, event)| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let object = text(&event["involvedObject"]["name"]);
                format!(
                    "{object} {} x{}: {}",
                    text(&event["reason"]),
                    event["count"],
                    text(&event["message"])
                )
            })
            .collect();
        all.sort();
        all
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        self.lock().troubles.push_back(trouble);
    }

    pub(super) fn binds_take(&self, time: Duration) {
        self.lock().bind_takes = time;
    }

    /// Returns when pods were bound, and which, in order.
    pub(super) fn bound(&self) -> Vec<(Instant, String)> {
        self.lock().bound.clone()
    }

    /// Returns how often a pod's status was patched.
    pub(super) fn statuses(&self) -> usize {
        self.lock().statuses
    }

    /// Returns everything that was ever committed, as text.
    pub(super) fn history(&self) -> Vec<String> {
        self.lock().log.iter().map(|entry| format!("{entry:?}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Result<Answer, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let query = head.uri.query().unwrap_or_default().to_owned();
        let (path, subresource) = parse(head.uri.path());
        if query.contains("watch=true") {
            return Ok(self.watch(path.0, &query));
        }
        let trouble = if subresource == "binding" {
            let (trouble, takes) = {
                let mut state = self.lock();
                (state.troubles.pop_front(), state.bind_takes)
            };
            tokio::time::sleep(takes).await;
            trouble
        } else {
            None
        };
        let (code, value) = match trouble {
            Some(Trouble::Refused(code)) => (code, status(code, "Refused")),
            Some(Trouble::RequestLost) => return Err("request lost".into()),
            Some(Trouble::AnswerLost) | None => {
                self.lock().handle(head.method.as_str(), path, &subresource, body)
            }
        };
        self.0.changed.send_replace(());
        if matches!(trouble, Some(Trouble::AnswerLost)) {
            return Err("answer lost".into());
        }
        let body = Full::from(value.to_string()).map_err(BoxError::from).boxed_unsync();
        Ok(Response::builder().status(code).body(body)?)
    }

    fn watch(&self, plural: String, query: &str) -> Answer {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let from: u64 = from.unwrap().parse().unwrap();
        let api = self.clone();
        let events = stream::unfold((from, self.0.changed.subscribe()), move |(from, mut changes)| {
            let (api, plural) = (api.clone(), plural.clone());
            async move {
                loop {
                    changes.borrow_and_update();
                    let (mut lines, revision) = {
                        let state = api.lock();
                        (state.since(&plural, from), state.revision)
                    };
                    if !lines.is_empty() {
                        lines.push('\n');
                        return Some((lines, (revision, changes)));
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

    fn since(&self, plural: &str, from: u64) -> String {
        let later = self.log.iter().filter(|(at, of, ..)| *at > from && of == plural);
        let lines: Vec<_> =
            later.map(|(_, _, kind, object)| json!({"type": kind, "object": object}).to_string()).collect();
        lines.join("\n")
    }

    fn handle(&mut self, method: &str, path: Path, subresource: &str, body: Value) -> (u16, Value) {
        let known = self.objects.get(&path).cloned();
        match (method, subresource, known) {
            ("GET", _, _) if path.2.is_empty() => {
                let items: Vec<_> =
                    self.objects.iter().filter(|(at, _)| at.0 == path.0).map(|(_, object)| object).collect();
                (200, json!({"metadata": {"resourceVersion": self.revision.to_string()}, "items": items}))
            }
            ("POST", "", None) => {
                let path = (path.0, path.1, body["metadata"]["name"].as_str().unwrap().to_owned());
                (201, self.put(path, body))
            }
            (_, _, None) => (404, status(404, "NotFound")),
            ("POST", "binding", Some(mut pod)) => {
                if pod["spec"]["nodeName"].is_string() || body["metadata"]["uid"] != pod["metadata"]["uid"] {
                    return (409, status(409, "Conflict"));
                }
                pod["spec"]["nodeName"] = body["target"]["name"].clone();
                pod["status"]["conditions"] = json!([{ "type": "PodScheduled", "status": "True" }]);
                self.bound.push((Instant::now(), path.2.clone()));
                self.put(path, pod);
                (201, json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}))
            }
            ("GET", _, Some(object)) => (200, object),
            ("PATCH", "status", Some(mut object)) => {
                assert_eq!(
                    body["metadata"]["uid"], object["metadata"]["uid"],
                    "the patch names the pod's uid"
                );
                self.statuses += 1;
                merge(&mut object["status"], body["status"].clone());
                (200, self.put(path, object))
            }
            ("PATCH", "", Some(mut object)) => {
                merge(&mut object, body);
                (200, self.put(path, object))
            }
            ("DELETE", "", Some(object)) => {
                assert_eq!(
                    body["preconditions"]["uid"], object["metadata"]["uid"],
                    "the delete names the uid"
                );
                (200, self.remove(&path).unwrap())
            }
            other => panic!("the fake does not do {other:?}"),
        }
    }
}

fn merge(object: &mut Value, change: Value) {
    match change {
        Value::Object(fields) => {
            for (field, value) in fields {
                merge(&mut object[field.as_str()], value);
            }
        }
        other => *object = other,
    }
}

fn parse(path: &str) -> (Path, String) {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').skip(2).collect();
    let namespace = if parts[0] == "namespaces" && parts.len() > 2 {
        parts.drain(..2).nth(1).unwrap_or_default()
    } else {
        ""
    };
    let part = |at: usize| parts.get(at).copied().unwrap_or_default().to_owned();
    ((part(0), namespace.into(), part(1)), part(2))
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}
