//! Whether the default roles let every part of a cluster do its work, and each part no other's.

use std::collections::BTreeSet;

use http::{Method, Request};
use kube::Client;
use quarterdeck::controllers;
use quarterdeck::core::client::{Context, TokenAccounts};
use quarterdeck::core::component::Supervisor;
use quarterdeck::registry::Authorizer;
use quarterdeck::registry::cache::Cache;
use quarterdeck::registry::layers::administrators::Administrators;
use quarterdeck::registry::layers::authorization::{Attributes, Decision};
use quarterdeck::registry::layers::node_authorizer::NodeAuthorizer;
use quarterdeck::registry::rbac::{Rbac, Rules};
use quarterdeck::registry::request::RequestInfo;
use quarterdeck::registry::tls::{Authority, ServiceAccountKey, ServiceAccountTokens};

use super::*;

/// What each part does of which its role has to know: the least that a cluster does in [`everything_happens`].
const ACTS: &str = "
    clusterrole-aggregation-controller  patch clusterroles
    certificate-controller              create subjectaccessreviews
    certificate-controller              update certificatesigningrequests/approval
    certificate-controller              update certificatesigningrequests/status
    certificate-controller              delete certificatesigningrequests
    deployment-controller               create replicasets
    deployment-controller               update replicasets
    deployment-controller               delete replicasets
    deployment-controller               update deployments/status
    disruption-controller               update poddisruptionbudgets/status
    endpoint-controller                 create endpoints
    endpoint-controller                 update endpoints
    endpoint-controller                 delete endpoints
    endpointslice-controller            create endpointslices
    endpointslice-controller            update endpointslices
    generic-garbage-collector           delete pods
    generic-garbage-collector           get pods
    generic-garbage-collector           patch pods
    generic-garbage-collector           patch replicationcontrollers
    namespace-controller                deletecollection configmaps
    namespace-controller                update namespaces/finalize
    node-controller                     patch nodes
    node-controller                     patch nodes/status
    node-controller                     patch pods/status
    node-controller                     delete pods
    persistent-volume-binder            update persistentvolumes
    persistent-volume-binder            update persistentvolumes/status
    persistent-volume-binder            update persistentvolumeclaims
    persistent-volume-binder            update persistentvolumeclaims/status
    pod-garbage-collector               get nodes
    pod-garbage-collector               delete pods
    pod-garbage-collector               patch pods/status
    pv-protection-controller            update persistentvolumes
    pvc-protection-controller           update persistentvolumeclaims
    replicaset-controller               create pods
    replicaset-controller               delete pods
    replicaset-controller               update replicasets/status
    replication-controller              create pods
    replication-controller              create events
    replication-controller              delete pods
    replication-controller              patch pods
    resourcequota-controller            list resourcequotas
    resourcequota-controller            update resourcequotas/status
    root-ca-cert-publisher              create configmaps
    root-ca-cert-publisher              update configmaps
    service-account-controller          create serviceaccounts
    system:kube-controller-manager      list pods
    system:kube-controller-manager      create serviceaccounts/token
    system:kube-controller-manager      update secrets
    system:kube-controller-manager      delete secrets
    system:kube-proxy                   list services
    system:kube-scheduler               create pods/binding
    system:kube-scheduler               patch pods/status
    validatingadmissionpolicy-status-controller update validatingadmissionpolicies/status
";

/// The default authorizers, who note what they let components do, and what not.
#[derive(Debug, Clone)]
struct Noting {
    all: Arc<[Box<dyn Authorizer>; 3]>,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Component, verb and resource.
    done: BTreeSet<String>,
    /// The same, with the place and the name.
    refused: BTreeSet<String>,
}

