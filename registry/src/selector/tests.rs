use proptest::prelude::*;
use serde_json::json;

use super::*;

fn error(text: &str) -> String {
    FieldSelector::parse(text).expect_err(text).to_string()
}

fn validated(group: &str, kind: &str, text: &str) -> Result<FieldSelector, String> {
    let selector = FieldSelector::parse(text).expect(text);
    selector.validate(group, kind, selectable_fields(group, kind)).map_err(|error| error.to_string())
}

fn chosen(group: &str, kind: &str, text: &str, object: &Value) -> bool {
    validated(group, kind, text).expect(text).matches_object(object, selectable_fields(group, kind))
}

#[test]
fn a_selector_is_a_list_of_equalities_and_inequalities() {
    let selector = FieldSelector::parse("a.b=1,c==x!y,,d!=").unwrap();

    let read: Vec<_> = selector.requirements().iter().map(|r| (r.field(), r.is_equal(), r.value())).collect();

    assert_eq!(read, [("a.b", true, "1"), ("c", true, "x!y"), ("d", false, "")]);
    assert!(FieldSelector::parse("").unwrap().is_everything());
    assert_eq!(selector.exact_value("c"), Some("x!y"));
    assert_eq!(selector.exact_value("d"), None);
}

#[test]
fn a_backslash_escapes_commas_equals_signs_and_itself() {
    let selector = FieldSelector::parse(r"a=x\,y\=z\\,b=1").unwrap();

    assert_eq!(selector.exact_value("a"), Some(r"x,y=z\"));
    assert_eq!(selector.exact_value("b"), Some("1"));
    assert_eq!(selector.to_string(), r"a=x\,y\=z\\,b=1");
}

#[test]
fn bad_syntax_is_refused_in_the_words_of_upstream() {
    for (text, message) in [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("metadata.name=a,b", "invalid selector: 'metadata.name=a,b'; can't understand 'b'"),
        (
            "metadata.name in (a)",
            "invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'",
        ),
        (r"metadata.name=a\b", r"invalid field selector: invalid escape sequence: \b"),
        (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn a_field_that_a_kind_is_not_selected_by_is_refused_in_the_words_of_the_kind() {
    for (group, kind, text, message) in [
        ("", "Pod", "spec.hostname=x", "field label not supported: spec.hostname"),
        (
            "",
            "ConfigMap",
            "metadata.name=a,data.k=x",
            "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        ("", "Node", "metadata.namespace=x", "field label not supported: metadata.namespace"),
        ("", "Event", "message=x", "field label not supported: message"),
        ("batch", "Job", "status.active=1", "field label \"status.active\" not supported for batchv1.Job"),
        (
            "apps",
            "Deployment",
            "spec.replicas=1",
            "\"spec.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
    ] {
        assert_eq!(validated(group, kind, text), Err(message.to_owned()));
    }
}

#[test]
fn every_kind_is_selected_by_name_and_namespace() {
    let object = json!({"metadata": {"name": "a", "namespace": "x"}});

    assert!(chosen("coordination.k8s.io", "Lease", "metadata.name=a,metadata.namespace=x", &object));
    assert!(!chosen("", "Pod", "metadata.name!=a", &object));
    assert!(chosen("", "Node", "metadata.name=a", &object));
}

#[test]
fn a_missing_field_is_empty_or_zero_or_false() {
    for (group, kind, text) in [
        ("", "Pod", "spec.nodeName=,status.phase!=Running,spec.hostNetwork=false"),
        ("", "Node", "spec.unschedulable=false"),
        ("", "ReplicationController", "status.replicas=0"),
        ("batch", "Job", "status.successful=0"),
        ("", "ConfigMap", "metadata.namespace="),
    ] {
        assert!(chosen(group, kind, text, &json!({})), "{text}");
    }
}

#[test]
fn numbers_and_truth_values_are_compared_as_text() {
    assert!(chosen("", "Node", "spec.unschedulable=true", &json!({"spec": {"unschedulable": true}})));
    assert!(chosen("batch", "Job", "status.successful=3", &json!({"status": {"succeeded": 3}})));
    assert!(chosen("apps", "ReplicaSet", "status.replicas!=0", &json!({"status": {"replicas": 2}})));
}

#[test]
fn an_old_name_of_a_field_means_the_present_one() {
    let selector = validated("", "Pod", "spec.host=n").unwrap();

    assert_eq!(selector.exact_value("spec.nodeName"), Some("n"));
    assert!(selector.matches_object(&json!({"spec": {"nodeName": "n"}}), selectable_fields("", "Pod")));
}

#[test]
fn an_events_source_is_its_component_or_else_who_reports_it() {
    let old = json!({"source": {"component": "kubelet"}, "reportingComponent": ""});
    let new = json!({"source": {}, "reportingComponent": "kubelet"});

    assert!(chosen("", "Event", "source=kubelet,reportingComponent=", &old));
    assert!(chosen("", "Event", "source=kubelet,reportingComponent=kubelet", &new));
    // What is stored are events of the core group.
    assert!(chosen("events.k8s.io", "Event", "regarding.name=p", &json!({"involvedObject": {"name": "p"}})));
}

#[test]
fn a_custom_kind_is_selected_by_fields_at_their_paths() {
    let fields = [SelectableField::at("spec.size")];
    let selector = FieldSelector::parse("spec.size=3").unwrap().validate("ex.com", "Thing", &fields).unwrap();

    assert!(selector.matches_object(&json!({"spec": {"size": 3}}), &fields));
    assert!(!selector.matches_object(&json!({"spec": {"size": [3]}}), &fields));
}

proptest! {
    #[test]
    fn a_selector_is_read_back_as_it_was_printed(
        terms in prop::collection::vec(("[a-z.]{1,8}", any::<bool>(), "[a-c=,!\\\\ ]{0,6}"), 0..4),
    ) {
        let mut requirements: Vec<_> = terms
            .into_iter()
            .map(|(field, equal, value)| Requirement { field: field.into(), value, equal })
            .collect();
        requirements.sort_by_key(|one| FieldSelector { requirements: vec![one.clone()] }.to_string());
        let selector = FieldSelector { requirements };

        prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
    }
}

#[test]
fn the_first_of_several_mistakes_is_the_first_by_its_text() {
    assert_eq!(error("b,a"), "invalid selector: 'b,a'; can't understand 'a'");
    assert_eq!(
        validated("", "ConfigMap", "b=1,a=1").unwrap_err(),
        "\"a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
}
