//! A server that gives the recorded answers: proves that the runner asks, waits, masks and compares by the rules.
//!
//! It plays one case. Masked values become values again, parts of answers become whole answers, and what a step
//! waits for is there at the second asking.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};

use crate::case::{Case, Step};
use crate::json::{find, segments};
use crate::names::Names;
use crate::server::{Body, Server};

/// One request that is expected, and its answer.
struct Exchange {
    request: String,
    sends: Option<&'static str>,
    status: u16,
    kind: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    stays_open: bool,
}

impl Exchange {
    fn json(request: impl Into<String>, status: u16, body: &Value) -> Self {
        Self {
            request: request.into(),
            sends: None,
            status,
            kind: "application/json".to_owned(),
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
            stays_open: false,
        }
    }
}

/// A server that plays `case` for the runner's word `id`. It panics at a request that the case does not hold; requests
/// beyond the case's end (the cleanup) are answered with 200.
pub(crate) fn replay(case: &Case, id: &str) -> Server {
    let script = Arc::new(Mutex::new(script(case, id)));
    Server::new(tower::service_fn(move |request: Request<Full<Bytes>>| {
        let next = script.lock().expect("no test panicked with the lock").pop_front();
        async move { Ok::<_, Infallible>(answer(&request, next)) }
    }))
}