impl Noting {
    fn new() -> Self {
        let all: [Box<dyn Authorizer>; 3] =
            [Box::new(Administrators), Box::new(NodeAuthorizer::new()), Box::new(Rbac::new())];
        Self { all: Arc::new(all), notes: Arc::default() }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    fn note(&self, asked: &Attributes<'_>, decision: &Decision) {
        let user = asked.user.name.as_str();
        let own = user.strip_prefix("system:serviceaccount:kube-system:").or_else(|| {
            (user.starts_with("system:kube-") || user.starts_with("system:node:")).then_some(user)
        });
        let Some(component) = own else { return };
        let (what, place) = match asked.request {
            RequestInfo::Path(path) => (path.clone(), String::new()),
            // An apply finds out first whether it could make what it might not find. Who makes something names it in the body.
            RequestInfo::Resource(of)
                if asked.verb == "create" && of.name.is_some() && of.subresource.is_none() =>
            {
                return;
            }
            RequestInfo::Resource(request) => {
                let below = request.subresource.iter().map(|below| format!("/{below}"));
                let what = below.fold(request.resource.clone(), |all, below| all + &below);
                (what, format!("{:?}/{:?}", request.namespace, request.name))
            }
        };
        let act = format!("{component} {} {what}", asked.verb);
        let exact = format!("{act} {place}");
        let mut notes = self.notes();
        if matches!(decision, Decision::Allow(_)) {
            // What the cache would refuse is asked once more, by all that is stored.
            notes.refused.remove(&exact);
            notes.done.insert(act);
        } else {
            notes.refused.insert(exact);
        }
    }
}

#[async_trait]
impl Authorizer for Noting {
    fn start(&self, cache: &Cache) {
        self.all.iter().for_each(|one| one.start(cache));
    }

    async fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        let mut decision = Decision::NoOpinion(Arc::default());
        for one in self.all.iter() {
            decision = one.authorize(asked).await;
            if !matches!(decision, Decision::NoOpinion(_)) {
                break;
            }
        }
        self.note(asked, &decision);
        decision
    }

    fn rules(&self, user: &User, namespace: &str) -> Rules {
        let all: Vec<_> = self.all.iter().map(|one| one.rules(user, namespace)).collect();
        Rules { rules: all.into_iter().flat_map(|rules| rules.rules).collect(), incomplete: Vec::new() }
    }
}

/// Asks the API server, by path.
async fn ask(client: &Client, method: Method, path: &str, body: Value) -> kube::Result<Value> {
    let media_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("content-type", media_type);
    client.request(request.body(body).unwrap()).await
}

/// An administrator, who waits for what becomes of things.
struct Admin(Client);

impl Admin {
    async fn make(&self, path: &str, object: Value) {
        ask(&self.0, Method::POST, path, object).await.unwrap_or_else(|why| panic!("{path}: {why}"));
    }

    async fn change(&self, path: &str, change: Value) {
        ask(&self.0, Method::PATCH, path, change).await.unwrap_or_else(|why| panic!("{path}: {why}"));
    }

    async fn delete(&self, path: &str, policy: &str) {
        let options = json!({"propagationPolicy": policy});
        ask(&self.0, Method::DELETE, path, options).await.unwrap_or_else(|why| panic!("{path}: {why}"));
    }

