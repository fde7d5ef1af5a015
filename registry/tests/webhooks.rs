//! Webhooks: when they are asked, what they may change, what the client of a refused write is told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/conversion.rs"]
mod conversion;
#[path = "support/hook.rs"]
mod hook;
#[path = "support/log.rs"]
mod log;
mod support;

use std::time::Duration;

use hook::{Hook, Reply, configure, mutating, validating, webhook};
use http::StatusCode;
use log::Log;
use quarterdeck_core::storage::{Key, Storage, Transaction};
use quarterdeck_registry::write::Target;
use quarterdeck_registry::{ApiServer, MemoryStorage, Notes, User};
use serde_json::{Value, json};
use support::{call, send};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn server() -> ApiServer {
    ApiServer::in_memory().await.unwrap()
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// Makes a configmap while a validating webhook with these fields answers so.
async fn refused(more: Value, answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> (Value, Hook) {
    let (server, hook) = (server().await, Hook::start(answer).await);
    validating(&server, &[webhook("a.example.com", &hook.at("/check"), &more)]).await;
    let (_, answer) = call(&server, "POST", MAPS, map("a")).await;
    (answer, hook)
}

fn allow(asked: &Value) -> Reply {
    Reply::review(asked, json!({"allowed": true}))
}

#[tokio::test]
async fn a_mutating_webhook_changes_what_is_stored() {
    let patch = json!([
        {"op": "add", "path": "/data/b", "value": "2"},
        {"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}},
        {"op": "add", "path": "/unknown", "value": 1},
    ]);
    let (server, hook) = (server().await, Hook::start(move |asked| Reply::patch(asked, &patch)).await);
    mutating(&server, "m", &[webhook("a.example.com", &hook.at("/change/"), &json!({}))]).await;

    let (code, made) = call(&server, "POST", MAPS, map("a")).await;

    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(made["data"], json!({"a": "1", "b": "2"}));
    assert_eq!((&made["metadata"]["labels"]["by"], &made["unknown"]), (&json!("hook"), &Value::Null));
    let asked = &hook.take()[0];
    assert_eq!(asked["path"], "/change?timeout=10s");
    assert_eq!(
        (&asked["kind"], &asked["apiVersion"]),
        (&json!("AdmissionReview"), &json!("admission.k8s.io/v1"))
    );
    let request = &asked["request"];
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&request["operation"], &request["name"]), (&json!("CREATE"), &json!("a")));
    assert_eq!((&request["namespace"], &request["dryRun"]), (&json!("default"), &json!(false)));
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!((&request["object"]["data"]["a"], &request["oldObject"]), (&json!("1"), &Value::Null));
}

#[tokio::test]
async fn a_mutating_webhook_changes_nothing_that_is_the_server_s() {
    let patch = json!([
        {"op": "replace", "path": "/metadata/uid", "value": "mine"},
        {"op": "replace", "path": "/data/a", "value": "2"},
    ]);
    let (server, hook) = (server().await, Hook::start(move |asked| Reply::patch(asked, &patch)).await);
    let only_updates = json!({"rules": [{
        "operations": ["UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "scope": "Namespaced",
    }]});
    mutating(&server, "m", &[webhook("a.example.com", &hook.at(""), &only_updates)]).await;
    let (_, made) = call(&server, "POST", MAPS, map("a")).await;

    let (code, changed) = call(&server, "PATCH", &format!("{MAPS}/a"), json!({"data": {"c": "3"}})).await;

    assert_eq!(code, StatusCode::OK, "{changed}");
    assert_eq!(changed["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(changed["data"], json!({"a": "2", "c": "3"}));
    let asked = hook.take();
    assert_eq!((asked.len(), &asked[0]["request"]["oldObject"]["data"]), (1, &json!({"a": "1"})));
}

#[tokio::test]
async fn who_wants_to_is_asked_again_when_a_later_webhook_changed_the_object() {
    let count = |asked: &Value| asked["request"]["object"]["data"].as_object().unwrap().len();
    let first = Hook::start(move |asked| {
        Reply::patch(asked, &json!([{"op": "add", "path": "/data/seen", "value": count(asked).to_string()}]))
    })
    .await;
    let second =
        Hook::start(|asked| Reply::patch(asked, &json!([{"op": "add", "path": "/data/late", "value": "x"}])))
            .await;
    let server = server().await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    // The names of configurations decide who is first.
    mutating(&server, "b", &[webhook("b.example.com", &second.at(""), &json!({}))]).await;
    mutating(&server, "a", &[webhook("a.example.com", &first.at(""), &again)]).await;

    let (_, made) = call(&server, "POST", MAPS, map("x")).await;

    assert_eq!(made["data"], json!({"a": "1", "late": "x", "seen": "3"}));
    assert_eq!((first.take().len(), second.take().len()), (2, 1));
}

#[tokio::test]
async fn a_refusal_carries_the_webhook_s_code_reason_and_message() {
    let status =
        json!({"code": 403, "reason": "Quarantined", "message": "not today", "details": {"name": "a"}});
    let (answer, _) =
        refused(json!({}), move |asked| Reply::review(asked, json!({"allowed": false, "status": status})))
            .await;
    assert_eq!((&answer["code"], &answer["reason"]), (&json!(403), &json!("Quarantined")));
    assert_eq!(answer["message"], "admission webhook \"a.example.com\" denied the request: not today");
    assert_eq!(answer["details"], json!({"name": "a"}));
}

#[tokio::test]
async fn a_refusal_without_a_word_says_so() {
    let (answer, _) = refused(json!({}), |asked| Reply::review(asked, json!({"allowed": false}))).await;
    assert_eq!(answer["code"], 400);
    assert_eq!(
        answer["message"],
        "admission webhook \"a.example.com\" denied the request without explanation"
    );
}

#[tokio::test]
async fn a_webhook_that_is_down_refuses_or_not_as_it_says() {
    let server = server().await;
    let client = json!({"url": "https://127.0.0.1:1/check", "caBundle": Hook::start(allow).await.bundle});
    let lenient = webhook("lenient.example.com", &client, &json!({"failurePolicy": "Ignore"}));
    validating(&server, std::slice::from_ref(&lenient)).await;
    mutating(&server, "m", &[lenient]).await;
    let (passed, _) = call(&server, "POST", MAPS, map("a")).await;
    let strict = webhook("strict.example.com", &client, &json!({"timeoutSeconds": 3}));
    mutating(&server, "n", &[strict]).await;

    let (code, answer) = call(&server, "POST", MAPS, map("b")).await;

    assert_eq!((passed, code), (StatusCode::CREATED, StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(answer["reason"], "InternalError");
    assert_eq!(
        answer["message"],
        "Internal error occurred: failed calling webhook \"strict.example.com\": failed to call webhook: Post \
         \"https://127.0.0.1:1/check?timeout=3s\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
}

#[tokio::test]
async fn a_slow_webhook_fails_in_its_time() {
    let (answer, hook) = refused(json!({"timeoutSeconds": 1}), |asked| Reply {
        delay: Duration::from_secs(20),
        ..allow(asked)
    })
    .await;
    let why = format!("Post \"https://{}/check?timeout=1s\": context deadline exceeded", hook.address);
    assert!(answer["message"].as_str().unwrap().ends_with(&why), "{answer}");
}

#[tokio::test]
async fn rubbish_and_redirects_are_failures() {
    let elsewhere = Hook::start(allow).await;
    let location = format!("https://{}/check", elsewhere.address);
    let redirect = move |_: &Value| Reply { location: Some(location.clone()), ..Reply::raw(307, "") };
    type Answers = Box<dyn Fn(&Value) -> Reply + Send + Sync>;
    let cases: [(Answers, &str); 10] = [
        (
            Box::new(redirect),
            "the server responded with the status code 307 but did not return more information",
        ),
        (Box::new(|_| Reply::raw(404, "")), "the server could not find the requested resource"),
        (
            Box::new(|_| Reply::raw(500, "boom\n")),
            "an error on the server (\"unknown\") has prevented the request from succeeding",
        ),
        (Box::new(|_| Reply::raw(200, "<html>")), "couldn't get version/kind; json parse error: "),
        (Box::new(|_| Reply::raw(200, vec![b' '; 4 << 20])), "reading the answer: length limit exceeded"),
        (
            Box::new(|_| Reply::raw(200, format!("[{}0]", "0,".repeat(900_000)))),
            "json parse error: too many values: 800000 are allowed",
        ),
        (
            Box::new(|_| Reply::raw(200, "{}")),
            "received invalid webhook response: webhook response was absent",
        ),
        (
            Box::new(|asked| {
                let other = json!({"request": {"uid": "other"}, "apiVersion": asked["apiVersion"]});
                Reply::review(&other, json!({"allowed": true}))
            }),
            "\", got \"other\"",
        ),
        (
            Box::new(|asked| Reply::patch(asked, &json!([]))),
            "validating webhook may not return response.patch",
        ),
        (
            Box::new(|asked| Reply::review(asked, json!({"allowed": "yes"}))),
            "cannot unmarshal string into Go struct field AdmissionResponse.response.allowed",
        ),
    ];
    for (answers, expected) in cases {
        let (answer, _) = refused(json!({}), answers).await;
        assert_eq!(answer["code"], 500, "{answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.starts_with("Internal error occurred: failed calling webhook \"a.example.com\": "));
        assert!(message.contains(expected), "{message}");
    }
    assert!(elsewhere.take().is_empty(), "a redirect is never followed");
}

#[tokio::test]
async fn what_a_webhook_says_is_shown_to_the_client_and_not_logged() {
    // Who echoes what it is sent would put secrets into the log.
    let echo = |asked: &Value| {
        let sent = asked["request"]["object"].to_string();
        let status = json!({"kind": "Status", "apiVersion": "v1", "message": sent});
        let other =
            json!({"kind": "AdmissionReview", "apiVersion": asked["apiVersion"], "response": {"uid": sent}});
        match asked["path"].as_str().unwrap().split(['/', '?']).nth(1).unwrap() {
            "status" => Reply::raw(400, status.to_string()),
            "plain" => Reply::raw(500, sent),
            _ => Reply::raw(200, other.to_string()),
        }
    };
    let log = Log::follow();

    for (path, logged, is_shown) in [
        ("/status", "why=\"failed to call webhook: a Status of code 400 with a message of", true),
        ("/plain", "an error on the server", false),
        ("/other", "expected response.uid=", true),
    ] {
        for policy in ["Fail", "Ignore"] {
            let (server, hook) = (server().await, Hook::start(echo).await);
            let more = json!({"failurePolicy": policy});
            validating(&server, &[webhook("a.example.com", &hook.at(path), &more)]).await;
            let before = log.lines_with("a webhook failed").len();
            let mut map = map("a");
            map["data"]["a"] = "hush-hush".into();

            let (_, answer) = call(&server, "POST", MAPS, map).await;

            let lines = log.lines_with("a webhook failed").split_off(before);
            assert!(lines.len() == 1 && lines[0].contains(logged), "{path}: {lines:?}");
            if policy == "Fail" {
                assert_eq!(answer["message"].as_str().unwrap().contains("hush-hush"), is_shown, "{answer}");
            }
        }
    }
    assert!(!log.text().contains("hush-hush"), "{}", log.text());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_not_trusted() {
    let (server, hook) = (server().await, Hook::start(allow).await);
    let mut client = hook.at("");
    client["caBundle"] = Hook::start(allow).await.bundle.into();
    validating(&server, &[webhook("a.example.com", &client, &json!({}))]).await;

    let (_, answer) = call(&server, "POST", MAPS, map("a")).await;

    let why = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert!(answer["message"].as_str().unwrap().ends_with(why), "{answer}");
    assert!(hook.take().is_empty());
}

#[tokio::test]
async fn selectors_rules_and_conditions_say_what_a_webhook_is_asked_about() {
    let no_objects = json!({"objectSelector": {"matchLabels": {"x": "y"}}});
    let no_namespace =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}});
    let cluster = json!({"rules": [{
        "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "Cluster",
    }]});
    let deletions = json!({"rules": [{
        "operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
    }]});
    let condition = |text: &str| json!({"matchConditions": [{"name": "c", "expression": text}]});
    let cases = [
        (json!({}), 1),
        (no_objects, 0),
        (no_namespace, 0),
        (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}), 1),
        (cluster, 0),
        (deletions, 0),
        (condition("request.namespace == 'default' && object.data.a == '1'"), 1),
        (condition("object.data.a == '2'"), 0),
        (condition("authorizer.requestResource.check('create').allowed()"), 1),
        (condition("authorizer.serviceAccount('default', 'a').path('/metrics').check('get').allowed()"), 0),
    ];
    for (more, expected) in cases {
        let (answer, hook) = refused(more.clone(), allow).await;
        assert_eq!(answer["kind"], "ConfigMap", "{answer}");
        assert_eq!(hook.take().len(), expected, "{more}");
    }
    let (answer, _) = refused(condition("object.nothing.x == 1"), allow).await;
    assert_eq!(answer["code"], 403);
    assert_eq!(
        answer["message"],
        "configmaps \"a\" is forbidden: expression 'object.nothing.x == 1' resulted in error: no such key: nothing"
    );
}

#[tokio::test]
async fn deletions_are_asked_about_with_the_object_that_goes() {
    let refuse = |asked: &Value| {
        let allowed = asked["request"]["operation"] != "DELETE";
        Reply::review(asked, json!({"allowed": allowed, "status": {"message": "it stays"}}))
    };
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let (server, hook) = (server().await, Hook::start(refuse).await);
        configure(&server, kind, "c", &[webhook("a.example.com", &hook.at(""), &json!({}))]).await;
        call(&server, "POST", MAPS, map("a")).await;
        hook.take();

        let (code, answer) = call(&server, "DELETE", &format!("{MAPS}/a"), Value::Null).await;

        assert_eq!((code, &answer["reason"]), (StatusCode::BAD_REQUEST, &Value::Null));
        assert_eq!(answer["message"], "admission webhook \"a.example.com\" denied the request: it stays");
        let request = &hook.take()[0]["request"];
        assert_eq!((&request["object"], &request["oldObject"]["data"]["a"]), (&Value::Null, &json!("1")));
    }
}

#[tokio::test]
async fn a_webhook_is_asked_in_the_version_that_it_knows() {
    let (server, hook) = (server().await, Hook::start(allow).await);
    let rules = |policy: &str| {
        json!({"matchPolicy": policy, "rules": [{
            "operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"],
            "resources": ["horizontalpodautoscalers"],
        }]})
    };
    let exact = webhook("exact.example.com", &hook.at("/exact"), &rules("Exact"));
    let equivalent = webhook("equivalent.example.com", &hook.at("/equivalent"), &rules("Equivalent"));
    validating(&server, &[exact, equivalent]).await;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70},
            }}],
        },
    });

    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let (code, answer) = call(&server, "POST", path, autoscaler).await;

    assert_eq!(code, StatusCode::CREATED, "{answer}");
    let asked = hook.take();
    assert_eq!((asked.len(), &asked[0]["path"]), (1, &json!("/equivalent?timeout=10s")));
    let request = &asked[0]["request"];
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 70);
}

