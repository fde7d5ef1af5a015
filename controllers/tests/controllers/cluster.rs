//! An API server with controllers, and ways to wait for what they do.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use quarterdeck_core::client::Context;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{Component, Stop, StopSignal, Supervisor};
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Revision, Storage};
use quarterdeck_registry::{ApiServer, MemoryStorage, User};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How long anything may take. Time is virtual: waiting costs nothing.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Cluster {
    pub(crate) context: Context,
    pub(crate) clock: Clock,
    storage: MemoryStorage,
    pub(crate) server: ApiServer,
    _signal: StopSignal,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Starts a server, and the controllers that `make` makes.
    pub(crate) async fn start(make: impl FnOnce(&Context) -> Vec<Box<dyn Component>>) -> Self {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let random = Random::seeded(1);
        let storage = MemoryStorage::new();
        let builder = ApiServer::builder(storage.clone()).clock(clock.clone()).random(random.fork("server"));
        let server = builder.start().await.unwrap();
        let context = Context::new(server.client(), clock.clone(), random.clone());
        // Pods are refused without their account, which a controller of its own makes.
        let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client());
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();

        // Each controller has upstream's rights, and no others.
        let accounts = server.clone();
        let own = Context::new(server.client_as(User::controllers()), clock.clone(), random)
            .with_accounts(move |name| accounts.client_as(User::service_account("kube-system", name)));
        let mut supervisor = Supervisor::new();
        for component in make(&own) {
            supervisor.push(component);
        }
        let (signal, stop) = Stop::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let ended = supervisor.run(stop).await;
            eprintln!("{ended:?}");
        });
        Self { context, clock, storage, server, _signal: signal, _tasks: tasks }
    }

    /// The objects of a kind, named as in `apps/v1/Deployment`, in the namespace `default`.
    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = resource(kind);
        let client = self.context.client.clone();
        match resource.kind.as_str() {
            "CertificateSigningRequest"
            | "ClusterRole"
            | "ClusterRoleBinding"
            | "Namespace"
            | "Node"
            | "PersistentVolume"
            | "CustomResourceDefinition"
            | "StorageClass"
            | "ValidatingAdmissionPolicy" => Api::all_with(client, &resource),
            "Lease" => Api::namespaced_with(client, "kube-node-lease", &resource),
            _ => Api::default_namespaced_with(client, &resource),
        }
    }

    pub(crate) async fn create(&self, kind: &str, mut object: Value) -> Value {
        let resource = resource(kind);
        object["apiVersion"] = resource.api_version.into();
        object["kind"] = resource.kind.into();
        let object = serde_json::from_value(object).unwrap();
        value(self.api(kind).create(&PostParams::default(), &object).await.unwrap())
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.api(kind).get_opt(name).await.unwrap().map(value)
    }

    pub(crate) async fn list(&self, kind: &str, labels: &str) -> Vec<Value> {
        let list = self.api(kind).list(&ListParams::default().labels(labels)).await.unwrap();
        list.items.into_iter().map(value).collect()
    }

    pub(crate) async fn patch(&self, kind: &str, name: &str, change: Value) -> Value {
        let patch = if kind.contains('.') { Patch::Merge(change) } else { Patch::Strategic(change) };
        value(self.api(kind).patch(name, &PatchParams::default(), &patch).await.unwrap())
    }

    pub(crate) async fn patch_status(&self, kind: &str, name: &str, change: Value) {
        let patch = Patch::Strategic(json!({"status": change}));
        self.api(kind).patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str, params: DeleteParams) {
        let _ = self.api(kind).delete(name, &params).await.unwrap();
    }

    /// Binds a pod to a node.
    pub(crate) async fn bind(&self, pod: &str, node: &str) {
        let binding = json!({"metadata": {"name": pod}, "target": {"kind": "Node", "name": node}});
        let api = self.api("v1/Pod");
        let _: Value =
            api.create_subresource("binding", pod, &PostParams::default(), &binding).await.unwrap();
    }

    /// Says that a pod runs and is ready.
    pub(crate) async fn make_ready(&self, pod: &str) {
        let condition =
            json!({"type": "Ready", "status": "True", "lastTransitionTime": self.clock.now().to_string()});
        self.patch_status("v1/Pod", pod, json!({"phase": "Running", "conditions": [condition]})).await;
    }

    /// Says of all pods with these labels that they are ready, and returns how many were not.
    pub(crate) async fn make_all_ready(&self, labels: &str) -> usize {
        let mut made = 0;
        for pod in self.list("v1/Pod", labels).await {
            if pod["status"]["phase"] != "Running" && pod["metadata"]["deletionTimestamp"].is_null() {
                self.make_ready(pod["metadata"]["name"].as_str().unwrap()).await;
                made += 1;
            }
        }
        made
    }

    /// Waits until what `look` returns satisfies `holds`, and returns it.
    pub(crate) async fn until<T: Debug>(
        &self,
        what: &str,
        look: impl AsyncFn() -> T,
        holds: impl Fn(&T) -> bool,
    ) -> T {
        let start = tokio::time::Instant::now();
        loop {
            let seen = look().await;
            if holds(&seen) {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "{what} never came; at last there was {seen:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until there are `count` pods with these labels, and returns their names.
    pub(crate) async fn until_pods(&self, labels: &str, count: usize) -> Vec<String> {
        let look = async || self.names("v1/Pod", labels).await;
        self.until(&format!("{count} pods"), look, |names| names.len() == count).await
    }

    pub(crate) async fn names(&self, kind: &str, labels: &str) -> Vec<String> {
        let objects = self.list(kind, labels).await;
        objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the object has this value at the JSON pointer.
    pub(crate) async fn until_at(&self, kind: &str, name: &str, pointer: &str, wanted: Value) {
        let look = async || self.get(kind, name).await.unwrap_or_default();
        let at = |object: &Value| object.pointer(pointer).cloned().unwrap_or_default() == wanted;
        self.until(&format!("{wanted} at {pointer} of {name}"), look, at).await;
    }

    pub(crate) async fn until_gone(&self, kind: &str, name: &str) {
        self.until(&format!("the end of {name}"), async || self.get(kind, name).await, Option::is_none).await;
    }

    /// Every commit so far, as text.
    pub(crate) async fn commits(&self) -> Vec<String> {
        let last = self.storage.revision().await.unwrap();
        let mut commits = self.storage.watch("/", Revision(0)).await.unwrap();
        let mut log = Vec::new();
        while let Some(commit) = commits.next().await {
            let commit = commit.unwrap();
            log.extend(commit.changes.iter().map(|change| format!("{} {change:?}", commit.revision)));
            if commit.revision >= last {
                break;
            }
        }
        log
    }

    /// Lets everything happen that happens within this time.
    pub(crate) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

fn resource(kind: &str) -> ApiResource {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    match kind {
        "Endpoints" => ApiResource::from_gvk_with_plural(&gvk, "endpoints"),
        _ => ApiResource::from_gvk(&gvk),
    }
}

fn value(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap()
}

/// A pod template.
pub(crate) fn template(label: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"a": label}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}
