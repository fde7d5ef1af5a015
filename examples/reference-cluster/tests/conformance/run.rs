//! Runs one case against a server.
//!
//! Start at [`run`]. Every case has a word and a namespace of its own; what it made is deleted when it ends.
//! Waiting is `tokio::time`, so that a test with paused time waits for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use tower::BoxError;

use crate::case::{Case, Step};
use crate::json::{brief, dump, find, on_one_line, same, segments};
use crate::names::{Masking, Names};
use crate::server::{Answer, Server, header};
use crate::watch::Watch;

/// What a case got.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The masked answer of each step that was done; none for a step that has no answer to compare.
    pub(crate) answers: Vec<Option<Value>>,
    /// Why not all steps were done.
    pub(crate) stopped: Option<Stop>,
}

/// Why a case ended early: a step had nothing to build on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The server gave no answer at all.
    #[error("{request}: no answer: {source}")]
    NoAnswer {
        /// Method and path.
        request: String,
        source: BoxError,
    },
    /// Setting the scene failed.
    #[error("{request}: {status} {body}")]
    Refused {
        /// Method and path.
        request: String,
        status: u16,
        body: String,
    },
    /// What a step waits for did not come.
    #[error("{request}: waited in vain for {until}: {status} {body}")]
    InVain {
        /// Method and path.
        request: String,
        until: String,
        status: u16,
        body: String,
    },
    /// The answer lacks what later steps need.
    #[error("{request}: nothing at {at} to save: {body}")]
    NothingToSave {
        /// Method and path.
        request: String,
        at: String,
        body: String,
    },
    /// No watch of that name is open.
    #[error("no watch is called {0}")]
    NoWatch(String),
}

/// Runs `case` with the word `id`, and deletes what it made.
pub(crate) async fn run(server: &Server, masking: &Masking, case: &Case, id: &str) -> Outcome {
    let mut run = Run {
        server,
        names: Names::new(id),
        watches: BTreeMap::new(),
        cleanup: Vec::new(),
        answers: Vec::new(),
    };
    let stopped = run.steps(case).await.err();
    for path in run.cleanup.iter().rev() {
        // Like the step that it follows, a cleanup may fail: the case has its answers.
        server.call("DELETE", path, &[], None).await.ok();
    }
    let masked = |answer: Option<Value>| answer.map(|answer| masking.mask(&answer, &run.names));
    Outcome { answers: run.answers.into_iter().map(masked).collect(), stopped }
}

struct Run<'a> {
    server: &'a Server,
    names: Names,
    watches: BTreeMap<String, Watch>,
    cleanup: Vec<String>,
    answers: Vec<Option<Value>>,
}

