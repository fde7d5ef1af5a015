//! Who may do what: every route of the server for every kind of user, against a table that was made from Kubernetes' documents.
//!
//! The routes are those of discovery, and the paths beside them. Each is asked about twice: in a review of access, and by a request,
//! which authorisation refuses in its own words, or admission in others, or nobody. `matrix.txt` says what is expected, and where from.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::fmt;

use http::Request;
use http_body_util::BodyExt;
use quarterdeck_registry::layers::authentication::Anonymous;
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, User};
use serde_json::{Value, json};
use support::call;
use tower::ServiceExt;

const TABLE: &str = include_str!("matrix.txt");
/// What rights there are beside those that routes need: verb, group and resource.
const SPECIAL: [(&str, &str, &str); 35] = [
    ("approve", "certificates.k8s.io", "signers"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("bind", "rbac.authorization.k8s.io", "roles"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("escalate", "rbac.authorization.k8s.io", "roles"),
    ("impersonate", "", "groups"),
    ("impersonate", "", "serviceaccounts"),
    ("impersonate", "", "users"),
    ("impersonate", "authentication.k8s.io", "uids"),
    ("sign", "certificates.k8s.io", "signers"),
    // Paths that this server does not serve yet, and roles allow.
    ("create", "", "endpoints/restricted"),
    ("create", "", "pods/attach"),
    ("create", "", "pods/exec"),
    ("create", "", "pods/portforward"),
    ("create", "", "pods/proxy"),
    ("create", "", "services/proxy"),
    ("delete", "", "pods/proxy"),
    ("get", "", "nodes/log"),
    ("get", "", "nodes/metrics"),
    ("get", "", "nodes/proxy"),
    ("get", "", "nodes/stats"),
    ("get", "", "pods/attach"),
    ("get", "", "pods/exec"),
    ("get", "", "pods/portforward"),
    ("get", "", "pods/proxy"),
    ("get", "", "services/proxy"),
    ("update", "", "endpoints/restricted"),
    ("update", "", "pods/ephemeralcontainers"),
    ("update", "", "pods/finalizers"),
    ("update", "", "pods/resize"),
    ("update", "", "services/proxy"),
    ("update", "apps", "deployments/finalizers"),
    ("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
    ("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
    ("impersonate", "authentication.k8s.io", "userextras/scopes"),
];
/// Paths beside resources that discovery does not tell of.
const PATHS: [&str; 17] = [
    "/",
    "/.well-known/openid-configuration",
    "/healthz",
    "/healthz/ping",
    "/livez",
    "/livez/ping",
    "/logs",
    "/metrics",
    "/metrics/slis",
    "/openapi",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/apis/apps/v1",
    "/openid/v1/jwks",
    "/readyz",
    "/readyz/etcd",
    "/version",
];
/// Namespaces that are asked about; cluster-wide requests come besides.
const NAMESPACES: [&str; 3] = ["team", "other", "kube-node-lease"];

/// The table.
#[derive(Debug, Default)]
struct Table<'t> {
    users: Vec<(&'t str, Vec<(&'t str, &'t str)>)>,
    rules: Vec<Rule<'t>>,
}

/// A line of a role.
#[derive(Debug)]
struct Rule<'t> {
    role: &'t str,
    verbs: Vec<&'t str>,
    groups: Vec<&'t str>,
    resources: Vec<&'t str>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Authorisation refuses it.
    Refused,
    /// Authorisation lets it pass, and admission refuses it.
    Restricted,
    /// It is let in, whatever comes of it then.
    LetIn,
}

/// What is asked, about a resource or about a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    verb: String,
    /// `path` for paths.
    group: String,
    version: String,
    /// With the path below it, or the path.
    resource: String,
    is_namespaced: bool,
    /// Empty if the whole cluster is asked about.
    namespace: &'static str,
    /// Whether the server answers it: rights beside those are only reviewed.
    is_served: bool,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, version, resource, namespace, .. } = self;
        match (group.as_str(), *namespace) {
            ("path", _) => write!(f, "{verb} {resource}"),
            (_, "") => write!(f, "{verb} {resource} of {group:?} {version} in the cluster"),
            (_, namespace) => write!(f, "{verb} {resource} of {group:?} {version} in {namespace}"),
        }
    }
}