#[tokio::test]
async fn a_patch_to_one_version_of_a_custom_kind_loses_nothing_of_another() {
    let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}}]);
    let (server, hook) = (server().await, Hook::start(move |asked| Reply::patch(asked, &patch)).await);
    let version = |name: &str, field: &str| {
        let spec = json!({"type": "object", "properties": {field: {"type": "string"}}});
        json!({"name": name, "served": true, "storage": name == "v1", "schema": {
            "openAPIV3Schema": {"type": "object", "properties": {"spec": spec}},
        }})
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", "old"), version("v2", "new")],
        },
    });
    call(&server, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    let rules = json!({"rules": [{
        "operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets"],
    }]});
    mutating(&server, "m", &[webhook("a.example.com", &hook.at(""), &rules)]).await;
    let widget = json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"new": "x"}});

    let path = "/apis/example.com/v2/namespaces/default/widgets";
    let mut made = (StatusCode::NOT_FOUND, Value::Null);
    for _ in 0..100 {
        made = call(&server, "POST", path, widget.clone()).await;
        if made.0 != StatusCode::NOT_FOUND {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let (code, made) = made;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!((&made["apiVersion"], &made["spec"]["new"]), (&json!("example.com/v2"), &json!("x")));
    assert_eq!(made["metadata"]["labels"]["by"], "hook");
    assert_eq!(hook.take()[0]["request"]["object"]["apiVersion"], "example.com/v1");
}

#[tokio::test]
async fn below_an_object_webhooks_see_what_is_written_there() {
    let server = server().await;
    let hook = Hook::start(|asked| match asked["request"]["subResource"].as_str() {
        Some("scale") => {
            Reply::patch(asked, &json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]))
        }
        _ => allow(asked),
    })
    .await;
    let rules = json!({"rules": [{
        "operations": ["CREATE", "UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"],
        "resources": ["deployments/scale", "pods/binding", "pods/eviction", "serviceaccounts/token"],
    }, {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/status"]}]});
    mutating(&server, "m", &[webhook("a.example.com", &hook.at(""), &rules)]).await;
    let pod = json!({
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": pod}});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    call(&server, "POST", deployments, deployment).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    call(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", account).await;
    let mut pod = pod;
    (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) = ("v1".into(), "Pod".into(), "p".into());
    call(&server, "POST", "/api/v1/namespaces/default/pods", pod).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": "p", "annotations": {"example.com/why": "it fits"}},
        "target": {"kind": "Node", "name": "n"}});

    let scale = json!({"spec": {"replicas": 3}});
    let (code, scaled) = call(&server, "PATCH", &format!("{deployments}/d/scale"), scale).await;
    let (bound, _) = call(&server, "POST", "/api/v1/namespaces/default/pods/p/binding", binding).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let pods = "/api/v1/namespaces/default/pods";
    let (evicted, answer) = call(&server, "POST", &format!("{pods}/p/eviction"), eviction).await;
    assert_eq!(evicted, StatusCode::CREATED, "{answer}");
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    call(&server, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", request).await;

    assert_eq!((code, bound), (StatusCode::OK, StatusCode::CREATED), "{scaled}");
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    let asked = hook.take();
    assert_eq!(asked.len(), 4, "nothing but what is below: {asked:?}");
    let request = &asked[0]["request"];
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(
        (&request["object"]["spec"]["replicas"], &request["operation"]),
        (&json!(3), &json!("UPDATE"))
    );
    assert_eq!(request["oldObject"]["spec"]["replicas"], 1);
    let request = &asked[1]["request"];
    assert_eq!((&request["kind"]["kind"], &request["operation"]), (&json!("Binding"), &json!("CREATE")));
    assert_eq!(request["object"]["target"], json!({"kind": "Node", "name": "n"}));
    assert_eq!(request["object"]["metadata"]["annotations"], json!({"example.com/why": "it fits"}));
    let kinds: Vec<&Value> = asked[2..].iter().map(|asked| &asked["request"]["kind"]["kind"]).collect();
    assert_eq!(kinds, ["Eviction", "TokenRequest"]);
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_found_by_its_endpoints() {
    let (server, hook) = (server().await, Hook::start(allow).await);
    let service = json!({"name": "hook", "namespace": "default", "port": 8443});
    let client = |path: &str| {
        let mut service = service.clone();
        service["path"] = path.into();
        json!({"service": service, "caBundle": hook.bundle})
    };
    validating(&server, &[webhook("a.example.com", &client("/check"), &json!({}))]).await;
    let url = "https://hook.default.svc:8443/check?timeout=10s";
    let (_, missing) = call(&server, "POST", MAPS, map("a")).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
        "spec": {"ports": [{"name": "https", "port": 8443}]}});
    call(&server, "POST", "/api/v1/namespaces/default/services", service).await;
    let (_, empty) = call(&server, "POST", MAPS, map("a")).await;
    // No client may name an address of the loopback: the test writes it as the store holds it.
    let endpoints = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "hook"}, "subsets": [{
        "addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "https", "port": hook.address.port()}],
    }]});
    let key = Key::new("/registry/services/endpoints/default/hook");
    let transaction = Transaction::new().put(key, endpoints.to_string().into_bytes());
    server.registry().storage.commit(transaction).await.unwrap();
    let (code, answer) = call(&server, "POST", MAPS, map("a")).await;

    assert_eq!(code, StatusCode::CREATED, "{answer}");
    assert_eq!(hook.take().len(), 1);
    let ends = |answer: &Value, why: &str| {
        let expected = format!("failed to call webhook: Post \"{url}\": {why}");
        assert!(answer["message"].as_str().unwrap().ends_with(&expected), "{answer}");
    };
    ends(&missing, "service \"hook\" not found");
    ends(&empty, "no endpoints available for service \"hook\"");
}

