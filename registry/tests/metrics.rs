//! What a server counts, and who may see it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::{Value, json};
use support::{call, send};
use tower::ServiceExt as _;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn metrics(server: &ApiServer) -> String {
    server.metrics().answer(None).text
}

/// Returns the value of the series of this name and these labels, in any order.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let line = text.lines().find(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
        rest.is_some_and(|rest| {
            labels.iter().all(|(name, value)| rest.contains(&format!("{name}=\"{value}\"")))
        })
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn a_request_is_counted_under_what_it_asked_for_and_how_it_was_answered() {
    let server = ApiServer::in_memory().await.unwrap();
    let map = json!({"metadata": {"name": "m"}});

    call(&server, "POST", MAPS, map.clone()).await;
    call(&server, "POST", MAPS, map.clone()).await;
    call(&server, "POST", &format!("{MAPS}?dryRun=All"), json!({"metadata": {"name": "dry"}})).await;
    for _ in 0..3 {
        call(&server, "GET", &format!("{MAPS}/m"), Value::Null).await;
    }
    call(&server, "GET", "/api/v1/configmaps", Value::Null).await;
    call(&server, "GET", MAPS, Value::Null).await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    send(&server, "PATCH", &format!("{MAPS}/m?fieldManager=me"), &apply, applied).await;

    let text = metrics(&server);
    let maps = [("group", ""), ("version", "v1"), ("resource", "configmaps"), ("component", "apiserver")];
    let counted = |more: &[(&str, &str)]| value(&text, "apiserver_request_total", &[&maps, more].concat());
    let one = ("scope", "resource");
    assert_eq!(counted(&[("verb", "POST"), one, ("dry_run", ""), ("code", "201")]), Some(1.0), "{text}");
    assert_eq!(counted(&[("verb", "POST"), one, ("dry_run", ""), ("code", "409")]), Some(1.0));
    assert_eq!(counted(&[("verb", "POST"), one, ("dry_run", "All"), ("code", "201")]), Some(1.0));
    assert_eq!(counted(&[("verb", "GET"), one, ("code", "200")]), Some(3.0));
    assert_eq!(counted(&[("verb", "LIST"), ("scope", "cluster"), ("code", "200")]), Some(1.0));
    assert_eq!(counted(&[("verb", "LIST"), ("scope", "namespace"), ("code", "200")]), Some(1.0));
    assert_eq!(counted(&[("verb", "APPLY"), one, ("code", "200")]), Some(1.0));
    let took = [("verb", "GET"), ("resource", "configmaps")];
    assert_eq!(value(&text, "apiserver_request_duration_seconds_count", &took), Some(3.0));
    assert_eq!(value(&text, "apiserver_response_sizes_count", &took), Some(3.0));
    let commit = [("operation", "create"), ("type", "configmaps")];
    assert_eq!(value(&text, "etcd_request_duration_seconds_count", &commit), Some(2.0));
    assert_eq!(value(&text, "apiserver_storage_objects", &[("resource", "configmaps")]), Some(1.0));
    for kind in ["readOnly", "mutating"] {
        let inflight = value(&text, "apiserver_current_inflight_requests", &[("request_kind", kind)]);
        assert_eq!(inflight, Some(0.0));
    }
    let level = [("priority_level", "global-default")];
    assert_eq!(value(&text, "apiserver_flowcontrol_current_executing_seats", &level), Some(0.0));
}