impl<'t> Table<'t> {
    fn parse(text: &'t str) -> Self {
        let (mut table, mut role) = (Self::default(), "");
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                role = name;
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["user", name, ref grants @ ..] => {
                    let grants = grants.iter().map(|grant| grant.split_once('=').expect("PLACE=ROLE"));
                    table.users.push((name, grants.collect()));
                }
                [verbs, groups, resources] => table.rules.push(Rule {
                    role,
                    verbs: verbs.split(',').flat_map(verbs_of).copied().collect(),
                    groups: groups.split(',').map(|group| if group == "core" { "" } else { group }).collect(),
                    resources: resources.split(',').collect(),
                }),
                _ => panic!("matrix.txt: what is {line:?}?"),
            }
        }
        table
    }

    /// What becomes of a request of somebody with these roles who takes a route.
    fn outcome(&self, grants: &[(&str, &str)], route: &Route) -> Outcome {
        let names = |restricts: bool| {
            grants.iter().filter(|(_, role)| role.starts_with('!') == restricts).any(|(place, role)| {
                let holds = *place == "cluster" || (!route.namespace.is_empty() && *place == route.namespace);
                holds && self.rules.iter().any(|rule| rule.role == *role && rule.is_about(route))
            })
        };
        match (names(false), names(true)) {
            (false, _) => Outcome::Refused,
            (true, true) => Outcome::Restricted,
            (true, false) => Outcome::LetIn,
        }
    }
}

/// Returns the verbs that a word stands for.
fn verbs_of(word: &str) -> &[&str] {
    match word {
        "read" => &["get", "list", "watch"],
        "write" => &["create", "update", "patch", "delete", "deletecollection"],
        // A verb is in one of these, whose lifetime is the table's.
        "get" => &["get"],
        "list" => &["list"],
        "watch" => &["watch"],
        "create" => &["create"],
        "update" => &["update"],
        "patch" => &["patch"],
        "delete" => &["delete"],
        "deletecollection" => &["deletecollection"],
        "impersonate" => &["impersonate"],
        "escalate" => &["escalate"],
        "all" => &[
            "get",
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
            "impersonate",
            "escalate",
            "bind",
            "approve",
            "sign",
        ],
        other => panic!("matrix.txt: what is the verb {other:?}?"),
    }
}

impl Rule<'_> {
    fn is_about(&self, route: &Route) -> bool {
        self.verbs.contains(&route.verb.as_str()) && self.names(route)
    }

    /// Whether it is about what a route is about, whatever the verb.
    fn names(&self, route: &Route) -> bool {
        let is_path = route.group == "path";
        let group = self.groups.iter().any(|group| *group == route.group || (*group == "*" && !is_path));
        let fits = |resource: &&str| match resource.strip_suffix("/*") {
            Some(begin) if is_path => {
                route.resource.strip_prefix(begin).is_some_and(|rest| rest.starts_with('/'))
            }
            _ => *resource == route.resource || (*resource == "*" && !is_path),
        };
        group && self.resources.iter().any(fits)
    }
}

impl Route {
    fn plural(&self) -> &str {
        self.resource.split('/').next().unwrap_or_default()
    }

    fn below(&self) -> Option<&str> {
        self.resource.split_once('/').map(|(_, below)| below)
    }

