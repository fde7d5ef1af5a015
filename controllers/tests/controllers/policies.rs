//! What admission policies are told of their expressions.

use std::collections::BTreeMap;

use quarterdeck_controllers::ValidatingAdmissionPolicyStatusController;
use serde_json::{Value, json};

use super::cluster::Cluster;

const POLICY: &str = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy";
const DEFINITION: &str = "apiextensions.k8s.io/v1/CustomResourceDefinition";

async fn start() -> Cluster {
    Cluster::start(|context| vec![Box::new(ValidatingAdmissionPolicyStatusController::new(context))]).await
}

fn rule(group: &str, version: &str, resource: &str) -> Value {
    json!({"operations": ["*"], "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
}

/// The spec of a policy about these kinds.
fn about(rules: &[Value], more: &Value) -> Value {
    let mut spec = json!({"matchConstraints": {"resourceRules": rules}});
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

fn validations(expressions: &[&str]) -> Value {
    let each = expressions.iter().map(|expression| json!({"expression": expression, "message": "no"}));
    json!({"validations": each.collect::<Vec<_>>()})
}

/// Makes a policy, and returns what is told of it: of each expression that something is told of.
async fn told(cluster: &Cluster, name: &str, spec: Value) -> BTreeMap<String, String> {
    cluster.create(POLICY, json!({"metadata": {"name": name}, "spec": spec})).await;
    status(cluster, name, 1).await
}

/// Waits until a generation of a policy was looked at, and returns what is told of it.
async fn status(cluster: &Cluster, name: &str, generation: u64) -> BTreeMap<String, String> {
    let look = async || cluster.get(POLICY, name).await.unwrap()["status"].clone();
    let observed = |status: &Value| status["observedGeneration"] == generation;
    let status = cluster.until("the policy's status", look, observed).await;
    assert!(status["typeChecking"].is_object(), "{status}");
    let text = |warning: &Value, field: &str| warning[field].as_str().unwrap().to_owned();
    let warnings = status["typeChecking"]["expressionWarnings"].as_array().into_iter().flatten();
    warnings.map(|warning| (text(warning, "fieldRef"), text(warning, "warning"))).collect()
}

/// Looks at each expression with the kinds of these rules, and returns what is told of it without the line that it is in.
async fn told_of(cluster: &Cluster, rules: &[Value], expressions: &[&str]) -> Vec<String> {
    let told = told(cluster, "many", about(rules, &validations(expressions))).await;
    let of = |index: usize| {
        let lines = told.get(&format!("spec.validations[{index}].expression")).into_iter();
        let lines = lines.flat_map(|text| text.lines()).filter(|line| !line.starts_with(" | "));
        lines.map(|line| line.split_once("ERROR: <input>:").unwrap().1.trim().to_owned()).collect::<Vec<_>>()
    };
    (0..expressions.len()).map(|index| of(index).join("; ")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_field_that_no_object_of_the_kind_has_is_told_until_the_expression_is_mended() {
    let cluster = start().await;
    let rules = [rule("apps", "v1", "deployments")];

    let before = told(&cluster, "p", about(&rules, &validations(&["object.replicas > 1"]))).await;
    let mended = json!({"spec": {"validations": [{"expression": "object.spec.replicas > 1"}]}});
    cluster.patch(POLICY, "p", mended).await;
    let after = status(&cluster, "p", 2).await;
    let labelled = cluster.patch(POLICY, "p", json!({"metadata": {"labels": {"a": "b"}}})).await;
    cluster.pass(5).await;

    let warning = "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n \
                   | ......^";
    assert_eq!(before, BTreeMap::from([("spec.validations[0].expression".to_owned(), warning.to_owned())]));
    assert_eq!(after, BTreeMap::new());
    let policy = cluster.get(POLICY, "p").await.unwrap();
    assert_eq!(policy["status"], json!({"observedGeneration": 2, "typeChecking": {}}));
    assert_eq!(policy, labelled, "what is told already is not told again");
    let managers = policy["metadata"]["managedFields"].as_array().unwrap().iter();
    let told = managers.filter(|entry| entry["subresource"] == "status").map(|entry| &entry["manager"]);
    assert_eq!(told.collect::<Vec<_>>(), ["validatingadmissionpolicy-status-controller"]);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_is_told_wherever_it_stands() {
    let cluster = start().await;
    let cases = [
        ("object.spec.replicaz > 1", "1:12: undefined field 'replicaz'"),
        ("object.spec['replicaz'] > 1", "undefined field 'replicaz'"),
        ("has(object.spec.replicaz)", "1:16: undefined field 'replicaz'"),
        ("oldObject == null ||\n  oldObject.spec.x == 1", "2:17: undefined field 'x'"),
        ("object.spec.template.spec.containers.all(c, c.immage != '')", "1:46: undefined field 'immage'"),
        ("object.spec.template.spec.containers[0].ports.map(p, p.port)", "1:55: undefined field 'port'"),
        (
            "object.spec.template.spec.containers.filter(c, has(c.ports)).exists(c, c.prots.size() > 0)",
            "1:73: undefined field 'prots'",
        ),
        (
            "object.spec.template.spec.volumes.exists_one(v, v.hostpath.path == '/')",
            "1:50: undefined field 'hostpath'",
        ),
        ("[object.spec, oldObject.spec].all(s, s.x == 1)", "1:39: undefined field 'x'"),
        ("{'a': object.spec}['a'].x == 1", "1:24: undefined field 'x'"),
        ("(has(object.spec) ? object.spec : oldObject.spec).x == 1", "1:50: undefined field 'x'"),
        (
            "object.spec.template.spec.containers.map(c, c.name != '', c.x).size() > 0",
            "1:60: undefined field 'x'",
        ),
        (
            "object.spec.selector.matchLabels.all(k, k.x == '')",
            "1:42: type 'string' does not support field selection",
        ),
        ("object.metadata.name.first == 'a'", "1:21: type 'string' does not support field selection"),
        (
            "object.spec.template.spec.containers.image == ''",
            "1:37: type 'list(io.k8s.api.core.v1.Container)' does not support field selection",
        ),
        ("request.object.spec.replicas > 1", "1:8: undefined field 'object'"),
        ("request.userInfo.name == ''", "1:17: undefined field 'name'"),
        ("namespaceObject.metadata.ownerReferences == []", "1:25: undefined field 'ownerReferences'"),
        (
            "authorizer.allowed()",
            "found no matching overload for 'allowed' applied to 'kubernetes.authorization.Authorizer.()'",
        ),
        (
            "authorizer.group('apps').check('get').allowed()",
            "found no matching overload for 'check' applied to 'kubernetes.authorization.GroupCheck.(string)'",
        ),
        (
            "object.spec.replicas == '3'",
            "1:22: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            "object.metadata.name + 1 == 'a1'",
            "1:22: found no matching overload for '_+_' applied to '(string, int)'",
        ),
        (
            "object.metadata.name && true",
            "1:22: found no matching overload for '_&&_' applied to '(string, bool)'",
        ),
        ("!object.metadata.name", "1:1: found no matching overload for '!_' applied to '(string)'"),
        (
            "size(object.metadata.name) in 'abc'",
            "1:28: found no matching overload for '@in' applied to '(int, string)'",
        ),
        (
            "object.metadata.name.all(c, c == 'a')",
            "expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        (
            "object.a == 1 && '.a' != 'x' && object.a == 2",
            "1:7: undefined field 'a'; 1:39: undefined field 'a'",
        ),
    ];
    let expressions = cases.map(|(expression, _)| expression);

    let told = told_of(&cluster, &[rule("apps", "v1", "deployments")], &expressions).await;

    for ((expression, expected), told) in cases.iter().zip(told) {
        assert_eq!(told, *expected, "{expression}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_of_what_may_be() {
    let cluster = start().await;
    let expressions = [
        "object.spec.replicas <= 5",
        "object.metadata.labels.app == 'a' && object.metadata.labels['b.example.com/c'] != ''",
        "has(object.metadata.annotations) && 'a' in object.metadata.annotations",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('registry.example.com/'))",
        "object.spec.template.spec.containers.all(c, has(c.resources.limits) && quantity(c.resources.limits['cpu']).isLessThan(quantity('2')))",
        "object.spec.template.spec.containers.all(c, c.resources.limits.memory == '1Gi' || c.resources.limits.memory == 1)",
        "object.spec.template.spec.containers.all(c, !has(c.livenessProbe) || c.livenessProbe.httpGet.port == 'http' || c.livenessProbe.httpGet.port == 80)",
        "object.spec.strategy.rollingUpdate.maxSurge == '25%' || object.spec.strategy.rollingUpdate.maxSurge == 1",
        "object.spec.template.spec.volumes.map(v, v.name).all(n, n.matches('^[a-z]+$'))",
        "[object.spec.replicas, 3.5].exists(n, n > 3)",
        "oldObject == null || object.metadata.creationTimestamp == oldObject.metadata.creationTimestamp",
        "timestamp(object.metadata.creationTimestamp) > timestamp('2026-01-01T00:00:00Z')",
        "object.status.conditions.exists(c, c.type == 'Available' && c.status == 'True')",
        "object.metadata.managedFields.all(f, f.fieldsV1.anything == null)",
        "object.kind == 'Deployment' && object.apiVersion == 'apps/v1'",
        "request.operation in ['CREATE', 'UPDATE'] && request.userInfo.groups.exists(g, g == 'a') && !request.dryRun",
        "request.userInfo.extra['a'][0] == 'b' && request.options.anything == 1 && request.kind.version == 'v1'",
        "namespaceObject.metadata.labels['a'] == 'b' && namespaceObject.status.phase == 'Active'",
        "authorizer.group('apps').resource('deployments').namespace('a').name('b').check('create').allowed()",
        "authorizer.requestResource.subresource('scale').check('get').reason() != ''",
        "authorizer.path('/healthz').check('get').allowed()",
        "authorizer.serviceAccount('a', 'b').group('').resource('pods').fieldSelector('a=b').check('get').errored()",
        "(has(object.spec.paused) ? object.spec : oldObject).x == 1",
        "dyn(object.spec).x == 1",
        "math.greatest(object.spec.replicas, 2) > 1 && sets.contains(['a'], ['a'])",
        "object.metadata.name.split('-')[0].lowerAscii() == 'a' && object.metadata.name.size() < 9",
        "object.spec.replicas - 1 > -1 && -object.spec.replicas < 0",
    ];

    let told = told_of(&cluster, &[rule("apps", "v1", "deployments")], &expressions).await;

    for (expression, told) in expressions.iter().zip(told) {
        assert_eq!(told, "", "{expression}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_expression_of_a_policy_is_looked_at_and_knows_the_variables_before_it() {
    let cluster = start().await;
    let more = json!({
        "matchConditions": [{"name": "c", "expression": "object.a == 1"}],
        "variables": [
            {"name": "containers", "expression": "object.spec.template.spec.containers"},
            {"name": "broken", "expression": "variables.containers.all(c, c.b == 1)"},
            {"name": "images", "expression": "variables.containers.map(c, c.image)"},
        ],
        "validations": [
            {"expression": "variables.images.all(i, i.c == '')", "messageExpression": "'no ' + variables.contaners[0].name"},
            {"expression": "variables.broken.anything == variables.images", "message": "no"},
        ],
        "auditAnnotations": [{"key": "k", "valueExpression": "object.d"}],
    });

    let told = told(&cluster, "p", about(&[rule("apps", "v1", "deployments")], &more)).await;

    let paths: Vec<&str> = told.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "spec.auditAnnotations[0].valueExpression",
            "spec.matchConditions[0].expression",
            "spec.validations[0].expression",
            "spec.validations[0].messageExpression",
            "spec.validations[1].expression",
            "spec.variables[1].expression",
        ]
    );
    let says = |path: &str, what: &str| assert!(told[path].contains(what), "{}", told[path]);
    says("spec.variables[1].expression", "undefined field 'b'");
    says("spec.validations[0].expression", "type 'string' does not support field selection");
    says("spec.validations[0].messageExpression", "undefined field 'contaners'");
    says("spec.validations[1].expression", "type 'bool' does not support field selection");
}

fn definition(schema: &Value) -> Value {
    json!({
        "metadata": {"name": "ships.sea.example.com"},
        "spec": {
            "group": "sea.example.com", "scope": "Namespaced",
            "names": {"plural": "ships", "singular": "ship", "kind": "Ship", "listKind": "ShipList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

async fn define(cluster: &Cluster, schema: Value) {
    cluster.create(DEFINITION, definition(&schema)).await;
    let look = async || cluster.get(DEFINITION, "ships.sea.example.com").await.unwrap();
    let established = |definition: &Value| {
        let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|it| it["type"] == "Established" && it["status"] == "True")
    };
    cluster.until("the definition", look, established).await;
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "masts": {"type": "integer"},
        "crew": {"type": "array", "items": {"type": "object", "properties": {"rank": {"type": "string"}}}},
        "cargo": {"type": "object", "additionalProperties": {"type": "integer"}},
        "log": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"day": {"type": "integer"}}},
        "anything": {"x-kubernetes-preserve-unknown-fields": true},
        "port": {"x-kubernetes-int-or-string": true},
        "boat": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object", "properties": {"oars": {"type": "integer"}}}}},
        "home-port": {"type": "string"},
    }}}})
}

#[tokio::test(start_paused = true)]
async fn custom_kinds_have_the_fields_of_their_schemas() {
    let cluster = start().await;
    define(&cluster, schema()).await;
    let cases = [
        ("object.spec.masts > 1 && object.spec.crew.all(c, c.rank == 'a')", ""),
        ("object.spec.mast > 1", "1:12: undefined field 'mast'"),
        ("object.spec.crew.all(c, c.name == 'a')", "1:26: undefined field 'name'"),
        ("object.spec.cargo.tea > 1 && object.spec.cargo['x-y'] > 1", ""),
        (
            "object.spec.cargo.tea == 'much'",
            "1:23: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        ("object.spec.log.whatever == 1 && object.spec.anything.whatever[0] == 1", ""),
        (
            "object.spec.log.day == 'monday'",
            "1:21: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        ("object.spec.port == 1 || object.spec.port == 'http'", ""),
        ("object.spec.boat.kind == 'Boat' && object.spec.boat.metadata.name == 'a'", ""),
        ("object.spec.boat.spec.oar == 1", "1:22: undefined field 'oar'"),
        ("object.spec['home-port'] == '' && object.spec.home__dash__port == ''", ""),
        ("object.metadata.name == 'a' && object.kind == 'Ship'", ""),
        ("object.metadata.nam == 'a'", "1:16: undefined field 'nam'"),
    ];
    let expressions = cases.map(|(expression, _)| expression);

    let told = told_of(&cluster, &[rule("sea.example.com", "v1", "ships")], &expressions).await;

    for ((expression, expected), told) in cases.iter().zip(told) {
        assert_eq!(told, *expected, "{expression}");
    }
}

#[tokio::test(start_paused = true)]
async fn parameters_have_the_fields_of_their_kind() {
    let cluster = start().await;
    define(&cluster, schema()).await;
    let rules = [rule("", "v1", "configmaps")];
    let with = |api_version: &str, kind: &str| {
        let mut more = validations(&["params.spec.mast > 1", "params == null || params.spec.masts > 1"]);
        more["paramKind"] = json!({"apiVersion": api_version, "kind": kind});
        about(&rules, &more)
    };

    let known = told(&cluster, "known", with("sea.example.com/v1", "Ship")).await;
    let unknown = told(&cluster, "unknown", with("sea.example.com/v1", "Boat")).await;
    let nowhere = told(&cluster, "nowhere", with("land.example.com/v1", "Ship")).await;

    let warning = "/v1, Kind=ConfigMap: ERROR: <input>:1:12: undefined field 'mast'\n | params.spec.mast > 1\n | ...........^";
    assert_eq!(known, BTreeMap::from([("spec.validations[0].expression".to_owned(), warning.to_owned())]));
    assert_eq!((unknown.len(), nowhere.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn kinds_that_nobody_can_foresee_are_not_guessed() {
    let cluster = start().await;
    let wrong = validations(&["object.nothing == 1"]);
    let cases = [
        ("any-group", rule("*", "v1", "deployments")),
        ("any-version", rule("apps", "*", "deployments")),
        ("any-resource", rule("apps", "v1", "*")),
        ("below", rule("apps", "v1", "deployments/scale")),
        ("no-resource", rule("apps", "v1", "nothing")),
        ("no-version", rule("apps", "v9", "deployments")),
        ("no-group", rule("none.example.com", "v1", "deployments")),
    ];

    for (name, rule) in cases {
        assert_eq!(told(&cluster, name, about(&[rule], &wrong)).await, BTreeMap::new(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_a_policy_is_told_of_up_to_ten() {
    let cluster = start().await;
    let rules =
        [rule("apps", "v1", "deployments"), rule("apps", "v1", "statefulsets"), rule("", "v1", "pods")];
    let all = ["bindings", "configmaps", "endpoints", "events", "limitranges", "namespaces", "nodes", "pods"];
    let more = ["replicationcontrollers", "resourcequotas", "secrets", "serviceaccounts", "services"];
    let mut many = rule("", "v1", "pods");
    many["resources"] = all.into_iter().chain(more).collect();

    let expressions = ["object.spec.replicas > 1", "object.nothing == 1"];
    let three = told(&cluster, "three", about(&rules, &validations(&expressions))).await;
    let ten = told(&cluster, "ten", about(&[many], &validations(&expressions[1..]))).await;

    let kinds = |told: &BTreeMap<String, String>, index: usize| {
        let lines = told[&format!("spec.validations[{index}].expression")].lines();
        let kinds = lines.filter_map(|line| Some(line.split_once(": ERROR")?.0.to_owned()));
        kinds.collect::<Vec<_>>()
    };
    assert_eq!(kinds(&three, 0), ["/v1, Kind=Pod"]);
    assert_eq!(kinds(&three, 1), ["/v1, Kind=Pod", "apps/v1, Kind=Deployment", "apps/v1, Kind=StatefulSet"]);
    assert_eq!(kinds(&ten, 0).len(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_bounded() {
    let cluster = start().await;
    let wide = format!("object.a == '{}'", "x".repeat(10_000));
    let many = (0..200).map(|_| "object.nothing == 1").collect::<Vec<_>>().join(" && ");
    let deep = format!("object.nothing{}", ".metadata".repeat(240));
    let mut expressions = vec![wide.as_str(), &many, &deep];
    expressions.extend(std::iter::repeat_n("object.nothing == 1", 1000));

    let told = told(&cluster, "p", about(&[rule("", "v1", "pods")], &validations(&expressions))).await;

    let of = |index: usize| told[&format!("spec.validations[{index}].expression")].as_str();
    assert_eq!(of(0), "/v1, Kind=Pod: ERROR: <input>:1:7: undefined field 'a'");
    assert_eq!(of(1).matches("undefined field").count(), 10);
    assert!(!told.contains_key("spec.validations[2].expression"), "nobody looks that deep");
    let bytes: usize = told.values().map(String::len).sum();
    assert!((60_000..70_000).contains(&bytes), "{bytes}");
}

/// The types of these would be ten thousands of lists deep, which ended the stack of who compared, showed or dropped them.
#[tokio::test(start_paused = true)]
async fn variables_of_variables_have_types_that_are_bounded() {
    let cluster = start().await;
    let nested = |index: usize| match index {
        0 => "1".to_owned(),
        _ => format!("{0}variables.v{2}{1}", "[".repeat(50), "]".repeat(50), index - 1),
    };
    let variables: Vec<Value> =
        (0..1200).map(|index| json!({"name": format!("v{index}"), "expression": nested(index)})).collect();
    let tests = ["variables.v900 == variables.v899", "variables.v900.x == 1", "variables.v1199.x == 1"];
    let mut spec = about(&[rule("apps", "v1", "deployments")], &validations(&tests));
    spec["variables"] = variables.into();

    let told = told(&cluster, "p", spec).await;

    assert_eq!(told, BTreeMap::new());
}