impl Run<'_> {
    async fn steps(&mut self, case: &Case) -> Result<(), Stop> {
        if case.needs_namespace {
            self.make_namespace().await?;
        }
        for step in &case.steps {
            let answer = self.step(step).await?;
            self.answers.push(answer);
        }
        Ok(())
    }

    async fn make_namespace(&mut self) -> Result<(), Stop> {
        let name = self.names.namespace();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let made =
            self.call("POST", "/api/v1/namespaces", &[json_type()], Some(&namespace.to_string())).await?;
        if made.status != 201 {
            return Err(refused("POST /api/v1/namespaces", &made));
        }
        self.cleanup.push(format!("/api/v1/namespaces/{name}"));
        for _ in 0..200 {
            let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
            if self.call("GET", &account, &[], None).await?.status == 200 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<Option<Value>, Stop> {
        if let Some(seconds) = step.sleep {
            sleep(Duration::from_secs_f64(seconds)).await;
            return Ok(None);
        }
        if let Some(name) = &step.join {
            let watch = self.watches.remove(name).ok_or_else(|| Stop::NoWatch(name.clone()))?;
            let patience = Duration::from_secs_f64(step.timeout.unwrap_or(5.0));
            return Ok(Some(watch.join(step.events.unwrap_or(1), patience).await));
        }
        let request = self.names.fill_text(step.request.as_deref().unwrap_or_default());
        let (method, path) = request.split_once(' ').expect("a step has a method and a path");
        let mut headers: Vec<(String, String)> =
            step.headers.iter().map(|(name, value)| (name.clone(), self.names.fill_text(value))).collect();
        if let Some(name) = &step.watch {
            let watch = Watch::open(self.server.clone(), path.to_owned(), headers).await;
            self.watches.insert(name.clone(), watch);
            return Ok(None);
        }
        let body = self.body(step);
        if body.is_some() && !step.headers.contains_key("Content-Type") {
            headers.push(json_type());
        }

        let answer = self.ask(step, &request, &headers, body).await?;
        for (name, at) in &step.save {
            let value = find(&answer.content, at).ok_or_else(|| Stop::NothingToSave {
                request: request.clone(),
                at: at.clone(),
                body: brief(&answer.content),
            })?;
            self.names.set(name, value.clone());
        }
        self.note_cleanup(method, path, &answer);
        if step.quiet {
            let failed = answer.status >= 400 && step.until.is_none();
            return if failed { Err(refused(&request, &answer)) } else { Ok(None) };
        }
        Ok(Some(recorded(&answer, step.at.as_deref())))
    }

    /// The bytes that the step sends.
    fn body(&self, step: &Step) -> Option<Bytes> {
        let body = match step {
            Step { raw: Some(raw), .. } => self.names.fill_text(raw).into(),
            Step { bytes: Some(bytes), .. } => {
                STANDARD.decode(bytes).expect("a step's bytes are base64").into()
            }
            Step { body: Some(body), .. } => self.names.fill_json(&on_one_line(body.get())).into(),
            _ => return None,
        };
        let Some(repeat) = &step.repeat else { return Some(body) };
        let mut document: Value = serde_json::from_slice(&body).expect("only JSON can be filled up");
        let place = segments(&repeat.at).into_iter().fold(&mut document, |inner, part| &mut inner[part]);
        *place = "x".repeat(repeat.count).into();
        Some(dump(&document).into())
    }

    /// Sends the request until its answer is what the step waits for.
    async fn ask(
        &self,
        step: &Step,
        request: &str,
        headers: &[(String, String)],
        body: Option<Bytes>,
    ) -> Result<Answer, Stop> {
        let (method, path) = request.split_once(' ').expect("a step has a method and a path");
        let until = step.until.as_ref().map(|until| self.names.fill(until)).unwrap_or_default();
        let patience = until["timeout"].as_f64().unwrap_or(10.0);
        let end = Instant::now() + Duration::from_secs_f64(patience);
        loop {
            let answer = self
                .server
                .call(method, path, headers, body.clone())
                .await
                .map_err(|source| Stop::NoAnswer { request: request.to_owned(), source })?;
            if settled(&until, &answer) {
                return Ok(answer);
            }
            if Instant::now() > end {
                return Err(Stop::InVain {
                    request: request.to_owned(),
                    until: dump(&until),
                    status: answer.status,
                    body: brief(&answer.content),
                });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<&str>,
    ) -> Result<Answer, Stop> {
        let body = body.map(|body| Bytes::copy_from_slice(body.as_bytes()));
        self.server
            .call(method, path, headers, body)
            .await
            .map_err(|source| Stop::NoAnswer { request: format!("{method} {path}"), source })
    }

    /// Remembers what a request made outside the case's namespace.
    fn note_cleanup(&mut self, method: &str, path: &str, answer: &Answer) {
        let made = method == "POST" && answer.status == 201;
        if !made || path.contains("/namespaces/") || path.contains("dryRun") {
            return;
        }
        if let Some(Value::String(name)) = find(&answer.content, "metadata.name") {
            let collection = path.split('?').next().unwrap_or(path);
            self.cleanup.push(format!("{collection}/{name}"));
        }
    }
}

/// The part of an answer that is recorded and compared.
fn recorded(answer: &Answer, at: Option<&str>) -> Value {
    let kind = header(&answer.headers, "content-type").unwrap_or_default();
    let mut out = Map::new();
    out.insert("status".to_owned(), answer.status.into());
    out.insert("type".to_owned(), kind.split(';').next().unwrap_or_default().into());
    for name in ["warning", "location", "retry-after", "allow"] {
        if let Some(value) = header(&answer.headers, name) {
            out.insert(name.to_owned(), value.into());
        }
    }
    let part = match at {
        Some(at) => find(&answer.content, at),
        None => Some(&answer.content),
    };
    let body = match part {
        None if answer.status >= 400 => answer.content.clone(),
        part => part.cloned().unwrap_or_default(),
    };
    out.insert("body".to_owned(), body);
    out.into()
}

fn settled(until: &Value, answer: &Answer) -> bool {
    if until.get("status").is_some_and(|status| *status != answer.status) {
        return false;
    }
    let Some(path) = until.get("path").and_then(Value::as_str) else { return true };
    let found = find(&answer.content, path);
    if until["absent"] == true {
        return found.is_none();
    }
    match (until.get("equals"), found) {
        (None, found) => found.is_some(),
        (Some(want), found) => same(want, found.unwrap_or(&Value::Null)),
    }
}

fn refused(request: &str, answer: &Answer) -> Stop {
    Stop::Refused { request: request.to_owned(), status: answer.status, body: brief(&answer.content) }
}

fn json_type() -> (String, String) {
    ("Content-Type".to_owned(), "application/json".to_owned())
}