    /// Waits until what is at a path, if anything, is as wanted.
    async fn until(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let begin = tokio::time::Instant::now();
        loop {
            let seen = match ask(&self.0, Method::GET, path, Value::Null).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Value::Null,
                seen => seen.unwrap(),
            };
            if holds(&seen) {
                return seen;
            }
            assert!(begin.elapsed() < Duration::from_secs(600), "never {what}: {path} is {seen:#}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn until_gone(&self, path: &str) {
        self.until(path, "gone", Value::is_null).await;
    }

    /// Waits until so many pods with a label are ready.
    async fn until_ready(&self, app: &str, count: usize) -> Vec<Value> {
        let path = format!("{DEFAULT}/pods?labelSelector=app={app}");
        let ready = |list: &Value| {
            let items = list["items"].as_array().unwrap();
            items.iter().filter(|pod| is_ready(pod)).count() == count && items.len() == count
        };
        let list = self.until(&path, "ready", ready).await;
        list["items"].as_array().unwrap().clone()
    }
}

const DEFAULT: &str = "/api/v1/namespaces/default";
const APPS: &str = "/apis/apps/v1/namespaces/default";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// A request for the certificate of the agent of `node-9`, in base64. Nobody has its key.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIdk1JR1dBZ0VBTURReEZUQVRCZ05WQkFvTURITjVjM1JsYlRwdWIyUmxjekViTUJrR0ExVUVBd3dTYzNsegpkR1Z0T201dlpHVTZibTlrWlMwNU1Ga3dFd1lIS29aSXpqMENBUVlJS29aSXpqMERBUWNEUWdBRVFwYTQ1UWllCkU0MGlpSFZCOU1rM05lRWdXTEVJM05BK25KbHpNQ3pUM0Q0VE5NaklwWlg2M0hjejJNM09LUU5JTENyRTJZbDEKVTdPWkRaeXFMWnFBQjZBQU1Bb0dDQ3FHU000OUJBTUNBMGdBTUVVQ0lRRFF5Ny9pNkNtM0hHM3RKZkNuTFFkWgpNUDRxdjloczdxeXNrZU9sbUhrRndRSWdlUjNraEdCUFpkY3FQZDJqM2graWNNNktZeVV1NHJCakp1ekxYY0pxCmNmcz0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

fn template(app: &str, image: &str) -> Value {
    let spec = json!({"containers": [{"name": "c", "image": image}]});
    json!({"metadata": {"labels": {"app": app}}, "spec": spec})
}

/// A deployment is made, rolled out and deleted, and a service leads to it.
async fn deployments(admin: &Admin) {
    let service =
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    admin.make(&format!("{DEFAULT}/services"), service).await;
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 2, "revisionHistoryLimit": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": template("web", "one"),
    }});
    admin.make(&format!("{APPS}/deployments"), deployment).await;
    admin.until_ready("web", 2).await;
    let endpoints = format!("{DEFAULT}/endpoints/web");
    admin.until(&endpoints, "full", |it| it["subsets"][0]["addresses"][1].is_object()).await;
    let budget = json!({"metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    admin.make(budgets, budget).await;
    admin.until(&format!("{budgets}/web"), "counted", |it| it["status"]["disruptionsAllowed"] == 1).await;

    let path = format!("{APPS}/deployments/web");
    admin.change(&path, json!({"spec": {"template": template("web", "two")}})).await;
    let sets = format!("{APPS}/replicasets?labelSelector=app=web");
    admin.until(&sets, "one", |list| list["items"].as_array().unwrap().len() == 1).await;
    admin.until_ready("web", 2).await;
    admin.delete(&path, "Background").await;
    admin.until_ready("web", 0).await;
    admin.delete(&format!("{DEFAULT}/services/web"), "Background").await;
    admin.until_gone(&endpoints).await;
}

/// A replication controller takes a pod over, lets one go, and is deleted in each of the ways.
async fn replication(admin: &Admin) {
    let pod =
        json!({"metadata": {"name": "stray", "labels": {"app": "rc"}}, "spec": template("rc", "i")["spec"]});
    admin.make(&format!("{DEFAULT}/pods"), pod).await;
    let controller = |name: &str| json!({"metadata": {"name": name}, "spec": {"replicas": 2, "template": template(name, "i")}});
    let controllers = format!("{DEFAULT}/replicationcontrollers");
    admin.make(&controllers, controller("rc")).await;
    let stray = format!("{DEFAULT}/pods/stray");
    admin.until(&stray, "taken over", |pod| pod["metadata"]["ownerReferences"].is_array()).await;
    admin.until_ready("rc", 2).await;
    admin.change(&stray, json!({"metadata": {"labels": {"app": "free"}}})).await;
    admin.until(&stray, "let go", |pod| pod["metadata"]["ownerReferences"].is_null()).await;
    admin.until_ready("rc", 2).await;
    admin.change(&format!("{controllers}/rc"), json!({"spec": {"replicas": 1}})).await;
    admin.until_ready("rc", 1).await;
    admin.delete(&format!("{controllers}/rc"), "Foreground").await;
    admin.until_gone(&format!("{controllers}/rc")).await;

    admin.make(&controllers, controller("orphans")).await;
    admin.until_ready("orphans", 2).await;
    admin.delete(&format!("{controllers}/orphans"), "Orphan").await;
    admin.until_gone(&format!("{controllers}/orphans")).await;
    admin.until_ready("orphans", 2).await;
}

/// A namespace is made and deleted with what is in it; a quota counts, and the authority's certificate is put right.
async fn namespaces(admin: &Admin) {
    admin.make("/api/v1/namespaces", json!({"metadata": {"name": "team"}})).await;
    let team = "/api/v1/namespaces/team";
    let maps = format!("{team}/configmaps");
    let root = format!("{maps}/kube-root-ca.crt");
    admin.until(&root, "there", |map| map["data"]["ca.crt"] == "PEM").await;
    admin.change(&root, json!({"data": {"ca.crt": "another"}})).await;
    admin.until(&root, "right", |map| map["data"]["ca.crt"] == "PEM").await;
    admin.make(&maps, json!({"metadata": {"name": "more"}})).await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "9", "configmaps": "9"}}});
    admin.make(&format!("{team}/resourcequotas"), quota).await;
    let counted = |quota: &Value| quota["status"]["used"]["configmaps"] == "2";
    admin.until(&format!("{team}/resourcequotas/q"), "counted", counted).await;
    admin.delete(team, "Background").await;
    admin.until_gone(team).await;
}