#[tokio::test]
async fn a_watch_is_counted_while_it_lasts_and_when_it_ends() {
    let server = ApiServer::in_memory().await.unwrap();
    let request = Request::get(format!("{MAPS}?watch=true&resourceVersion=0"));
    let request = request.body(Body::empty()).unwrap();
    let watch = server.as_user(User::admin()).oneshot(request).await.unwrap();
    let mut watch = watch.into_body();
    let labels = [("verb", "WATCH"), ("resource", "configmaps")];

    call(&server, "POST", MAPS, json!({"metadata": {"name": "m"}})).await;
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains("\"name\":\"m\"") {
        told.extend_from_slice(&watch.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    let during = metrics(&server);
    drop(watch);
    let after = metrics(&server);

    assert_eq!(value(&during, "apiserver_longrunning_requests", &labels), Some(1.0), "{during}");
    assert_eq!(value(&during, "apiserver_request_total", &labels), None);
    let events = value(&during, "apiserver_watch_events_total", &[("kind", "ConfigMap")]);
    assert_eq!(events, Some(1.0));
    assert_eq!(value(&after, "apiserver_longrunning_requests", &labels), Some(0.0));
    assert_eq!(value(&after, "apiserver_request_total", &labels), Some(1.0));
}

#[tokio::test]
async fn hostile_requests_do_not_make_series() {
    let server = ApiServer::in_memory().await.unwrap();
    let round = async |number: usize| {
        for path in [
            format!("/api/v1/things{number}"),
            format!("/apis/group{number}.example/v1/things"),
            format!("/api/v9{number}/pods"),
            format!("/api/v1/namespaces/default/pods/p/below{number}"),
            format!("/api/v1/namespaces/n{number}/pods/p{number}"),
            format!("/path{number}"),
            format!("/metrics/{number}"),
            format!("/healthz/{number}"),
            "/%ff".to_owned(),
        ] {
            for method in ["GET", "POST", "BREW", "DELETE"] {
                let request = Request::builder().method(method).uri(&path).body(Body::empty()).unwrap();
                let _ = server.as_user(User::admin()).oneshot(request).await.unwrap();
            }
            let dry = format!("{path}?dryRun=number{number}");
            call(&server, "GET", &dry, Value::Null).await;
        }
    };
    round(0).await;
    let before = metrics(&server).lines().filter(|line| line.starts_with("apiserver_request_total")).count();

    for number in 1..20 {
        round(number).await;
    }

    let text = metrics(&server);
    let after = text.lines().filter(|line| line.starts_with("apiserver_request_total")).count();
    assert_eq!(after, before, "{text}");
    for word in ["thing", "group1", "below", "path1", "BREW", "number"] {
        let told = text.lines().filter(|line| !line.starts_with('#')).find(|line| line.contains(word));
        assert_eq!(told, None);
    }
}

#[tokio::test]
async fn metrics_are_for_those_who_monitor_in_the_format_that_they_ask_for() {
    let server = ApiServer::in_memory().await.unwrap();
    let ask = async |user: User, accept: &str| {
        let request = Request::get("/metrics").header("accept", accept).body(Body::empty()).unwrap();
        let answer = server.as_user(user).oneshot(request).await.unwrap();
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let code = answer.status();
        let text: Bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, content_type, String::from_utf8(text.into()).unwrap())
    };
    let known = || User::new("jane").group("system:authenticated");
    let open = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";

    let (refused, _, _) = ask(known(), "*/*").await;
    let (code, plain, text) = ask(known().group("system:monitoring"), "*/*").await;
    let (_, open, openly) = ask(User::admin(), open).await;
    let (posted, _) = call(&server, "POST", "/metrics", json!({})).await;

    assert_eq!(refused, StatusCode::FORBIDDEN);
    assert_eq!((code, plain.as_str()), (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8"));
    assert!(text.contains("# TYPE apiserver_request_total counter\n"), "{text}");
    let refusals = [("subresource", "/metrics"), ("code", "403")];
    assert_eq!(value(&text, "apiserver_request_total", &refusals), Some(1.0), "{text}");
    assert!(open.starts_with("application/openmetrics-text; version=1.0.0"), "{open}");
    assert!(openly.ends_with("# EOF\n") && openly.contains("# TYPE apiserver_request counter\n"));
    assert_eq!(posted, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(text.contains("process_resident_memory_bytes "), cfg!(target_os = "linux"));
}