#[tokio::test]
async fn warnings_reach_the_client_and_annotations_the_audit_log() {
    let (server, hook) = (
        server().await,
        Hook::start(|asked| {
            Reply::review(
                asked,
                json!({"allowed": true, "warnings": ["mind the gap"], "auditAnnotations": {"who": "me", "a/b": "no"}}),
            )
        })
        .await,
    );
    mutating(&server, "m", &[webhook("a.example.com", &hook.at(""), &json!({}))]).await;
    let down = json!({"url": "https://127.0.0.1:1"});
    validating(&server, &[webhook("b.example.com", &down, &json!({"failurePolicy": "Ignore"}))]).await;
    let warned = send(&server, "POST", MAPS, &[("content-type", "application/json")], map("a")).await;

    let (notes, user, resources) = (Notes::default(), User::admin(), server.registry().resources());
    let target = Target {
        resource: resources.get("", "v1", "configmaps").unwrap(),
        subresource: None,
        namespace: Some("default"),
        name: "",
        user: &user,
        manager: "test",
        dry_run: true,
        notes: Some(&notes),
    };
    let mut object = map("b");
    object["metadata"]["namespace"] = "default".into();
    server.registry().create(&target, object).await.unwrap();

    assert_eq!(warned.headers["warning"], "299 - \"mind the gap\"");
    assert_eq!(hook.take()[1]["request"]["dryRun"], true);
    let annotations: Vec<(String, String)> = notes.annotations().into_iter().collect();
    assert_eq!(
        annotations,
        [
            ("a.example.com/who", "me"),
            ("failed-open.validating.webhook.admission.k8s.io/round_0_index_0", "b.example.com"),
            (
                "mutation.webhook.admission.k8s.io/round_0_index_0",
                "{\"configuration\":\"m\",\"webhook\":\"a.example.com\",\"mutated\":false}"
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn a_webhook_may_speak_the_version_before() {
    let (server, hook) = (
        server().await,
        Hook::start(|_| {
            // That version needs neither a uid nor a kind.
            Reply::raw(
                200,
                json!({"response": {"allowed": false, "status": {"reason": "Forbidden"}}}).to_string(),
            )
        })
        .await,
    );
    let old = json!({"admissionReviewVersions": ["v0", "v1beta1"]});
    validating(&server, &[webhook("a.example.com", &hook.at(""), &old)]).await;

    let (_, answer) = call(&server, "POST", MAPS, map("a")).await;

    assert_eq!(answer["message"], "admission webhook \"a.example.com\" denied the request: Forbidden");
    assert_eq!(hook.take()[0]["apiVersion"], "admission.k8s.io/v1beta1");
}

#[tokio::test]
async fn no_webhook_is_asked_about_webhooks() {
    let server = server().await;
    let everything = json!({"rules": [{
        "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
    }]});
    let down = webhook("a.example.com", &json!({"url": "https://127.0.0.1:1"}), &everything);
    validating(&server, std::slice::from_ref(&down)).await;
    mutating(&server, "m", &[down]).await;

    let all = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let (code, answer) = call(&server, "DELETE", &format!("{all}/m"), Value::Null).await;
    let (refused, _) = call(&server, "POST", MAPS, map("a")).await;

    assert_eq!((code, refused), (StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR), "{answer}");
}

/// Or one that fails could keep everybody from finding out who is who and may do what, and others from mending it.
#[tokio::test]
async fn neither_webhooks_nor_policies_are_asked_about_reviews() {
    let server = server().await;
    let everything =
        json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
    let down = json!({"url": "https://127.0.0.1:1"});
    let down = webhook("a.example.com", &down, &json!({"rules": [everything]}));
    let group = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "never"},
        "spec": {"matchConstraints": {"resourceRules": [{
            "operations": ["*"], "apiGroups": ["", "authentication.k8s.io", "authorization.k8s.io"], "apiVersions": ["*"],
            "resources": ["*"],
        }]}, "validations": [{"expression": "false"}]},
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "never"}, "spec": {"policyName": "never", "validationActions": ["Deny"]},
    });
    for (kind, object) in
        [("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)]
    {
        let (code, answer) = call(&server, "POST", &format!("{group}/{kind}"), object).await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");
    }
    let (of_policy, refusal) = call(&server, "POST", MAPS, map("a")).await;
    assert_eq!(of_policy, StatusCode::UNPROCESSABLE_ENTITY, "{refusal}");
    validating(&server, std::slice::from_ref(&down)).await;
    mutating(&server, "m", &[down]).await;
    let (of_webhook, refusal) = call(&server, "POST", MAPS, map("a")).await;
    assert_eq!(of_webhook, StatusCode::INTERNAL_SERVER_ERROR, "{refusal}");

    let about = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let (access, other) =
        (json!({"resourceAttributes": about}), json!({"resourceAttributes": about, "user": "eve"}));
    let reviews = [
        ("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews", json!({})),
        ("authentication.k8s.io", "TokenReview", "tokenreviews", json!({"token": "t"})),
        ("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews", access),
        (
            "authorization.k8s.io",
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            json!({"namespace": "default"}),
        ),
        ("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews", other.clone()),
        (
            "authorization.k8s.io",
            "LocalSubjectAccessReview",
            "namespaces/default/localsubjectaccessreviews",
            other,
        ),
    ];
    for (group, kind, path, spec) in reviews {
        let mut review = json!({"apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec});
        if kind == "LocalSubjectAccessReview" {
            review["metadata"]["namespace"] = "default".into();
        }
        let (code, answer) = call(&server, "POST", &format!("/apis/{group}/v1/{path}"), review).await;
        assert_eq!(code, StatusCode::CREATED, "{kind}: {answer}");
    }
}

/// Makes a configuration whose one webhook has other side effects than v1 lets clients say, as one stands in the store that was
/// written by an older version of the API.
async fn store_with_effects(server: &ApiServer, kind: &str, name: &str, hook: &Hook, effects: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    configure(server, kind, name, &[webhook("a.example.com", &hook.at(""), &json!({}))]).await;
    let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}/{name}");
    let (_, mut stored) = call(server, "GET", &path, Value::Null).await;
    stored["webhooks"][0]["sideEffects"] = effects.into();
    stored["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let key = Key::new(format!("/registry/{plural}/{name}"));
    let transaction = Transaction::new().put(key, stored.to_string().into_bytes());
    server.registry().storage.commit(transaction).await.unwrap();
    call(server, "GET", &path, Value::Null).await.1
}

#[tokio::test]
async fn a_dry_run_asks_only_webhooks_without_side_effects_and_refuses_a_write_that_others_are_about() {
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        for (effects, code) in [("None", 201), ("NoneOnDryRun", 201), ("Some", 400), ("Unknown", 400)] {
            let (server, hook) = (server().await, Hook::start(allow).await);
            let stored = store_with_effects(&server, kind, "w", &hook, effects).await;
            assert_eq!(stored["webhooks"][0]["sideEffects"], effects, "{stored}");

            let (dry, answer) = call(&server, "POST", &format!("{MAPS}?dryRun=All"), map("a")).await;
            let asked = hook.take();
            let (wet, _) = call(&server, "POST", MAPS, map("a")).await;

            assert_eq!((dry.as_u16(), wet), (code, StatusCode::CREATED), "{kind} {effects}: {answer}");
            if code == 201 {
                assert_eq!(asked[0]["request"]["dryRun"], true, "{kind} {effects}");
            } else {
                assert!(asked.is_empty(), "{kind} {effects}: {asked:?}");
                let why = "admission webhook \"a.example.com\" does not support dry run";
                assert_eq!((&answer["reason"], &answer["message"]), (&json!("BadRequest"), &json!(why)));
            }
            assert_eq!(hook.take().len(), 1, "{kind} {effects}");
        }
    }
}

#[tokio::test]
async fn side_effects_are_taken_only_where_some_were_stored_before() {
    let (server, hook) = (server().await, Hook::start(allow).await);
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    mutating(&server, "new", &[webhook("a.example.com", &hook.at(""), &json!({}))]).await;
    let mut old = store_with_effects(&server, "MutatingWebhookConfiguration", "old", &hook, "Some").await;
    let some = json!({"webhooks": [webhook("a.example.com", &hook.at(""), &json!({"sideEffects": "Some"}))]});

    let (code, answer) = call(&server, "PATCH", &format!("{path}/new"), some).await;
    old["webhooks"][0]["timeoutSeconds"] = 5.into();
    let (kept, changed) = call(&server, "PUT", &format!("{path}/old"), old).await;

    assert_eq!((code, kept), (StatusCode::UNPROCESSABLE_ENTITY, StatusCode::OK), "{answer} {changed}");
    assert_eq!(answer["details"]["causes"][0]["field"], "webhooks[0].sideEffects");
    assert_eq!(changed["webhooks"][0]["timeoutSeconds"], 5);
}

#[tokio::test]
async fn a_webhook_that_is_down_does_not_keep_the_server_from_starting() {
    let storage = std::sync::Arc::new(MemoryStorage::new());
    let server = ApiServer::builder_shared(storage.clone()).start().await.unwrap();
    let everything = json!({"rules": [{
        "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
    }]});
    validating(&server, &[webhook("a.example.com", &json!({"url": "https://127.0.0.1:1"}), &everything)])
        .await;
    server.shutdown().await;
    let only = Transaction::new().delete(Key::new("/registry/namespaces/kube-public"));
    storage.commit(only).await.unwrap();

    let server = ApiServer::builder_shared(storage).start().await.unwrap();

    let (code, _) = call(&server, "GET", "/api/v1/namespaces/kube-public", Value::Null).await;
    assert_eq!(code, StatusCode::OK);
}

#[tokio::test]
async fn a_broken_condition_is_refused_with_the_configuration() {
    let server = server().await;
    let broken = json!({"matchConditions": [{"name": "c", "expression": "object.x =="}]});
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "w"}, "webhooks": [webhook("a.example.com", &json!({"url": "https://x"}), &broken)],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

    let (code, answer) = call(&server, "POST", path, configuration).await;

    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let cause = &answer["details"]["causes"][0];
    assert_eq!(cause["field"], "webhooks[0].matchConditions[0].expression");
    assert!(cause["message"].as_str().unwrap().contains("compilation failed: ERROR: <input>: "), "{answer}");
}