/// A claim gets a volume, and both go again.
async fn volumes(admin: &Admin) {
    let (size, modes) = (json!({"storage": "1Gi"}), json!(["ReadWriteOnce"]));
    let volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": size, "accessModes": modes,
        "hostPath": {"path": "/v"}, "storageClassName": "none", "persistentVolumeReclaimPolicy": "Retain"}});
    admin.make("/api/v1/persistentvolumes", volume).await;
    let claim = json!({"metadata": {"name": "c"},
        "spec": {"accessModes": modes, "resources": {"requests": size}, "storageClassName": "none"}});
    admin.make(&format!("{DEFAULT}/persistentvolumeclaims"), claim).await;
    let (volume, claim) = ("/api/v1/persistentvolumes/v", format!("{DEFAULT}/persistentvolumeclaims/c"));
    admin.until(&claim, "bound", |claim| claim["status"]["phase"] == "Bound").await;
    admin.delete(&claim, "Background").await;
    admin.until_gone(&claim).await;
    admin.until(volume, "released", |volume| volume["status"]["phase"] == "Released").await;
    admin.delete(volume, "Background").await;
    admin.until_gone(volume).await;
}

/// Roles are collected, a secret gets its token, and an agent-to-be its certificate.
async fn identities(admin: &Admin, newcomer: &Client) {
    let rule = json!({"apiGroups": ["ex.com"], "resources": ["things"], "verbs": ["get"]});
    let label = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let part = json!({"metadata": {"name": "things", "labels": label}, "rules": [rule]});
    admin.make(&format!("{RBAC}/clusterroles"), part).await;
    let has = |role: &Value| role["rules"].as_array().unwrap().contains(&rule);
    admin.until(&format!("{RBAC}/clusterroles/view"), "collected", has).await;

    admin.make(&format!("{DEFAULT}/serviceaccounts"), json!({"metadata": {"name": "robot"}})).await;
    let secret = json!({"metadata": {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token"});
    admin.make(&format!("{DEFAULT}/secrets"), secret).await;
    let secret = format!("{DEFAULT}/secrets/robot");
    admin.until(&secret, "filled", |secret| secret["data"]["token"].is_string()).await;
    admin.delete(&format!("{DEFAULT}/serviceaccounts/robot"), "Background").await;
    admin.until_gone(&secret).await;

    for role in
        ["system:node-bootstrapper", "system:certificates.k8s.io:certificatesigningrequests:nodeclient"]
    {
        let group = "rbac.authorization.k8s.io";
        let binding = json!({"metadata": {"name": format!("newcomers:{role}")},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "newcomer"}]});
        admin.make(&format!("{RBAC}/clusterrolebindings"), binding).await;
    }
    let request = json!({"metadata": {"name": "node-9"}, "spec": {"request": REQUEST,
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth", "digital signature"]}});
    ask(newcomer, Method::POST, REQUESTS, request).await.unwrap();
    let path = format!("{REQUESTS}/node-9");
    admin.until(&path, "signed", |request| request["status"]["certificate"].is_string()).await;
    // It stays for an hour.
    sleep(Duration::from_secs(3600)).await;
    admin.until_gone(&path).await;
}

/// A policy is told what is wrong with its expressions.
async fn policies(admin: &Admin) {
    let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let rule = json!({"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]});
    let spec = json!({
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.replicaz < 5"}],
    });
    admin.make(path, json!({"metadata": {"name": "few"}, "spec": spec})).await;
    let told = |policy: &Value| {
        let warning = policy["status"]["typeChecking"]["expressionWarnings"][0]["warning"].as_str();
        warning.is_some_and(|warning| warning.contains("undefined field 'replicaz'"))
    };
    admin.until(&format!("{path}/few"), "told", told).await;
}

/// A pod is too large for every node, and one that ended is one too many.
async fn pods(admin: &Admin) {
    let pods = format!("{DEFAULT}/pods");
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "1000"}}});
    let huge = json!({"metadata": {"name": "huge"}, "spec": {"containers": [container]}});
    admin.make(&pods, huge).await;
    let unschedulable = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    admin.until(&format!("{pods}/huge"), "too large", unschedulable).await;
    for name in ["ended-1", "ended-2"] {
        let spec = json!({"schedulerName": "nobody", "containers": [{"name": "c", "image": "i"}]});
        admin.make(&pods, json!({"metadata": {"name": name}, "spec": spec})).await;
        admin.change(&format!("{pods}/{name}/status"), json!({"status": {"phase": "Succeeded"}})).await;
    }
    admin.until_gone(&format!("{pods}/ended-1")).await;
}

/// A node is lost, and then deleted.
async fn nodes(admin: &Admin, death: StopSignal) {
    let mut pod = json!({"metadata": {"name": "there"}, "spec": template("there", "i")["spec"]});
    pod["spec"]["nodeName"] = "node-2".into();
    let bear = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists"},
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]);
    admin.make(&format!("{DEFAULT}/pods"), pod.clone()).await;
    pod["metadata"]["name"] = "patient".into();
    pod["spec"]["tolerations"] = bear;
    admin.make(&format!("{DEFAULT}/pods"), pod).await;
    let there = format!("{DEFAULT}/pods/there");
    admin.until(&there, "ready", is_ready).await;
    death.stop();
    admin.until("/api/v1/nodes/node-2", "lost", |node| !is_ready(node)).await;
    admin.until(&there, "evicted", is_ending).await;
    admin.delete("/api/v1/nodes/node-2", "Background").await;
    admin.until_gone(&there).await;
    admin.until_gone(&format!("{DEFAULT}/pods/patient")).await;
}

