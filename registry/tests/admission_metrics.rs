//! What webhooks and policies are counted as, and that nothing is told of those that are gone.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/hook.rs"]
mod hook;
mod support;

use std::time::Duration;

use hook::{Hook, Reply, mutating, validating, webhook};
use http::StatusCode;
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};
use support::call;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn write(server: &ApiServer, name: &str, data: Value) -> StatusCode {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    call(server, "POST", MAPS, map).await.0
}

/// The series of one name, by their labels, and what they come to.
fn shown(server: &ApiServer, name: &str) -> Vec<String> {
    let text = server.metrics().answer(None).text;
    let series = text.lines().filter_map(|line| Some(line.strip_prefix(name)?.strip_prefix('{')?.to_owned()));
    let mut series: Vec<String> = series.map(|series| series.replace('"', "")).collect();
    series.sort();
    series
}

const REQUESTS: &str = "apiserver_admission_webhook_request_total";
const DURATIONS: &str = "apiserver_admission_webhook_admission_duration_seconds_count";
const REJECTIONS: &str = "apiserver_admission_webhook_rejection_count";
const FAILED_OPEN: &str = "apiserver_admission_webhook_fail_open_count";
const CHECKS: &str = "apiserver_validating_admission_policy_check_total";
const CHECK_DURATIONS: &str = "apiserver_validating_admission_policy_check_duration_seconds_count";

#[tokio::test]
async fn calls_of_webhooks_are_counted_by_what_became_of_them() {
    let server = ApiServer::in_memory().await.unwrap();
    let hook = Hook::start(|asked| {
        let data = &asked["request"]["object"]["data"];
        let code = data["code"].as_str().map(|code| code.parse::<u64>().unwrap());
        let status = code.map_or(json!({}), |code| json!({"code": code, "message": "no"}));
        Reply::review(asked, json!({"allowed": code.is_none(), "status": status}))
    });
    let hook = hook.await;
    let down = json!({"url": "https://127.0.0.1:1/check", "caBundle": hook.bundle});
    let lenient = webhook("lenient.example.com", &down, &json!({"failurePolicy": "Ignore"}));
    mutating(&server, "m", &[lenient]).await;
    let asked = webhook("asked.example.com", &hook.at("/check"), &json!({}));
    let effects = json!({
        "sideEffects": "NoneOnDryRun", "failurePolicy": "Fail", "objectSelector": {"matchLabels": {"a": "b"}},
    });
    let strict = webhook("strict.example.com", &down, &effects);
    validating(&server, &[asked, strict]).await;

    assert_eq!(write(&server, "a", json!({})).await, StatusCode::CREATED);
    assert_eq!(write(&server, "b", json!({"code": "403"})).await, StatusCode::FORBIDDEN);
    assert_eq!(write(&server, "b", json!({"code": "999"})).await.as_u16(), 999);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let (code, _) = call(&server, "PATCH", &format!("{MAPS}/a"), labels).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(hook.take().len(), 4);

    assert_eq!(
        shown(&server, REQUESTS),
        [
            "name=asked.example.com,type=validating,operation=CREATE,code=200,rejected=false} 1",
            "name=asked.example.com,type=validating,operation=CREATE,code=403,rejected=true} 1",
            "name=asked.example.com,type=validating,operation=CREATE,code=600,rejected=true} 1",
            "name=asked.example.com,type=validating,operation=UPDATE,code=200,rejected=false} 1",
            "name=lenient.example.com,type=admit,operation=CREATE,code=503,rejected=false} 3",
            "name=lenient.example.com,type=admit,operation=UPDATE,code=503,rejected=false} 1",
            "name=strict.example.com,type=validating,operation=UPDATE,code=503,rejected=true} 1",
        ]
    );
    assert_eq!(
        shown(&server, DURATIONS),
        [
            "name=asked.example.com,type=validating,operation=CREATE,rejected=false} 1",
            "name=asked.example.com,type=validating,operation=CREATE,rejected=true} 2",
            "name=asked.example.com,type=validating,operation=UPDATE,rejected=false} 1",
            "name=lenient.example.com,type=admit,operation=CREATE,rejected=false} 3",
            "name=lenient.example.com,type=admit,operation=UPDATE,rejected=false} 1",
            "name=strict.example.com,type=validating,operation=UPDATE,rejected=true} 1",
        ]
    );
    assert_eq!(
        shown(&server, REJECTIONS),
        [
            "name=asked.example.com,type=validating,operation=CREATE,error_type=no_error,rejection_code=403} 1",
            "name=asked.example.com,type=validating,operation=CREATE,error_type=no_error,rejection_code=600} 1",
            "name=strict.example.com,type=validating,operation=UPDATE,error_type=calling_webhook_error,rejection_code=503} 1",
        ]
    );
    assert_eq!(shown(&server, FAILED_OPEN), ["name=lenient.example.com,type=admit} 4"]);
}