fn answer(request: &Request<Full<Bytes>>, next: Option<Exchange>) -> Response<Body> {
    let asked = format!("{} {}", request.method(), request.uri());
    let Some(exchange) = next else {
        assert!(asked.starts_with("DELETE /"), "{asked} comes after the last step");
        return Response::new(Full::default().map_err(Into::into).boxed_unsync());
    };
    assert_eq!(asked, exchange.request);
    assert_eq!(request.headers()["User-Agent"], "conform/1");
    if let Some(kind) = exchange.sends {
        assert_eq!(request.headers()["Content-Type"], kind, "{asked}");
    }
    let mut response = Response::builder().status(exchange.status);
    if !exchange.kind.is_empty() {
        response = response.header("Content-Type", format!("{};charset=utf-8", exchange.kind));
    }
    for (name, value) in exchange.headers {
        response = response.header(name, value);
    }
    let body = if exchange.stays_open {
        // In pieces, as a network may cut it.
        let pieces: Vec<Bytes> = exchange.body.chunks(100).map(Bytes::copy_from_slice).collect();
        let frames = futures::stream::iter(pieces).chain(futures::stream::pending());
        StreamBody::new(frames.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
    } else {
        Full::from(exchange.body).map_err(Into::into).boxed_unsync()
    };
    response.body(body).expect("recorded headers are valid")
}

fn script(case: &Case, id: &str) -> VecDeque<Exchange> {
    let mut out = VecDeque::new();
    let names = chosen_names(case, id);
    if case.needs_namespace {
        let account = format!("GET /api/v1/namespaces/{}/serviceaccounts/default", names.namespace());
        out.push_back(Exchange::json("POST /api/v1/namespaces", 201, &json!({"metadata": {"name": "made"}})));
        out.push_back(Exchange::json(account.clone(), 404, &json!({})));
        out.push_back(Exchange::json(account, 200, &json!({})));
    }
    for (number, step) in case.steps.iter().enumerate() {
        let Some(request) = &step.request else { continue };
        let request = names.fill_text(request);
        if step.watch.is_some() {
            let joined = case.steps[number..].iter().find(|later| later.join == step.watch);
            out.push_back(watch(request, joined.and_then(|step| step.want.as_ref()), &names));
            continue;
        }
        if let Some(until) = &step.until {
            let unsettled = match until["path"].as_str() {
                Some(path) if until["absent"] == true => placed(json!({}), path, json!("still there")),
                _ => Value::Null,
            };
            out.push_back(Exchange::json(request.clone(), 500, &unsettled));
        }
        let mut exchange = exchange(request, step, &names);
        if step.body.is_some() && !step.headers.contains_key("Content-Type") {
            exchange.sends = Some("application/json");
        }
        out.push_back(exchange);
    }
    out
}

fn watch(request: String, want: Option<&Value>, names: &Names) -> Exchange {
    let want = want.expect("every watch is joined");
    let mut lines = json!({"type": "BOOKMARK", "object": {}}).to_string();
    for event in want["events"].as_array().expect("a watch has events") {
        lines.push_str(&format!("\n\n{}", unmask(event, names)));
    }
    lines.push('\n');
    let status = want["status"].as_u64().expect("a recorded status");
    let mut exchange = Exchange::json(request, u16::try_from(status).expect("a status"), &Value::Null);
    exchange.body = lines.into_bytes();
    exchange.stays_open = true;
    exchange
}

fn exchange(request: String, step: &Step, names: &Names) -> Exchange {
    let nothing = json!({});
    let until = names.fill(step.until.as_ref().unwrap_or(&nothing));
    let want = step.want.as_ref().unwrap_or(&nothing);
    let status = want.get("status").or(until.get("status")).and_then(Value::as_u64).unwrap_or(200);
    let failed = status >= 400;
    let body = unmask(want.get("body").unwrap_or(&nothing), names);
    let mut document = match &step.at {
        Some(_) if body.is_null() => json!({}),
        Some(_) if failed && body["kind"] == "Status" => body,
        Some(at) => placed(json!({}), at, body),
        None => body,
    };
    if let Some(path) = until["path"].as_str().filter(|_| until["absent"] != true) {
        let there = find(&document, path);
        match until.get("equals") {
            Some(equals) if there != Some(equals) => document = placed(document, path, equals.clone()),
            None if there.is_none() => document = placed(document, path, json!("there")),
            _ => {}
        }
    }
    for (name, at) in &step.save {
        document = placed(document, at, names.fill_text(&format!("${name}")).into());
    }
    let mut exchange = Exchange::json(request, u16::try_from(status).expect("a status"), &document);
    if let Some(kind) = want["type"].as_str() {
        exchange.kind = kind.to_owned();
    }
    if let Some(text) = document.as_str().filter(|_| exchange.kind != "application/json") {
        exchange.body = text.as_bytes().to_vec();
    }
    if document.get("$protobuf").is_some() {
        exchange.body = b"k8s\0 and more".to_vec();
    }
    for name in ["location", "allow"] {
        if let Some(value) = want[name].as_str() {
            exchange.headers.push((name.to_owned(), names.fill_text(value)));
        }
    }
    exchange
}

/// `document` with `value` at `path`.
fn placed(mut document: Value, path: &str, value: Value) -> Value {
    let place = segments(path).into_iter().fold(&mut document, |inner, part| match part.parse::<usize>() {
        Ok(index) => {
            if !inner.is_array() {
                *inner = json!([]);
            }
            let items = inner.as_array_mut().expect("a list");
            if items.len() <= index {
                items.resize(index + 1, json!({}));
            }
            &mut items[index]
        }
        Err(_) => {
            if !inner.is_object() {
                *inner = json!({});
            }
            &mut inner[part]
        }
    });
    *place = value;
    document
}

/// A value for every name that the case saves, of the kind that its place has.
fn chosen_names(case: &Case, id: &str) -> Names {
    let mut names = Names::new(id);
    for (number, step) in case.steps.iter().enumerate() {
        for (name, at) in &step.save {
            let value = match segments(at).last().copied().unwrap_or_default() {
                "uid" => format!("0f8fad5b-d9cb-469f-a165-{number:012}"),
                "creationTimestamp" => format!("2024-01-02T03:04:{number:02}Z"),
                "clusterIP" => format!("10.254.0.{number}"),
                "name" if generates(step) => format!("a-x7k{:02}", number),
                _ => format!("saved-{name}-{number}"),
            };
            names.set(name, value.into());
        }
    }
    names
}

fn generates(step: &Step) -> bool {
    step.want.as_ref().is_some_and(|want| want["body"]["metadata"]["name"] == "a-$random")
}

/// A recorded value with values where masks are.
fn unmask(value: &Value, names: &Names) -> Value {
    match names.fill(value) {
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| (name.clone(), unmask(member, names)));
            members.collect()
        }
        Value::Array(items) => items.iter().map(|item| unmask(item, names)).collect(),
        Value::String(text) => text
            .replace("$uid", "7c9e6679-7425-40de-944b-e07fc1f90ae7")
            .replace("$time", "2025-06-07T08:09:10.123456Z")
            .replace("$random", "b2c4d")
            .replace("$clusterIP", "10.254.7.7")
            .replace("$nodePort", "30123")
            .replace("$rv", "31415926")
            .replace("$token", "b3BhcXVl")
            .into(),
        other => other,
    }
}