/// Has every part of a cluster do what it is there for.
async fn everything_happens(admin: &Admin, newcomer: &Client, death: StopSignal) {
    deployments(admin).await;
    replication(admin).await;
    namespaces(admin).await;
    volumes(admin).await;
    identities(admin, newcomer).await;
    policies(admin).await;
    pods(admin).await;
    nodes(admin, death).await;
}

fn options(clock: &Clock) -> controllers::Options {
    let authority = Authority::new(clock.now()).unwrap();
    let options = controllers::Options::default().root_ca("PEM").certificate_signer(Arc::new(authority));
    options.finished_pods(1)
}

/// Compares what was noted with what has to be.
fn check(noting: &Noting) {
    let notes = noting.notes();
    assert!(notes.refused.is_empty(), "refused: {:#?}", notes.refused);
    let acts: BTreeSet<String> =
        ACTS.lines().map(|act| act.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let missing: Vec<_> = acts.iter().filter(|act| !act.is_empty() && !notes.done.contains(*act)).collect();
    assert!(missing.is_empty(), "not done: {missing:#?} but {:#?}", notes.done);
    let common = "system:kube-controller-manager ";
    let reads = |act: &&str| act.starts_with("list ") || act.starts_with("watch ");
    let writes: Vec<_> =
        notes.done.iter().filter_map(|act| act.strip_prefix(common)).filter(|act| !reads(act)).collect();
    let tokens = [
        "create serviceaccounts",
        "create serviceaccounts/token",
        "delete secrets",
        "get serviceaccounts",
        "update secrets",
    ];
    assert!(writes.iter().all(|act| tokens.contains(act)), "not for all controllers to do: {writes:?}");
}

#[tokio::test(start_paused = true)]
async fn no_part_of_a_cluster_asks_for_what_its_roles_refuse() {
    let (noting, key) = (Noting::new(), ServiceAccountKey::new().unwrap());
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let (plane, death) = two_nodes(MemoryStorage::new(), 1);
    let own = noting.clone();
    let plane = plane
        .load_balancer(RoundRobin::new())
        .controller_options(options(&clock))
        .api_server(move |server| server.authorizer(own).token_issuer(key));
    let cluster = plane.build().unwrap().start().await.unwrap();
    cluster.ready().await.unwrap();
    let newcomer = cluster.server().client_as(User::new("newcomer"));

    everything_happens(&Admin(cluster.client()), &newcomer, death).await;

    check(&noting);
    cluster.stop().await;
}

/// As over a network: nobody vouches for anybody, and controllers show tokens of accounts that are not there at first.
#[tokio::test(start_paused = true)]
async fn controllers_that_show_tokens_have_the_same_rights() {
    let (noting, key) = (Noting::new(), ServiceAccountKey::new().unwrap());
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let (plane, _death) = two_nodes(MemoryStorage::new(), 1);
    let (own, tokens) = (noting.clone(), ServiceAccountTokens::new(key.clone(), clock.clone()));
    let plane = plane
        .without_controllers()
        .api_server(move |server| server.authorizer(own).authenticator(tokens).token_issuer(key));
    let cluster = plane.build().unwrap().start().await.unwrap();
    let (manager, nobody) =
        (cluster.server().client_as(User::controllers()), Client::new(cluster.server().clone(), "default"));
    let accounts = TokenAccounts::new(manager.clone(), nobody, clock.clone());
    let context = Context::new(manager, clock.clone(), Random::seeded(2))
        .with_accounts(move |account| accounts.client(account));
    let mut supervisor = Supervisor::new();
    controllers::all(&context, options(&clock))
        .into_iter()
        .for_each(|controller| supervisor.push(controller));
    let (signal, stop) = Stop::channel();
    let mut running = JoinSet::new();
    running.spawn(supervisor.run(stop));
    cluster.ready().await.unwrap();
    let admin = Admin(cluster.client());

    deployments(&admin).await;
    // Tokens are renewed.
    sleep(Duration::from_secs(2 * 3600)).await;
    replication(&admin).await;

    assert!(noting.notes().refused.is_empty(), "{:#?}", noting.notes().refused);
    let accounts = "/api/v1/namespaces/kube-system/serviceaccounts";
    for account in ["deployment-controller", "replicaset-controller", "replication-controller"] {
        admin.until(&format!("{accounts}/{account}"), "there", Value::is_object).await;
        assert!(noting.notes().done.contains(&format!("{account} create events")), "{account}");
    }
    signal.stop();
    running.join_next().await;
    cluster.stop().await;
}

/// Returns whether an account may do something.
async fn may(cluster: &Cluster, account: &str, verb: &str, group: &str, resource: &str) -> bool {
    let user = User::service_account("kube-system", account);
    let (resource, below) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({"spec": {"user": user.name, "groups": user.groups, "resourceAttributes": {
        "verb": verb, "group": group, "resource": resource, "subresource": below, "namespace": "default",
    }}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = ask(&cluster.client(), Method::POST, path, review).await.unwrap();
    answer["status"]["allowed"] == true
}

#[tokio::test(start_paused = true)]
async fn a_controller_may_not_do_what_only_another_needs() {
    let plane = ControlPlane::builder(MemoryStorage::new()).without_controllers().without_scheduler().build();
    let cluster = plane.unwrap().start().await.unwrap();
    let own = [
        ("deployment-controller", "create", "apps", "replicasets"),
        ("replicaset-controller", "create", "", "pods"),
        ("endpoint-controller", "create", "", "endpoints"),
        ("namespace-controller", "deletecollection", "", "secrets"),
        ("root-ca-cert-publisher", "create", "", "configmaps"),
        ("node-controller", "delete", "", "pods"),
        ("clusterrole-aggregation-controller", "patch", "rbac.authorization.k8s.io", "clusterroles"),
    ];
    // What several controllers do, or what any account may read.
    let shared = |account: &str, act: (&str, &str, &str)| {
        account == "namespace-controller" && act.0 == "delete"
            || account == "node-controller" && act == ("delete", "", "pods")
            || account == "replicaset-controller" && act == ("delete", "", "pods")
    };

    for (account, ..) in own {
        for (owner, verb, group, resource) in own {
            let expected = account == owner || shared(account, (verb, group, resource));
            let allowed = may(&cluster, account, verb, group, resource).await;
            assert_eq!(allowed, expected, "{account}: {verb} {resource}");
        }
        let reads_all = account == "namespace-controller";
        assert_eq!(may(&cluster, account, "get", "", "secrets").await, reads_all, "{account}: secrets");
        assert!(!may(&cluster, account, "create", "", "serviceaccounts/token").await, "{account}: tokens");
        assert!(!may(&cluster, account, "impersonate", "", "users").await, "{account}: others");
    }
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::default_namespaced(
        cluster.server().client_as(User::service_account("kube-system", "deployment-controller")),
    );
    let refusal = secrets.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(refusal.contains("deployment-controller\" cannot list resource \"secrets\""), "{refusal}");
    cluster.stop().await;
}

/// A control plane of few kinds, and no roles among them: the default roles hold all the same.
#[tokio::test(start_paused = true)]
async fn components_of_a_server_without_roles_go_on_working() {
    let kinds = [
        "namespaces",
        "serviceaccounts",
        "pods",
        "nodes",
        "replicationcontrollers",
        "events",
        "leases.coordination.k8s.io",
    ];
    let noting = Noting::new();
    let (plane, _death) = two_nodes(MemoryStorage::new(), 1);
    let own = noting.clone();
    let plane = plane.api_server(move |server| server.only(kinds).authorizer(own));
    let cluster = plane.build().unwrap().start().await.unwrap();
    cluster.ready().await.unwrap();
    let admin = Admin(cluster.client());

    let controller =
        json!({"metadata": {"name": "rc"}, "spec": {"replicas": 2, "template": template("rc", "i")}});
    admin.make(&format!("{DEFAULT}/replicationcontrollers"), controller).await;
    let on_nodes = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        items.len() == 2 && items.iter().all(|pod| pod["spec"]["nodeName"].is_string())
    };
    admin.until(&format!("{DEFAULT}/pods"), "on nodes", on_nodes).await;

    assert!(noting.notes().refused.is_empty(), "{:#?}", noting.notes().refused);
    assert!(noting.notes().done.contains("replication-controller create pods"));
    let stranger: Api<Pod> = Api::default_namespaced(cluster.server().client_as(User::new("stranger")));
    assert!(
        stranger.list(&ListParams::default()).await.is_err(),
        "all others have no more than everybody has"
    );
    cluster.stop().await;
}
