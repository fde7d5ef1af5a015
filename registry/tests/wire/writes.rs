//! What writes are refused for, and in which words.

use http::StatusCode;
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};

use crate::support::{Answer, ask, get, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = "/api/v1/namespaces/default/configmaps/a";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

fn map(metadata: Value) -> Value {
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    for (name, value) in metadata.as_object().unwrap() {
        map["metadata"][name] = value.clone();
    }
    map
}

async fn write(server: &ApiServer, method: &str, path: &str, object: &Value) -> Answer {
    ask(server, method, path, &[("content-type", "application/json")], object.to_string()).await
}

async fn patch(server: &ApiServer, path: &str, media_type: &str, text: &str) -> Answer {
    ask(server, "PATCH", path, &[("content-type", media_type)], text.to_owned()).await
}

fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

fn refused(code: u16, message: &str) -> (u16, String) {
    (code, message.to_owned())
}

#[tokio::test]
async fn an_update_of_an_object_that_was_made_anew_since_conflicts() {
    let server = ApiServer::in_memory().await.unwrap();
    let made = post(&server, MAPS, &map(json!({}))).await.json();
    let uid = made["metadata"]["uid"].as_str().unwrap();

    let other = write(&server, "PUT", MAP, &map(json!({"uid": "other"}))).await;
    let patched = patch(&server, MAP, MERGE, r#"{"metadata": {"uid": "other"}}"#).await;
    ask(&server, "DELETE", MAP, &[], "").await;
    let gone = write(&server, "PUT", MAP, &map(json!({"uid": uid}))).await;

    let conflict = |given: &str, found: &str| {
        format!(
            "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: \
             /registry/configmaps/default/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
             precondition: {given}, UID in object meta: {found}"
        )
    };
    assert_eq!(refusal(&other), (409, conflict("other", uid)));
    assert_eq!(refusal(&gone), (409, conflict(uid, "")));
    let immutable = "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"other\": field is immutable";
    assert_eq!(refusal(&patched), refused(422, immutable));
}

#[tokio::test]
async fn a_revision_of_zero_is_none_and_one_that_is_no_number_is_refused() {
    let server = ApiServer::in_memory().await.unwrap();
    let made = write(&server, "POST", MAPS, &map(json!({"resourceVersion": "0"}))).await;

    let zero = write(&server, "PUT", MAP, &map(json!({"resourceVersion": "0", "labels": {"l": "v"}}))).await;
    let text = write(&server, "PUT", MAP, &map(json!({"resourceVersion": "x"}))).await;
    let read = get(&server, &format!("{MAP}?resourceVersion=99999999999999999999"), &[]).await;
    let limit = get(&server, &format!("{MAPS}?limit=99999999999999999999"), &[]).await;

    assert_eq!((made.status, zero.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(refusal(&text), refused(500, "strconv.ParseUint: parsing \"x\": invalid syntax"));
    let too_large = "strconv.ParseUint: parsing \"99999999999999999999\": value out of range";
    let invalid = "resourceVersion: Invalid value: \"99999999999999999999\": ";
    assert_eq!(refusal(&read), (500, format!("{invalid}{too_large}")));
    assert_eq!(refusal(&limit), (400, too_large.replace("Uint", "Int")));
}

#[tokio::test]
async fn a_new_object_has_no_revision_which_is_said_when_nothing_else_is_wrong() {
    let server = ApiServer::in_memory().await.unwrap();
    let versioned = map(json!({"resourceVersion": "7"}));

    let plain = write(&server, "POST", MAPS, &versioned).await;
    let wrong = write(&server, "POST", MAPS, &map(json!({"resourceVersion": "7", "name": "A"}))).await;
    let tried = write(&server, "POST", &format!("{MAPS}?dryRun=All"), &versioned).await;

    assert_eq!(refusal(&plain), refused(500, "resourceVersion should not be set on objects to be created"));
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(tried.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_patch_cannot_take_the_revision_off_a_kind_that_needs_one() {
    let server = ApiServer::in_memory().await.unwrap();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}});
    post(&server, leases, &lease).await;

    let unversioned = patch(
        &server,
        &format!("{leases}/a"),
        MERGE,
        r#"{"metadata": {"resourceVersion": null, "labels": {"l": "v"}}}"#,
    )
    .await;
    let plain =
        patch(&server, &format!("{leases}/a"), MERGE, r#"{"metadata": {"labels": {"l": "v"}}}"#).await;

    let why = "leases.coordination.k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be \
               specified for an update";
    assert_eq!(refusal(&unversioned), refused(422, why));
    assert_eq!(plain.status, StatusCode::OK);
}

#[tokio::test]
async fn the_time_of_a_deletion_cannot_be_moved() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &map(json!({"finalizers": ["example.com/f"]}))).await;
    let deleted = ask(&server, "DELETE", MAP, &[], "").await.json();

    let moved = json!({"deletionTimestamp": "2001-02-03T04:05:06Z", "finalizers": ["example.com/f"]});
    let moved = write(&server, "PUT", MAP, &map(moved)).await;

    assert_eq!(moved.status, StatusCode::OK);
    assert_eq!(moved.json()["metadata"]["deletionTimestamp"], deleted["metadata"]["deletionTimestamp"]);
}

#[tokio::test]
async fn owners_that_stand_twice_are_dropped_with_a_warning() {
    let server = ApiServer::in_memory().await.unwrap();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"});
    let mut other = owner.clone();
    other["blockOwnerDeletion"] = true.into();
    let owners = json!({"ownerReferences": [owner, owner, other]});

    let made = write(&server, "POST", MAPS, &map(owners.clone())).await;
    let text = json!({"metadata": owners}).to_string();
    let patched = patch(&server, MAP, MERGE, &text).await;

    assert_eq!(made.json()["metadata"]["ownerReferences"], json!([owner, other]));
    assert_eq!(patched.json()["metadata"]["ownerReferences"], json!([owner, other]));
    let end = "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix \
               your requests; duplicate UID(s) observed: u\"";
    let begin = "299 - \".metadata.ownerReferences contains duplicate entries";
    assert_eq!(made.header("warning"), format!("{begin}; {end}"));
    assert_eq!(patched.header("warning"), format!("{begin} after mutating admission happens; {end}"));
}

#[tokio::test]
async fn a_patch_is_read_when_there_is_an_object_and_refused_in_the_words_of_its_type() {
    let server = ApiServer::in_memory().await.unwrap();
    let missing = patch(&server, MAP, MERGE, "{").await;
    post(&server, MAPS, &map(json!({}))).await;

    let mut refusals = Vec::new();
    for (media_type, text) in [
        (JSON_PATCH, "{}"),
        (JSON_PATCH, "[1]"),
        (JSON_PATCH, r#"[{"op": "twist", "path": "/data"}]"#),
        (MERGE, "[]"),
        (MERGE, "null"),
        (STRATEGIC, "[]"),
    ] {
        refusals.push(refusal(&patch(&server, MAP, media_type, text).await));
    }

    assert_eq!(refusal(&missing), refused(404, "configmaps \"a\" not found"));
    let expected = [
        (
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            400,
            "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
        ),
        (422, "the server rejected our request due to an error in our request"),
        (
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (400, "Invalid JSON Patch"),
        (400, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ];
    assert_eq!(refusals, expected.map(|(code, message)| refused(code, message)));
}

#[tokio::test]
async fn a_deletion_that_fails_says_which_precondition_failed_in_the_words_of_the_kind() {
    let server = ApiServer::in_memory().await.unwrap();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}});
    let uid = post(&server, leases, &lease).await.json()["metadata"]["uid"].as_str().unwrap().to_owned();
    let options = json!({"preconditions": {"uid": "other"}});

    let revision = write(&server, "DELETE", &format!("{leases}/a"), &options).await;
    let space = write(&server, "DELETE", "/api/v1/namespaces/kube-node-lease", &options).await;

    let why = format!(
        "Operation cannot be fulfilled on Lease.coordination.k8s.io \"a\": the UID in the precondition (other) does not \
         match the UID in record ({uid}). The object might have been deleted and then recreated"
    );
    assert_eq!(refusal(&revision), (409, why));
    let details = json!({"name": "a", "group": "coordination.k8s.io", "kind": "Lease"});
    assert_eq!(revision.json()["details"], details);
    let begin = "Operation cannot be fulfilled on namespaces \"kube-node-lease\": Precondition failed: UID in \
                 precondition: other, UID in object meta: ";
    assert!(refusal(&space).1.starts_with(begin), "{:?}", refusal(&space));
}

#[tokio::test]
async fn who_accepts_no_answer_deletes_nothing() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &map(json!({}))).await;

    let one = ask(&server, "DELETE", MAP, &[("accept", "application/xml")], "").await;
    let all = ask(&server, "DELETE", MAPS, &[("accept", "application/xml")], "").await;

    assert_eq!((one.status, all.status), (StatusCode::NOT_ACCEPTABLE, StatusCode::NOT_ACCEPTABLE));
    assert_eq!(get(&server, MAP, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_event_is_gone_at_once_whatever_is_asked_for_dependents_that_it_cannot_have() {
    let server = ApiServer::in_memory().await.unwrap();
    let events = "/api/v1/namespaces/default/events";
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    post(&server, events, &event).await;

    let path = format!("{events}/e");
    let deleted = ask(&server, "DELETE", &format!("{path}?propagationPolicy=Foreground"), &[], "").await;

    assert_eq!((deleted.status, &deleted.json()["kind"]), (StatusCode::OK, &json!("Status")));
    assert_eq!(get(&server, &path, &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_put_in_a_namespace_that_is_not_there_says_so_and_a_patch_does_not() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = "/api/v1/namespaces/none/configmaps/a";

    let put = write(&server, "PUT", path, &map(json!({}))).await;
    let patched = patch(&server, path, MERGE, "{}").await;

    assert_eq!(refusal(&put), refused(404, "namespaces \"none\" not found"));
    assert_eq!(refusal(&patched), refused(404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn a_patch_cannot_make_another_kind_of_an_object() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &map(json!({}))).await;

    let merged = patch(&server, MAP, MERGE, r#"{"kind": "Secret"}"#).await;
    let without = patch(&server, MAP, JSON_PATCH, r#"[{"op": "remove", "path": "/kind"}]"#).await;
    let strategic = patch(&server, MAP, STRATEGIC, r#"{"kind": "Secret"}"#).await;

    assert_eq!(merged.status, StatusCode::UNPROCESSABLE_ENTITY);
    let details = &merged.json()["details"];
    assert_eq!((&details["causes"][0]["field"], &details["kind"]), (&json!("patch"), &Value::Null));
    assert!(
        refusal(&merged).1.starts_with(" \"\" is invalid: patch: Invalid value: "),
        "{:?}",
        refusal(&merged)
    );
    assert!(refusal(&merged).1.ends_with(": converting (v1.Secret) to (core.ConfigMap): unknown conversion"));
    for answer in [without, strategic] {
        assert_eq!((answer.status, &answer.json()["kind"]), (StatusCode::OK, &json!("ConfigMap")));
    }
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_its_list_would_go() {
    let server = ApiServer::in_memory().await.unwrap();
    for name in ["a", "b", "c"] {
        post(&server, MAPS, &map(json!({"name": name}))).await;
    }

    let refused_limit = ask(&server, "DELETE", &format!("{MAPS}?limit=x"), &[], "").await;
    let first = ask(&server, "DELETE", &format!("{MAPS}?limit=2"), &[], "").await.json();
    let left = get(&server, MAPS, &[]).await.json();

    assert_eq!(refusal(&refused_limit), refused(400, "strconv.ParseInt: parsing \"x\": invalid syntax"));
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        (left["items"].as_array().unwrap().len(), &left["items"][0]["metadata"]["name"]),
        (1, &json!("c"))
    );
}

#[tokio::test]
async fn a_name_that_is_taken_and_could_have_been_generated_is_told_as_such() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &map(json!({}))).await;

    let taken = write(&server, "POST", MAPS, &map(json!({"generateName": "b-"}))).await;

    let why =
        "configmaps \"a\" already exists, the server was not able to generate a unique name for the object";
    assert_eq!(refusal(&taken), refused(409, why));
    assert_eq!(
        (&taken.json()["details"]["retryAfterSeconds"], taken.header("retry-after")),
        (&json!(1), "1")
    );
}
