//! Validating admission policies: what they are about, what their expressions know, what the client is told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/log.rs"]
mod log;
mod support;

use http::StatusCode;
use kube_cel::cel::{Context, Program, Value as CelValue};
use log::Log;
use quarterdeck_core::expression::too_deep;
use quarterdeck_registry::write::Target;
use quarterdeck_registry::{ApiServer, MemoryStorage, Notes, User};
use serde_json::{Value, json};
use support::{call, send};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn server() -> ApiServer {
    ApiServer::in_memory().await.unwrap()
}

/// A policy for configmaps with these fields in its spec.
fn policy(spec: &Value) -> Value {
    let mut policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p.example.com"},
        "spec": {"matchConstraints": {"resourceRules": [{
            "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        }]}},
    });
    for (field, value) in spec.as_object().unwrap() {
        policy["spec"][field] = value.clone();
    }
    policy
}

fn binding(name: &str, spec: &Value) -> Value {
    let mut binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": "p.example.com", "validationActions": ["Deny"]},
    });
    for (field, value) in spec.as_object().unwrap() {
        binding["spec"][field] = value.clone();
    }
    binding
}

async fn make(server: &ApiServer, path: &str, object: Value) {
    let (code, answer) = call(server, "POST", path, object).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
}

/// A server with a policy and a binding.
async fn bound(policy_spec: Value, binding_spec: Value) -> ApiServer {
    let server = server().await;
    make(&server, &format!("{GROUP}/validatingadmissionpolicies"), policy(&policy_spec)).await;
    bind(&server, binding("b", &binding_spec)).await;
    server
}

