use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::refusal::{Failure, denied, dry_run};
use super::review::{Answer, version};
use super::target::Place;
use crate::cache::World;

fn read(mutating: bool, response: Value) -> Result<Answer, String> {
    let review =
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    Answer::read(&review, "v1", "u", mutating).map_err(|failure| match failure {
        Failure::Calling(why) => why.shown,
        Failure::Refused(status) | Failure::Internal(status) => {
            panic!("an answer is read before it refuses: {status}")
        }
    })
}

#[test]
fn the_first_known_version_is_spoken() {
    assert_eq!(version(&json!(["v2", "v1beta1", "v1"])), Some("v1beta1"));
    assert_eq!(version(&json!(["v2"])), None);
}

#[test]
fn a_patch_has_a_type_and_can_be_read() {
    let patch = |text: &str| Value::from(STANDARD.encode(text));
    let invalid = "received invalid webhook response: ";
    let cases = [
        (
            json!({"patch": patch("[]")}),
            format!("{invalid}webhook returned response.patch but not response.patchType"),
        ),
        (
            json!({"patchType": "JSONPatch"}),
            format!("{invalid}webhook returned response.patchType but not response.patch"),
        ),
        (
            json!({"patch": patch("[]"), "patchType": ""}),
            format!("{invalid}webhook returned invalid response.patchType of \"\""),
        ),
        (json!({"patch": patch("[{}]"), "patchType": "Merge"}), "unsupported patch type \"Merge\"".into()),
    ];
    for (mut response, expected) in cases {
        response["uid"] = "u".into();
        assert_eq!(read(true, response).unwrap_err(), expected);
    }
    let undecodable = json!({"uid": "u", "patchType": "JSONPatch", "patch": patch("{}")});
    assert!(
        read(true, undecodable).unwrap_err().starts_with("received undecodable patch in webhook response: ")
    );
}

#[test]
fn an_answer_of_another_kind_is_none() {
    let review = json!({"kind": "Pod", "apiVersion": "v1", "response": {"uid": "u", "allowed": true}});
    let Err(Failure::Calling(why)) = Answer::read(&review, "v1", "u", false) else { panic!("it is refused") };
    assert_eq!(
        why.shown,
        "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got \
         /v1, Kind=Pod"
    );
}

#[test]
fn a_refusal_s_code_is_one_of_a_refusal() {
    let code = |code: Value| denied("h", &json!({"code": code})).code.as_u16();
    assert_eq!(
        [code(json!(200)), code(json!(418)), code(json!(70000)), code(Value::Null)],
        [400, 418, 400, 400]
    );
    let status = denied("h", &json!({"reason": "Gone", "details": {"retryAfterSeconds": 7}}));
    assert_eq!(status.object()["reason"], "Gone");
    assert_eq!(
        (status.message.as_str(), status.retry_after_seconds),
        ("admission webhook \"h\" denied the request: Gone", Some(7))
    );
}

#[test]
fn a_webhook_with_side_effects_does_not_support_dry_run() {
    let status = dry_run("h");
    assert_eq!(status.message, "admission webhook \"h\" does not support dry run");
    assert_eq!((status.code.as_u16(), status.reason), (400, "BadRequest"));
}

#[test]
fn a_url_is_called_as_it_is_written() {
    let url = |url: &str| Place::of(&json!({"url": url})).map(|place| place.url(5));
    assert_eq!(url("https://h:8/a/b/"), Ok("https://h:8/a/b?timeout=5s".into()));
    assert_eq!(url("https://[::1]"), Ok("https://[::1]/?timeout=5s".into()));
    let place = Place::of(&json!({"url": "https://[::1]:9"})).unwrap();
    assert_eq!(place.resolve(&World::default(), 0), Ok(Some("[::1]:9".parse().unwrap())));
    assert!(url("http://h").is_err());
    assert_eq!(url(""), Err("webhook configuration must have either service or URL".into()));
    assert!(Place::of(&json!({"url": "https://h", "caBundle": "*"})).is_err());
}