    /// The object that is asked about, if it is one.
    fn name(&self) -> Option<&'static str> {
        let is_collection = matches!(self.verb.as_str(), "list" | "watch" | "create" | "deletecollection");
        if is_collection && self.below().is_none() {
            return None;
        }
        Some(self.object())
    }

    /// The object that is asked about, or made.
    fn object(&self) -> &'static str {
        match (self.plural(), self.namespace) {
            ("namespaces", namespace) if !namespace.is_empty() => namespace,
            ("leases", "kube-node-lease") => "n",
            _ if self.is_namespaced => "x",
            _ => "n",
        }
    }

    /// What is sent.
    fn body(&self) -> Body {
        match self.verb.as_str() {
            "get" | "list" | "watch" => Body::empty(),
            "create" | "update" | "patch" if self.group != "path" => {
                Body::full(json!({"metadata": {"name": self.object()}}).to_string())
            }
            _ => Body::full("{}"),
        }
    }

    /// The attributes of a review.
    fn attributes(&self) -> (&'static str, Value) {
        if self.group == "path" {
            return ("nonResourceAttributes", json!({"path": self.resource, "verb": self.verb}));
        }
        let attributes = json!({
            "verb": self.verb, "group": self.group, "version": self.version, "resource": self.plural(),
            "subresource": self.below(), "namespace": self.namespace, "name": self.name(),
        });
        ("resourceAttributes", attributes)
    }

    /// The method and the address of a request.
    fn request(&self) -> (&'static str, String) {
        let (method, query) = match self.verb.as_str() {
            "get" | "list" => ("GET", ""),
            "watch" => ("GET", "?watch=1"),
            "create" | "post" => ("POST", "?dryRun=All"),
            "update" => ("PUT", "?dryRun=All"),
            "patch" => ("PATCH", "?dryRun=All"),
            "delete" => ("DELETE", "?dryRun=All"),
            "deletecollection" => ("DELETE", "?dryRun=All&labelSelector=no%3Dsuch"),
            other => panic!("no method is for {other}"),
        };
        if self.group == "path" {
            return (method, self.resource.clone());
        }
        let mut path = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if self.is_namespaced && !self.namespace.is_empty() {
            path += &format!("/namespaces/{}", self.namespace);
        }
        path += &format!("/{}", self.plural());
        for segment in [self.name(), self.below()].into_iter().flatten() {
            path += &format!("/{segment}");
        }
        (method, path + query)
    }
}

async fn make(server: &ApiServer, path: &str, object: Value) {
    let (code, answer) = call(server, "POST", path, object).await;
    assert_eq!(code, 201, "{path}: {answer}");
}