async fn bind(server: &ApiServer, binding: Value) {
    make(server, &format!("{GROUP}/validatingadmissionpolicybindings"), binding).await;
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// What a server says to a configmap with these data.
async fn says(server: &ApiServer, data: Value) -> String {
    let (code, answer) = call(server, "POST", MAPS, map("a", data)).await;
    match code {
        StatusCode::CREATED => {
            call(server, "DELETE", &format!("{MAPS}/a"), Value::Null).await;
            String::new()
        }
        _ => answer["message"].as_str().unwrap().to_owned(),
    }
}

const DENIED: &str = "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p.example.com' with binding 'b' denied request: ";

#[tokio::test(start_paused = true)]
async fn a_write_against_a_policy_is_refused_with_the_expression() {
    let server = bound(json!({"validations": [{"expression": "size(object.data) < 2"}]}), json!({})).await;

    let (code, answer) = call(&server, "POST", MAPS, map("a", json!({"x": "1", "y": "2"}))).await;

    let why = "ValidatingAdmissionPolicy 'p.example.com' with binding 'b' denied request: failed expression: \
               size(object.data) < 2";
    assert_eq!((code, &answer["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid")));
    assert_eq!(answer["message"], format!("configmaps \"a\" is forbidden: {why}"));
    assert_eq!(answer["details"], json!({"name": "a", "kind": "configmaps", "causes": [{"message": why}]}));
    assert_eq!(says(&server, json!({"x": "1"})).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_policy_names_its_reason_and_message() {
    let validation = json!({
        "expression": "variables.count < 2", "reason": "Forbidden",
        "messageExpression": "'at most one, not ' + string(variables.count)",
    });
    let variables = json!([{"name": "count", "expression": "size(object.data)"}]);
    let server = bound(json!({"validations": [validation], "variables": variables}), json!({})).await;

    let (code, answer) = call(&server, "POST", MAPS, map("a", json!({"x": "1", "y": "2"}))).await;

    assert_eq!((code, &answer["reason"]), (StatusCode::FORBIDDEN, &json!("Forbidden")));
    assert_eq!(answer["message"], format!("{DENIED}at most one, not 2"));
}

#[tokio::test(start_paused = true)]
async fn expressions_know_the_request_the_namespace_and_the_object_before() {
    let validations = json!([
        {"expression": "request.operation != 'UPDATE' || object.data.x == oldObject.data.x", "message": "x stays"},
        {"expression": "request.operation != 'DELETE' || (object == null && !has(oldObject.data.kept))", "message": "kept"},
        {"expression": "request.userInfo.username == 'kubernetes-admin' && 'system:masters' in request.userInfo.groups"},
        {"expression": "namespaceObject.metadata.name == request.namespace && request.resource.resource == 'configmaps'"},
    ]);
    let server = bound(json!({"validations": validations}), json!({})).await;
    make(&server, MAPS, map("a", json!({"x": "1", "kept": "yes"}))).await;
    let path = format!("{MAPS}/a");

    let (_, changed) = call(&server, "PATCH", &path, json!({"data": {"x": "2"}})).await;
    let (_, deleted) = call(&server, "DELETE", &path, Value::Null).await;
    let (code, _) = call(&server, "PATCH", &path, json!({"data": {"y": "2"}})).await;

    assert_eq!(changed["message"], format!("{DENIED}x stays"));
    assert_eq!(deleted["message"], format!("{DENIED}kept"));
    assert_eq!(code, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_about_what_it_and_its_binding_match() {
    let never = json!([{"expression": "false"}]);
    let excluded = json!({"matchConstraints": {
        "resourceRules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
        "excludeResourceRules": [{
            "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
            "resourceNames": ["a"],
        }],
    }, "validations": never});
    let elsewhere = json!({"matchResources": {"namespaceSelector": {"matchLabels": {"x": "y"}}}});
    let unmet =
        json!({"matchConditions": [{"name": "c", "expression": "has(object.data.z)"}], "validations": never});
    let plain = json!({"validations": never});

    assert_eq!(
        says(&bound(plain.clone(), json!({})).await, json!({})).await,
        format!("{DENIED}failed expression: false")
    );
    assert_eq!(says(&bound(excluded, json!({})).await, json!({})).await, "");
    assert_eq!(says(&bound(plain, elsewhere).await, json!({})).await, "");
    assert_eq!(says(&bound(unmet, json!({})).await, json!({"a": "1"})).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_policy_without_a_binding_is_about_nothing_and_a_binding_without_its_policy_neither() {
    let server = server().await;
    bind(&server, binding("b", &json!({"policyName": "other.example.com"}))).await;
    let spec = json!({"validations": [{"expression": "false"}]});
    make(&server, &format!("{GROUP}/validatingadmissionpolicies"), policy(&spec)).await;

    assert_eq!(says(&server, json!({})).await, "");
}

/// A policy whose parameters are configmaps of the namespace `kube-system`: the most data that there may be.
fn with_params() -> Value {
    json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{
            "expression": "object.metadata.namespace != 'default' || size(object.data) <= int(params.data.most)",
            "messageExpression": "'at most ' + params.data.most",
        }],
    })
}

#[tokio::test(start_paused = true)]
async fn parameters_are_found_by_name_and_by_labels() {
    let by_name = json!({"paramRef": {
        "name": "limits", "namespace": "kube-system", "parameterNotFoundAction": "Deny",
    }});
    let server = bound(with_params(), by_name).await;
    let missing = says(&server, json!({"x": "1", "y": "2"})).await;
    assert_eq!(
        missing,
        format!(
            "{DENIED}failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )
    );

    let by_label = json!({"paramRef": {
        "selector": {"matchLabels": {"role": "limits"}}, "namespace": "kube-system", "parameterNotFoundAction": "Allow",
    }});
    let server = bound(with_params(), by_label).await;
    assert_eq!(says(&server, json!({"x": "1", "y": "2"})).await, "", "no parameters, nothing to check");
    for (name, most) in [("a", "5"), ("b", "1")] {
        let mut limits = map(name, json!({"most": most}));
        limits["metadata"]["labels"] = json!({"role": "limits"});
        make(&server, "/api/v1/namespaces/kube-system/configmaps", limits).await;
    }

    assert_eq!(says(&server, json!({"x": "1", "y": "2"})).await, format!("{DENIED}at most 1"));
    assert_eq!(says(&server, json!({"x": "1"})).await, "");
}

#[tokio::test(start_paused = true)]
async fn parameters_of_an_unknown_kind_are_a_mistake_of_the_policy() {
    let mut spec = with_params();
    spec["paramKind"] = json!({"apiVersion": "example.com/v1", "kind": "Limit"});
    let by_name = json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Allow"}});

    let strict = says(&bound(spec.clone(), by_name.clone()).await, json!({})).await;
    spec["failurePolicy"] = "Ignore".into();
    let lenient = says(&bound(spec, by_name).await, json!({})).await;

    assert_eq!(
        strict,
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p.example.com' denied request: failed to configure policy: \
         failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'"
    );
    assert_eq!(lenient, "");
}

#[tokio::test(start_paused = true)]
async fn a_binding_may_warn_and_tell_the_audit_log_instead() {
    let spec = json!({
        "validations": [{"expression": "size(object.data) < 1", "message": "too many"}],
        "auditAnnotations": [{"key": "count", "valueExpression": "'data: ' + string(size(object.data))"}],
    });
    let server = bound(spec, json!({"validationActions": ["Warn", "Audit"]})).await;

    let headers = [("content-type", "application/json")];
    let warned = send(&server, "POST", MAPS, &headers, map("a", json!({"x": "1"}))).await;
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
    let mut object = map("b", json!({"x": "1"}));
    object["metadata"]["namespace"] = "default".into();
    server.registry().create(&target, object).await.unwrap();

    assert_eq!(warned.code, StatusCode::CREATED);
    let warning =
        "Validation failed for ValidatingAdmissionPolicy 'p.example.com' with binding 'b': too many";
    assert_eq!(warned.headers["warning"], format!("299 - \"{warning}\""));
    let annotations: Vec<(String, String)> = notes.annotations().into_iter().collect();
    assert_eq!(
        annotations,
        [
            ("p.example.com/count", "data: 1"),
            (
                "validation.policy.admission.k8s.io/validation_failure",
                "[{\"message\":\"too many\",\"policy\":\"p.example.com\",\"binding\":\"b\",\"expressionIndex\":0,\
                 \"validationActions\":[\"Warn\",\"Audit\"]}]"
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_fails_or_costs_too_much_refuses_as_the_policy_says() {
    let broken = json!([{"expression": "object.nothing == 1"}]);
    let costly = json!([{"expression": "object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != 'x')))"}]);
    let many: Value =
        (0..200).map(|number| (format!("k{number}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();

    let failed = says(&bound(json!({"validations": broken}), json!({})).await, json!({})).await;
    let ignored = bound(json!({"validations": broken, "failurePolicy": "Ignore"}), json!({})).await;
    let stopped = says(&bound(json!({"validations": costly}), json!({})).await, many).await;

    assert_eq!(
        failed,
        format!("{DENIED}expression 'object.nothing == 1' resulted in error: no such key: nothing")
    );
    assert_eq!(says(&ignored, json!({})).await, "");
    assert!(
        stopped.ends_with("resulted in error: operation cancelled: actual cost limit exceeded"),
        "{stopped}"
    );
}

#[tokio::test(start_paused = true)]
async fn expressions_ask_authorizers_what_the_writer_may_do() {
    let spec = json!({
        "matchConditions": [{"name": "own", "expression": "authorizer.requestResource.check('create').allowed()"}],
        "variables": [{
            "name": "secrets",
            "expression": "authorizer.group('').resource('secrets').namespace('default').name('a').check('get')",
        }],
        "validations": [{"expression": "variables.secrets.allowed()", "message": "may not read secrets"}],
    });
    let server = bound(spec, json!({})).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let grant = async |name: &str, resource: &str, verb: &str| {
        let role = json!({
            "metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": [verb]}],
        });
        make(&server, &format!("{rbac}/roles"), role).await;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}],
        });
        make(&server, &format!("{rbac}/rolebindings"), binding).await;
    };
    let ann = async |name: &str| {
        let headers = [("impersonate-user", "ann"), ("content-type", "application/json")];
        let answer = send(&server, "POST", MAPS, &headers, map(name, json!({}))).await;
        answer.body["message"].as_str().unwrap_or_default().to_owned()
    };
    grant("writer", "configmaps", "create").await;

    let before = ann("a").await;
    grant("reader", "secrets", "get").await;

    assert_eq!(before, format!("{DENIED}may not read secrets"));
    assert_eq!(ann("b").await, "", "the right counts from the next write on");
    assert_eq!(says(&server, json!({})).await, "", "an administrator may read them");
}

#[tokio::test(start_paused = true)]
async fn the_authorizer_has_the_functions_of_upstream() {
    let true_ones = [
        "authorizer.path('/healthz').check('get').allowed()",
        "authorizer.group('apps').resource('deployments').subresource('scale').namespace('n').name('x')\
         .fieldSelector('a=b').labelSelector('c=d').check('update').allowed()",
        "!authorizer.serviceAccount('default', 'web').group('').resource('pods').check('list').allowed()",
        "!authorizer.serviceAccount('default', 'web').path('/metrics').check('get').errored()",
        "authorizer.requestResource.check('create').error() == ''",
        "authorizer.requestResource.check('create').reason() != '' || true",
        "['get', 'list'].all(verb, authorizer.requestResource.check(verb).allowed())",
        "authorizer.requestResource.name('b').namespace('') == authorizer.group('').resource('configmaps').name('b')",
    ];
    let failing = [
        ("authorizer.path(' ').check('get').allowed()", "path must not be empty"),
        ("authorizer.group('').resource('').check('get').allowed()", "resource must not be empty"),
        (
            "authorizer.serviceAccount('a.b', 'c').path('/').check('get').allowed()",
            "Invalid service account namespace",
        ),
        (
            "authorizer.serviceAccount('a', 'c d').path('/').check('get').allowed()",
            "Invalid service account name",
        ),
        ("authorizer.group('').check('get').allowed()", "no such overload"),
        ("authorizer.path().check('get').allowed()", "no such overload"),
        ("object.check('get').allowed()", "no such overload"),
        (
            "['a', 'b', 'c'].all(verb, authorizer.requestResource.check(verb).allowed())",
            "operation cancelled: actual cost limit exceeded",
        ),
        (
            "['a', 'b', 'c'].exists(verb, authorizer.serviceAccount('a', 'b').path('/').check(verb).allowed()) || true",
            "operation cancelled: actual cost limit exceeded",
        ),
    ];
    for text in true_ones {
        let server = bound(json!({"validations": [{"expression": text}]}), json!({})).await;
        assert_eq!(says(&server, json!({})).await, "", "{text}");
    }
    for (text, why) in failing {
        let server = bound(json!({"validations": [{"expression": text}]}), json!({})).await;
        let said = says(&server, json!({})).await;
        assert_eq!(said, format!("{DENIED}expression '{text}' resulted in error: {why}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_asks_authorizers_so_often_and_no_more() {
    let asking = |times: usize| {
        let validations: Vec<Value> = (0..times)
            .map(|n| json!({"expression": format!("authorizer.path('/{n}').check('get').allowed()")}))
            .collect();
        json!({"validations": validations})
    };

    let enough = says(&bound(asking(28), json!({})).await, json!({})).await;
    let too_many = says(&bound(asking(29), json!({})).await, json!({})).await;

    assert_eq!(enough, "");
    let why = "validation failed due to running out of cost budget, no further validation rules will be run";
    assert_eq!(too_many, format!("{DENIED}{why}"));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_fails_is_logged_without_what_was_written() {
    let log = Log::follow();
    let fails = json!([{"expression": "true"}, {"expression": "int(object.data.x) == 1"}]);
    let unmet = json!([
        {"name": "a", "expression": "object.data.nothing == 'x'"}, {"name": "b", "expression": "false"},
    ]);
    let param =
        json!({"paramRef": {"name": "none", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    let about_secrets = json!({"apiVersion": "v1", "kind": "Secret"});

    for (policy, binding, at) in [
        (json!({"validations": fails}), json!({}), "at=\"validations[1]\" failure_policy=\"Fail\""),
        (
            json!({"validations": fails, "failurePolicy": "Ignore"}),
            json!({}),
            "at=\"validations[1]\" failure_policy=\"Ignore\"",
        ),
        (
            json!({"validations": fails, "matchConditions": [unmet[0]]}),
            json!({}),
            "at=\"matchConditions[0]\"",
        ),
        (json!({"validations": fails, "matchConditions": unmet}), json!({}), ""),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "object.metadata"}]}),
            json!({}),
            "at=\"auditAnnotations[0]\"",
        ),
        (json!({"validations": fails, "paramKind": about_secrets}), param, "at=\"paramRef\""),
        (json!({"validations": [{"expression": "false"}]}), json!({}), ""),
    ] {
        let server = bound(policy.clone(), binding).await;
        let before = log.lines_with("a policy fails").len();

        says(&server, json!({"x": "hush-hush"})).await;

        let lines = log.lines_with("a policy fails").split_off(before);
        if at.is_empty() {
            assert_eq!(lines, [] as [String; 0], "{policy}");
            continue;
        }
        assert_eq!(lines.len(), 1, "{policy}: {lines:?}");
        for part in ["WARN", at, "policy=\"p.example.com\" binding=\"b\""] {
            assert!(lines[0].contains(part), "{part} is not in {lines:?}");
        }
    }
    assert!(!log.text().contains("hush-hush"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_pattern_that_is_no_constant_is_charged_by_what_it_is() {
    let matches = json!([{"expression": "'some text'.matches(object.data.pattern)"}]);
    let server = bound(json!({"validations": matches}), json!({})).await;

    // A long one that is cheap is taken, a short one that is not is not evaluated.
    assert_eq!(says(&server, json!({"pattern": "^[a-z]+ (text|words|letters)$"})).await, "");
    for bomb in [r"\w{999}", "(((a{99}){99}){99})", r"(\pL{500}){9}"] {
        let stopped = says(&server, json!({"pattern": bomb})).await;
        assert!(stopped.contains("actual cost limit exceeded"), "{bomb}: {stopped}");
    }
    assert!(says(&server, json!({"pattern": "("})).await.contains("invalid matches argument"));
}

#[tokio::test(start_paused = true)]
async fn a_policy_with_a_broken_expression_is_not_stored() {
    let server = server().await;
    let path = format!("{GROUP}/validatingadmissionpolicies");
    let cases = [
        (
            json!({"validations": [{"expression": "object.x =="}]}),
            "spec.validations[0].expression",
            "ERROR: <input>: ",
        ),
        (
            json!({"validations": [{"expression": "params.x == 1"}]}),
            "spec.validations[0].expression",
            "undeclared reference to 'params' (in container '')",
        ),
        (
            json!({"validations": [{
                "expression": "true", "messageExpression": "authorizer.path('/x').check('get').reason()",
            }]}),
            "spec.validations[0].messageExpression",
            "undeclared reference to 'authorizer'",
        ),
        (
            json!({"validations": [{"expression": "object.check('get').allowed() || authorised.path('/x')"}]}),
            "spec.validations[0].expression",
            "undeclared reference to 'authorised'",
        ),
        (
            json!({"variables": [{"name": "v", "expression": "1 +"}], "validations": [{"expression": "true"}]}),
            "spec.variables[0].expression",
            "compilation failed",
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "nothing"}]}),
            "spec.auditAnnotations[0].valueExpression",
            "undeclared reference to 'nothing'",
        ),
    ];
    for (spec, field, why) in cases {
        let (code, answer) = call(&server, "POST", &path, policy(&spec)).await;
        assert_eq!(
            (code, &answer["reason"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid")),
            "{answer}"
        );
        let cause = &answer["details"]["causes"][0];
        assert_eq!(cause["field"], field, "{answer}");
        assert!(cause["message"].as_str().unwrap().contains(why), "{answer}");
    }
}

/// Each of these ended the stack of a thread that reads, walks through or drops it, and with it the server.
#[tokio::test(start_paused = true)]
async fn an_expression_that_is_too_deep_for_the_stack_is_not_stored() {
    let server = server().await;
    let path = format!("{GROUP}/validatingadmissionpolicies");
    for (part, times) in [(".a", 8000), ("[0]", 5000), (".a()", 4000), (" + 1", 4000), (" == 1", 3000)] {
        let validation = json!({"expression": format!("object{}", part.repeat(times))});
        let (code, answer) =
            call(&server, "POST", &path, policy(&json!({"validations": [validation]}))).await;
        let message = answer["details"]["causes"][0]["message"].as_str().unwrap_or_default();
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{part}");
        assert!(message.ends_with("the rule chains more than 250 operators"), "{part}: {message}");
    }
    let longest = format!("size(object.data) < 2{}", " + 1".repeat(240));
    make(&server, &path, policy(&json!({"validations": [{"expression": longest}]}))).await;
}

/// Parses a text with the parser that the server has, on a stack that what may be parsed does not need all of.
fn parses(text: &str) -> Result<(), String> {
    let text = text.to_owned();
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    let parse = move || Program::compile(&text).map(drop).map_err(|error| error.to_string());
    thread.spawn(parse).unwrap().join().unwrap()
}

/// The parser leaves out what it cannot read and goes on, and looks at what it made before it looks at errors.
#[test]
fn no_text_hides_from_the_bound_what_the_parser_sees() {
    let long = "object.a".to_owned() + &".a".repeat(8000);
    let refused = [
        format!("'\n{long}"),
        format!("'\r{long}"),
        format!("'\\q{long}"),
        format!("'\\u12{long}"),
        format!("0r'\\' + {long}"),
        format!("1ur'\\' + {long} + '"),
        format!("är'\\' + {long}"),
        format!("är'\\' + {long} + '"),
        format!("rb'\\'' + {long}"),
        format!("rb'\\' + {long} + '"),
        format!("'''{long}"),
        format!("r'\\' + {long} + '"),
        "a.?,b".to_owned() + &".?,b".repeat(4000),
        "a.".to_owned() + &", + a.".repeat(4000),
        "a + ".to_owned() + &") + ".repeat(4000),
        "(".repeat(33) + "a" + &(" + c".repeat(240) + ")").repeat(33),
        "(".repeat(30) + "[f(a b" + &(", ".to_owned() + &"+ c ".repeat(240)).repeat(30) + &")".repeat(30),
        "!!(".repeat(40) + "true" + &")".repeat(40),
        "--(".repeat(40) + "1" + &")".repeat(40),
    ];
    for text in refused {
        assert!(too_deep(&text).is_some(), "{:?}", text.chars().take(20).collect::<String>());
    }
}

#[test]
fn what_the_language_has_is_let_through_and_parsed() {
    for text in [
        r#""a\"b" + 'a\'b' + '\a\b\f\n\r\t\v\?\`\\' + "\x41\u0041\U00000041\101""#,
        r#"r'\d' + R"\d\" + r'''a\nb''' + 'ä€😀' + ''"#,
        r#"b'abc' == B"abc" && b'\x41\101' != br'abc' && bR"abc" == BR'abc'"#,
        "1 + 0x1F - -2 * 3u / 0xFu % 1.5 + 1e5 - .5 + 1.5E-3 < 2U || 1 - 1 == 0",
        "a.b[0].c('x', y)['k'] // ( ' comment\n in [1, 2,] && !(-x in {'a': 1, b.c: d ? e : f,})",
        "a ? b : c ? d : (e ? f : g)",
        "has(a.b) && a.all(x, x.exists(y, !has(y.z))) && [].size() == 0 && {} == {} && f()",
        ".a.b == .f(c) && !true != false || null == !-1",
        "Object{spec: Object.spec{replicas: 1}, a: 2}",
    ] {
        assert_eq!(too_deep(text), None, "{text}");
        assert_eq!(parses(text), Ok(()), "{text}");
        let repeated = vec![format!("({text}\n)"); 200].join(" && ");
        assert_eq!(too_deep(&repeated), None, "{text}");
    }
    // The grammar has these, and the parser is not up to them, or only if it is told.
    for text in
        ["'''a\n'b''' + \"\"\"a\r\"b\\\"\"\"\"", r#"'\X41' + r'''a'b"'''"#, "a.?b[?c].d + [?e] + {?f: g}"]
    {
        let repeated = vec![format!("({text}\n)"); 200].join(" && ");
        assert_eq!(too_deep(&repeated), None, "{text}");
    }
    for text in ["'a", "a.", "a +", "(a]", "'\\q' + a", "ä"] {
        assert_eq!(too_deep(text), None, "{text}");
        assert!(parses(text).unwrap_err().contains("Syntax error"), "{text}");
    }
    let (long, deep) = (" + a".repeat(249), "(".repeat(60) + "a" + &")".repeat(60));
    for text in [format!("a{long}"), deep] {
        assert_eq!((too_deep(&text), parses(&text)), (None, Ok(())));
    }
}

/// Why these are refused: once the parser reads them as the language has them, they need not be.
#[test]
fn the_parser_misreads_two_negations_and_names_in_backticks() {
    let value = |text: &str| Program::compile(text).unwrap().execute(&Context::default());

    assert_eq!(value("!!true"), Ok(CelValue::Bool(false)));
    assert_eq!(value("--(1)"), Ok(CelValue::Int(-1)));
    assert!(value("{'a-b': 1}.`a-b`").is_err());
    assert_eq!(value("{'a-b': 1}['a-b']"), Ok(CelValue::Int(1)));
}

/// What is not parsed is refused in the form of a syntax error, and what the parser would misread is not stored.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_said_with_its_place() {
    let server = server().await;
    let path = format!("{GROUP}/validatingadmissionpolicies");
    let backticks = "the rule has a name in backticks, which is not supported: write object['name'] for it";
    for (text, why) in [
        ("'\n".to_owned() + &".a".repeat(4000), "the rule has a syntax error at 1:1"),
        ("!!object.data.x".to_owned(), "the rule negates twice in a row, which would be taken for once"),
        ("object.data.`a-b` == 'c'".to_owned(), backticks),
    ] {
        let validation = json!({"expression": text, "message": "no"});
        let (code, answer) =
            call(&server, "POST", &path, policy(&json!({"validations": [validation]}))).await;
        let message = answer["details"]["causes"][0]["message"].as_str().unwrap_or_default();
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert!(message.ends_with(&format!("compilation failed: ERROR: <input>: {why}")), "{message}");
    }
}

/// Each variable is made of the one before: these ended the stack, or the memory, and with it the server.
#[tokio::test(start_paused = true)]
async fn what_variables_come_to_is_bounded() {
    let said = async |count: usize, text: &dyn Fn(String) -> String| {
        let variable = |index: usize| {
            let before = index.checked_sub(1).map(|before| format!("variables.v{before}"));
            json!({"name": format!("v{index}"), "expression": before.map_or("1".into(), text)})
        };
        let variables: Vec<Value> = (0..count).map(variable).collect();
        let last = format!("variables.v{} == null", count - 1);
        let validations = json!([{"expression": last, "message": "null"}]);
        let spec = json!({"variables": variables, "validations": validations});
        says(&bound(spec, json!({})).await, json!({})).await
    };

    let nested = |before: String| format!("{}{before}{}", "[".repeat(50), "]".repeat(50));
    let deep = said(200, &nested).await;
    let large = said(60, &|before| format!("[{before}, {before}]")).await;

    assert!(deep.contains("the variable's value nests deeper than 64"), "{deep}");
    assert!(large.contains("the variables hold too many values"), "{large}");
    assert_eq!(said(2, &nested).await, format!("{DENIED}null"));
    assert_eq!(said(2000, &|before| format!("{before} + 1")).await, format!("{DENIED}null"));
}

/// Without optimisation each of these is more than the stack of a thread that has 2 MiB.
#[tokio::test(start_paused = true)]
async fn an_expression_as_deep_as_may_be_is_evaluated() {
    let brackets = format!("{}object.data.size() == 1{}", "(".repeat(60), ")".repeat(60));
    let lists = format!("size({}1{}) == 1", "[".repeat(60), "]".repeat(60));
    let sum = format!("object.data.size(){} == 241", " + 1".repeat(240));
    let validations = [brackets, lists, sum].map(|expression| json!({"expression": expression}));
    let spec = json!({"validations": validations});
    let server = bound(spec, json!({})).await;

    assert_eq!(says(&server, json!({"a": "1"})).await, "");
    assert_ne!(says(&server, json!({"a": "1", "b": "2"})).await, "");
}

#[tokio::test(start_paused = true)]
async fn policies_are_not_about_policies() {
    let everything = json!({"matchConstraints": {"resourceRules": [{
        "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"],
    }]}, "validations": [{"expression": "false"}]});
    let server = bound(everything, json!({})).await;

    let path = format!("{GROUP}/validatingadmissionpolicybindings/b");
    let (code, answer) = call(&server, "DELETE", &path, Value::Null).await;

    assert_eq!(code, StatusCode::OK, "{answer}");
}

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Sends a request as mallory, and returns how the server refuses it: where, and why.
async fn mallory(server: &ApiServer, method: &str, path: &str, object: Value) -> Option<(String, String)> {
    let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let headers = [("content-type", media_type), ("impersonate-user", "mallory")];
    let answer = send(server, method, path, &headers, object).await;
    if answer.code.is_success() {
        return None;
    }
    assert_eq!(answer.code, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    let cause = &answer.body["details"]["causes"][0];
    let text = |field: &str| cause[field].as_str().unwrap().to_owned();
    Some((text("field"), text("message")))
}

/// Gives mallory rights everywhere.
async fn grant(server: &ApiServer, name: &str, rules: Value) {
    let api = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": format!("{api}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules,
    });
    make(server, &format!("{RBAC}/clusterroles"), role).await;
    let given = json!({
        "apiVersion": format!("{api}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "subjects": [{"kind": "User", "apiGroup": api, "name": "mallory"}],
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": name},
    });
    make(server, &format!("{RBAC}/clusterrolebindings"), given).await;
}

/// A server whose mallory may write policies and bindings, and do everything with configmaps.
async fn with_mallory(server: ApiServer) -> ApiServer {
    let rules = json!([
        {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
    ]);
    grant(&server, "policies", rules).await;
    server
}

/// A policy of this name that shows what its parameters hold.
fn telling(name: &str, kind: &Value) -> Value {
    let validations = json!([{"expression": "false", "messageExpression": "string(params.data.password)"}]);
    let mut policy = policy(&json!({"paramKind": kind, "validations": validations}));
    policy["metadata"]["name"] = name.into();
    policy
}

fn reading(name: &str, policy: &str, param: &Value) -> Value {
    let mut param = param.clone();
    param["parameterNotFoundAction"] = "Allow".into();
    binding(name, &json!({"policyName": policy, "paramRef": param}))
}

#[tokio::test(start_paused = true)]
async fn who_writes_a_policy_may_read_all_that_may_be_its_parameters() {
    let server = with_mallory(server().await).await;
    let (policies, secret) =
        (format!("{GROUP}/validatingadmissionpolicies"), json!({"apiVersion": "v1", "kind": "Secret"}));
    let refused = |kind: &str, api_version: &str| {
        let why = format!(
            "Forbidden: user \"mallory\" must have \"get\" permission on all objects of the referenced paramKind (kind={kind}, apiVersion={api_version})"
        );
        Some(("spec.paramKind".to_owned(), why))
    };

    let of_secrets = mallory(&server, "POST", &policies, telling("s", &secret)).await;
    let unknown = json!({"apiVersion": "example.com/v1", "kind": "Limit"});
    let of_unknown = mallory(&server, "POST", &policies, telling("u", &unknown)).await;
    let of_maps = telling("m", &json!({"apiVersion": "v1", "kind": "ConfigMap"}));

    assert_eq!(of_secrets, refused("Secret", "v1"));
    assert_eq!(of_unknown, refused("Limit", "example.com/v1"));
    assert_eq!(mallory(&server, "POST", &policies, of_maps).await, None);
    let change = json!({"spec": {"paramKind": secret}});
    assert_eq!(
        mallory(&server, "PATCH", &format!("{policies}/m"), change).await,
        refused("Secret", "v1"),
        "a change is no way around it"
    );
    make(&server, &policies, telling("s", &secret)).await;
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        mallory(&server, "PATCH", &format!("{policies}/s"), label).await,
        None,
        "the kind stays as it was"
    );
    // One that is not known yet may become any of its group.
    grant(&server, "u", json!([{"apiGroups": ["example.com"], "resources": ["*"], "verbs": ["get"]}])).await;
    assert_eq!(mallory(&server, "POST", &policies, telling("u", &unknown)).await, None);
}

#[tokio::test(start_paused = true)]
async fn who_binds_a_policy_may_read_what_the_binding_refers_to() {
    let server = with_mallory(server().await).await;
    let bindings = format!("{GROUP}/validatingadmissionpolicybindings");
    let secret = json!({"apiVersion": "v1", "kind": "Secret"});
    make(&server, &format!("{GROUP}/validatingadmissionpolicies"), telling("s", &secret)).await;
    let refused = Some((
        "spec.paramRef".to_owned(),
        "Forbidden: user \"mallory\" does not have \"get\" permission on the object referenced by paramRef"
            .to_owned(),
    ));
    let (db, other) =
        (json!({"name": "db", "namespace": "kube-system"}), json!({"name": "o", "namespace": "kube-system"}));
    let selected = json!({"selector": {}, "namespace": "kube-system"});

    let at_first = mallory(&server, "POST", &bindings, reading("b", "s", &db)).await;
    let rules =
        json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get"]}]);
    grant(&server, "db", rules).await;

    assert_eq!(at_first, refused);
    assert_eq!(mallory(&server, "POST", &bindings, reading("o", "s", &other)).await, refused);
    assert_eq!(mallory(&server, "POST", &bindings, reading("a", "s", &selected)).await, refused);
    assert_eq!(
        mallory(&server, "POST", &bindings, reading("n", "later", &db)).await,
        refused,
        "nobody knows of which kind it will be"
    );
    assert_eq!(mallory(&server, "POST", &bindings, reading("b", "s", &db)).await, None);
    let path = format!("{bindings}/b");
    for change in [json!({"paramRef": {"name": "o"}}), json!({"policyName": "later"})] {
        assert_eq!(mallory(&server, "PATCH", &path, json!({"spec": change})).await, refused, "{change}");
    }
    let warn = json!({"spec": {"validationActions": ["Warn"]}});
    assert_eq!(mallory(&server, "PATCH", &path, warn).await, None, "the reference stays as it was");
}

#[tokio::test(start_paused = true)]
async fn rights_to_parameters_are_asked_for_where_other_admission_is_left_out() {
    let server = ApiServer::builder(MemoryStorage::new()).without_admission().start().await.unwrap();
    let server = with_mallory(server).await;
    let policy = telling("s", &json!({"apiVersion": "v1", "kind": "Secret"}));

    let refused = mallory(&server, "POST", &format!("{GROUP}/validatingadmissionpolicies"), policy).await;

    assert_eq!(refused.unwrap().0, "spec.paramKind");
}