#[tokio::test]
async fn what_the_server_refuses_for_its_webhooks_is_counted_as_its_own_and_codes_of_answers_are_told() {
    let server = ApiServer::in_memory().await.unwrap();
    let hook = Hook::start(|_| Reply::raw(404, "")).await;
    let patch =
        Hook::start(|asked| Reply::patch(asked, &json!([{"op": "remove", "path": "/nothing"}]))).await;
    let broken = webhook("broken.example.com", &patch.at("/change"), &json!({}));
    mutating(&server, "m", &[broken]).await;
    assert_eq!(write(&server, "a", json!({})).await, StatusCode::INTERNAL_SERVER_ERROR);
    let (code, _) =
        call(&server, "DELETE", &format!("{GROUP}/mutatingwebhookconfigurations/m"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    validating(&server, &[webhook("lost.example.com", &hook.at("/check"), &json!({}))]).await;
    assert_eq!(write(&server, "a", json!({})).await, StatusCode::INTERNAL_SERVER_ERROR);

    assert_eq!(
        shown(&server, REJECTIONS),
        [
            "name=broken.example.com,type=admit,operation=CREATE,error_type=apiserver_internal_error,rejection_code=0} 1",
            "name=lost.example.com,type=validating,operation=CREATE,error_type=calling_webhook_error,rejection_code=404} 1",
        ]
    );
}

/// Makes a policy and a binding of its name.
async fn bound(server: &ApiServer, name: &str, actions: &[&str], more: Value) {
    let rule =
        json!({"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]});
    let mut policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [rule]}},
    });
    for (field, value) in more.as_object().unwrap() {
        policy["spec"][field] = value.clone();
    }
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": format!("{name}-binding")},
        "spec": {"policyName": name, "validationActions": actions},
    });
    for (kind, object) in
        [("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)]
    {
        let (code, answer) = call(server, "POST", &format!("{GROUP}/{kind}"), object).await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_policies_are_against_is_counted_by_what_their_bindings_do_and_forgotten_with_them() {
    let server = ApiServer::in_memory().await.unwrap();
    let validation = |expression: &str| json!({"validations": [{"expression": expression}]});
    bound(&server, "deny", &["Deny"], validation("object.data.x != '1'")).await;
    bound(&server, "tell", &["Warn", "Audit"], validation("object.data.x == '0'")).await;
    let mut lenient = validation("object.data.missing == ''");
    lenient["failurePolicy"] = "Ignore".into();
    bound(&server, "lenient", &["Deny"], lenient).await;

    assert_eq!(write(&server, "a", json!({"x": "0"})).await, StatusCode::CREATED);
    assert_eq!(write(&server, "b", json!({"x": "1"})).await, StatusCode::UNPROCESSABLE_ENTITY);
    // It fails, and so does what it is against.
    assert_eq!(write(&server, "b", json!({"y": "1"})).await, StatusCode::UNPROCESSABLE_ENTITY);

    let series = [
        "policy=deny,policy_binding=deny-binding,error_type=invalid_error,enforcement_action=deny} 1",
        "policy=deny,policy_binding=deny-binding,error_type=no_error,enforcement_action=deny} 1",
        "policy=lenient,policy_binding=lenient-binding,error_type=invalid_error,enforcement_action=allow} 3",
        "policy=tell,policy_binding=tell-binding,error_type=invalid_error,enforcement_action=audit} 1",
        "policy=tell,policy_binding=tell-binding,error_type=invalid_error,enforcement_action=warn} 1",
        "policy=tell,policy_binding=tell-binding,error_type=no_error,enforcement_action=audit} 1",
        "policy=tell,policy_binding=tell-binding,error_type=no_error,enforcement_action=warn} 1",
    ];
    assert_eq!(shown(&server, CHECKS), series);
    assert_eq!(shown(&server, CHECK_DURATIONS), series);

    for gone in ["validatingadmissionpolicies/tell", "validatingadmissionpolicybindings/lenient-binding"] {
        let (code, _) = call(&server, "DELETE", &format!("{GROUP}/{gone}"), Value::Null).await;
        assert_eq!(code, StatusCode::OK);
    }
    tokio::time::sleep(Duration::from_secs(11)).await;

    assert_eq!(shown(&server, CHECKS), series[..2]);
    assert_eq!(shown(&server, CHECK_DURATIONS), series[..2]);
}

#[tokio::test]
async fn webhooks_that_are_gone_are_forgotten_and_others_are_not() {
    let server = ApiServer::in_memory().await.unwrap();
    let hook = Hook::start(|asked| Reply::review(asked, json!({"allowed": true}))).await;
    let down = json!({"url": "https://127.0.0.1:1/check", "caBundle": hook.bundle});
    let lenient = |name: &str| webhook(name, &down, &json!({"failurePolicy": "Ignore"}));
    let stays = webhook("stays.example.com", &hook.at("/check"), &json!({}));
    mutating(&server, "m", &[lenient("goes.example.com"), lenient("renamed.example.com")]).await;
    validating(&server, &[stays, lenient("goes.example.com")]).await;
    assert_eq!(write(&server, "a", json!({})).await, StatusCode::CREATED);
    assert_eq!(shown(&server, REQUESTS).len(), 4);
    assert_eq!(shown(&server, FAILED_OPEN).len(), 3);

    let (code, _) =
        call(&server, "DELETE", &format!("{GROUP}/mutatingwebhookconfigurations/m"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(11)).await;

    let left = ["goes.example.com,type=validating", "stays.example.com,type=validating"];
    for name in [REQUESTS, DURATIONS] {
        let shown = shown(&server, name);
        let starts = |(series, left): (&String, &&str)| series.starts_with(&format!("name={left},"));
        assert!(shown.len() == 2 && shown.iter().zip(&left).all(starts), "{shown:?}");
    }
    assert_eq!(shown(&server, FAILED_OPEN), ["name=goes.example.com,type=validating} 1"]);
}