/// Makes a server with what the table speaks of.
async fn server() -> ApiServer {
    let server = ApiServer::builder(MemoryStorage::new()).authenticator(Anonymous).start().await.unwrap();
    for namespace in ["team", "other"] {
        make(&server, "/api/v1/namespaces", json!({"metadata": {"name": namespace}})).await;
    }
    for node in ["n", "m"] {
        make(&server, "/api/v1/nodes", json!({"metadata": {"name": node}})).await;
    }
    // Whose pods are whose has admission decide, and not that there is no account for them.
    for namespace in NAMESPACES {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        make(&server, &accounts, json!({"metadata": {"name": "default"}})).await;
    }
    let team = "/api/v1/namespaces/team";
    for plural in ["serviceaccounts", "secrets", "configmaps"] {
        make(&server, &format!("{team}/{plural}"), json!({"metadata": {"name": "x"}})).await;
    }
    let size = json!({"storage": "1Gi"});
    let volume = json!({"metadata": {"name": "n"}, "spec": {
        "capacity": size, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/v"},
        "claimRef": {"namespace": "team", "name": "x"}, "storageClassName": "none",
    }});
    make(&server, "/api/v1/persistentvolumes", volume).await;
    let claim = json!({"metadata": {"name": "x"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": size}, "volumeName": "n", "storageClassName": "none",
    }});
    make(&server, &format!("{team}/persistentvolumeclaims"), claim).await;
    let pod = json!({"metadata": {"name": "x"}, "spec": {
        "nodeName": "n", "serviceAccountName": "x", "containers": [{"name": "c", "image": "i"}],
        "volumes": [
            {"name": "s", "secret": {"secretName": "x"}}, {"name": "m", "configMap": {"name": "x"}},
            {"name": "v", "persistentVolumeClaim": {"claimName": "x"}},
        ],
    }});
    make(&server, &format!("{team}/pods"), pod).await;
    let attached = json!({"metadata": {"name": "n"}, "spec": {
        "attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "n"},
    }});
    make(&server, "/apis/storage.k8s.io/v1/volumeattachments", attached).await;
    make(
        &server,
        "/apis/storage.k8s.io/v1/csinodes",
        json!({"metadata": {"name": "n"}, "spec": {"drivers": []}}),
    )
    .await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    make(&server, leases, json!({"metadata": {"name": "n"}, "spec": {}})).await;
    let group = "rbac.authorization.k8s.io";
    let roles = [("viewer", "view"), ("editor", "edit"), ("admin", "admin"), ("tenant", "cluster-admin")];
    for (user, role) in roles {
        let binding = json!({
            "metadata": {"name": user}, "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        });
        make(&server, &format!("/apis/{group}/v1/namespaces/team/rolebindings"), binding).await;
    }
    server
}

/// Returns the user whom the table calls so.
fn user(name: &str) -> User {
    match name {
        "anonymous" => {
            let groups = vec!["system:unauthenticated".to_owned()];
            User { name: "system:anonymous".into(), groups, ..User::default() }
        }
        "controllers" => User::new("system:kube-controller-manager"),
        "scheduler" => User::new("system:kube-scheduler"),
        "proxy" => User::new("system:kube-proxy"),
        "monitor" => User::new("monitor").group("system:monitoring"),
        "account" => User::new("system:serviceaccount:team:x")
            .group("system:serviceaccounts")
            .group("system:serviceaccounts:team"),
        name => match name.split_once(':') {
            Some(("account", controller)) => {
                let name = format!("system:serviceaccount:kube-system:{controller}");
                User::new(name).group("system:serviceaccounts").group("system:serviceaccounts:kube-system")
            }
            _ => name.strip_prefix("agent-of-").map_or_else(|| User::new(name), User::node),
        },
    }
}

/// Asks discovery for every route.
async fn routes(server: &ApiServer) -> BTreeSet<Route> {
    let get = async |path: &str| {
        let (code, answer) = call(server, "GET", path, Value::Null).await;
        assert_eq!(code, 200, "{path}: {answer}");
        answer
    };
    let mut routes = BTreeSet::new();
    let mut paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    let told = get("/").await;
    paths.extend(told["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()));
    let lists = paths.iter().filter(|path| {
        let depth = path.split('/').count();
        (path.starts_with("/api/") && depth == 3) || (path.starts_with("/apis/") && depth == 4)
    });
    for path in lists {
        for resource in get(path).await["resources"].as_array().unwrap() {
            routes.extend(of_resource(path, resource));
        }
    }
    for path in paths {
        for verb in ["get", "post"] {
            routes.insert(Route {
                verb: verb.into(),
                group: "path".into(),
                version: String::new(),
                resource: path.clone(),
                is_namespaced: false,
                namespace: "",
                is_served: true,
            });
        }
    }
    for (verb, group, resource) in SPECIAL {
        for namespace in NAMESPACES.into_iter().chain([""]) {
            routes.insert(Route {
                verb: verb.into(),
                group: group.into(),
                version: "v1".into(),
                resource: resource.into(),
                is_namespaced: true,
                namespace,
                is_served: false,
            });
        }
    }
    routes
}

/// The routes of an entry of discovery.
fn of_resource(list: &str, resource: &Value) -> Vec<Route> {
    let segments: Vec<&str> = list.split('/').collect();
    let group = if segments[1] == "api" { "" } else { segments[2] };
    let (name, is_namespaced) = (resource["name"].as_str().unwrap(), resource["namespaced"] == true);
    let mut routes = Vec::new();
    for verb in resource["verbs"].as_array().unwrap() {
        let verb = verb.as_str().unwrap();
        let is_whole =
            matches!(verb, "list" | "watch" | "deletecollection" | "create") && !name.contains('/');
        // A namespace lies in itself. Nothing is made or deleted in all namespaces at once.
        let namespaces: &[&'static str] = match name.split('/').next() {
            Some("namespaces") if is_whole => &[""],
            Some("namespaces") => &NAMESPACES,
            _ if !is_namespaced => &[""],
            _ if matches!(verb, "list" | "watch") && is_whole => &["team", "other", "kube-node-lease", ""],
            _ => &NAMESPACES,
        };
        routes.extend(namespaces.iter().map(|namespace| Route {
            verb: verb.into(),
            group: group.into(),
            version: segments.last().unwrap().to_string(),
            resource: name.into(),
            is_namespaced,
            namespace,
            is_served: true,
        }));
    }
    routes
}

/// Asks, as an administrator, whether a user may take a route.
async fn is_reviewed(server: &ApiServer, user: &User, route: &Route) -> bool {
    let (field, attributes) = route.attributes();
    let review = json!({"spec": {"user": user.name, "groups": user.groups, field: attributes}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let (code, answer) = call(server, "POST", path, review).await;
    assert_eq!(code, 201, "{route}: {answer}");
    answer["status"]["allowed"].as_bool().unwrap()
}

/// Takes a route as a user.
async fn take(server: &ApiServer, user: &User, route: &Route) -> Outcome {
    let (method, uri) = route.request();
    let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(&uri).header("content-type", media_type);
    let request = request.body(route.body()).unwrap();
    let answer = match user.name.as_str() {
        "system:anonymous" => server.clone().oneshot(request).await.unwrap(),
        _ => server.as_user(user.clone()).oneshot(request).await.unwrap(),
    };
    let code = answer.status().as_u16();
    // There are no agents to ask for logs, and nobody to sign tokens; and a binding without a target is answered as upstream does.
    let answers_500 = ["pods/log", "serviceaccounts/token", "bindings", "pods/binding"];
    let is_broken = code == 500 && !answers_500.contains(&&*route.resource);
    assert!(code != 401 && code != 429 && !is_broken, "{} {route}: {code}", user.name);
    if code != 403 {
        // A watch would go on.
        return Outcome::LetIn;
    }
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let message = serde_json::from_slice::<Value>(&body).unwrap()["message"].as_str().unwrap().to_owned();
    let cannot = |verb: &str| message.contains(&format!("User {:?} cannot {verb} ", user.name));
    match cannot(&route.verb) {
        true => Outcome::Refused,
        // Who may replace and finds nothing to replace makes it, which is another right.
        false if route.verb == "update" && cannot("create") => Outcome::LetIn,
        // Admission refuses in other words.
        false => Outcome::Restricted,
    }
}

#[tokio::test]
async fn every_user_may_take_the_routes_that_the_table_allows_and_no_other() {
    let (server, table) = (server().await, Table::parse(TABLE));
    let routes = routes(&server).await;
    let mut differences = Vec::new();

    for (name, grants) in &table.users {
        let user = user(name);
        for route in &routes {
            let expected = table.outcome(grants, route);
            let may = expected != Outcome::Refused;
            if is_reviewed(&server, &user, route).await != may {
                differences.push(format!("{name}: {route}: reviewed otherwise than {may}"));
            }
            if route.is_served {
                let outcome = take(&server, &user, route).await;
                if outcome != expected {
                    differences.push(format!("{name}: {route}: {outcome:?} and not {expected:?}"));
                }
            }
        }
    }

    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[tokio::test]
async fn a_server_that_knows_nobody_tells_strangers_of_its_health_alone() {
    let server = ApiServer::in_memory().await.unwrap();
    let mut open = Vec::new();

    for route in routes(&server).await.iter().filter(|route| route.is_served) {
        let (method, uri) = route.request();
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        if server.clone().oneshot(request).await.unwrap().status() != 401 {
            open.push(route.to_string());
        }
    }

    let health = ["/healthz", "/livez", "/readyz"];
    let expected: Vec<_> =
        ["get", "post"].iter().flat_map(|verb| health.map(|path| format!("{verb} {path}"))).collect();
    assert_eq!(open, expected);
}

#[tokio::test]
async fn everything_that_the_table_names_is_served() {
    let (server, table) = (ApiServer::in_memory().await.unwrap(), Table::parse(TABLE));
    let routes = routes(&server).await;
    let mut unknown = Vec::new();

    for rule in &table.rules {
        for resource in &rule.resources {
            let one = Rule {
                role: rule.role,
                verbs: rule.verbs.clone(),
                groups: rule.groups.clone(),
                resources: vec![resource],
            };
            if !routes.iter().any(|route| one.names(route)) {
                unknown.push(format!("[{}] {resource}", rule.role));
            }
        }
    }

    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn roles_of_the_table_are_given_to_somebody() {
    let table = Table::parse(TABLE);
    let given: BTreeSet<&str> =
        table.users.iter().flat_map(|(_, grants)| grants).map(|(_, role)| *role).collect();
    let defined: BTreeSet<&str> = table.rules.iter().map(|rule| rule.role).collect();

    assert_eq!(given, defined);
}
