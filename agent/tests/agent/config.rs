//! What containers find: environment, volumes, mounts.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{Api, Patch, PatchParams, PostParams};
use quarterdeck_agent::runtime::simulated::{Script, SimulatedBuilder};
use quarterdeck_core::runtime::{ContainerSpec, PodUid};
use serde_json::{Value, json};

use crate::SECOND;
use crate::bench::Bench;

/// The containers that were started.
type Started = Arc<Mutex<Vec<ContainerSpec>>>;

fn recording(started: &Started) -> impl FnOnce(SimulatedBuilder) -> SimulatedBuilder {
    let started = started.clone();
    move |node| {
        node.script(move |_, container| {
            started.lock().unwrap().push(container.clone());
            Script::run().says("first line").says("the reason")
        })
    }
}

async fn config_map(bench: &Bench, name: &str, data: Value) {
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let map = json!({"metadata": {"name": name}, "data": data});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
}

async fn secret(bench: &Bench, name: &str, data: Value) {
    let secrets: Api<Secret> = Api::default_namespaced(bench.client.clone());
    let secret = json!({"metadata": {"name": name}, "stringData": data});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
}

fn container(fields: Value) -> Value {
    let mut container = json!({"name": "main", "image": "app:v1"});
    for (key, value) in fields.as_object().unwrap() {
        container[key] = value.clone();
    }
    json!([container])
}

#[tokio::test(start_paused = true)]
async fn a_containers_environment_comes_from_everywhere() {
    let started = Started::default();
    let bench = Bench::new(recording(&started)).await;
    config_map(&bench, "settings", json!({"COLOR": "blue", "SIZE": "9"})).await;
    secret(&bench, "keys", json!({"password": "xyzzy"})).await;
    let services: Api<Service> = Api::default_namespaced(bench.client.clone());
    let service = json!({"metadata": {"name": "redis-master"}, "spec": {"ports": [{"port": 6379}]}});
    services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});

    let spec = json!({"containers": container(json!({
        "command": ["serve", "--at=$(IP)", "$$(IP)"],
        "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "IP", "valueFrom": field("status.podIP")},
            {"name": "NAME", "valueFrom": field("metadata.name")},
            {"name": "URL", "value": "http://$(IP)/$(NOTHING)"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
            {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": true}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
    }))});
    bench.create("web", spec).await;
    let status = bench.until_phase("web", "Running").await;

    let main = started.lock().unwrap()[0].clone();
    let ip = status["podIP"].as_str().unwrap();
    assert_eq!(main.command, ["serve", &format!("--at={ip}"), "$(IP)"]);
    assert_eq!(main.env["URL"], format!("http://{ip}/$(NOTHING)"));
    assert_eq!(
        (&*main.env["CFG_COLOR"], &*main.env["PASSWORD"], &*main.env["NAME"]),
        ("blue", "xyzzy", "web")
    );
    assert_eq!(main.env["CPUS"], "8", "without a limit it is the node's");
    assert!(main.env["REDIS_MASTER_SERVICE_HOST"].starts_with("10.254."), "{:?}", main.env);
    assert_eq!(main.env["KUBERNETES_SERVICE_HOST"], "10.254.0.1");
    assert!(!main.env.contains_key("ABSENT"));
}

#[tokio::test(start_paused = true)]
async fn a_container_waits_for_configuration_that_is_missing() {
    let bench = Bench::new(|node| node).await;
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]);

    bench.create("web", json!({"containers": container(json!({"env": env}))})).await;
    let status = bench
        .until("web", |status| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["message"], "configmap \"late\" not found");
    assert_eq!(bench.until_event("Failed").await, "Error: configmap \"late\" not found");

    config_map(&bench, "late", json!({"a": "b"})).await;
    bench.until_phase("web", "Running").await;
}

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn volume(&self, uid: &PodUid, kind: &str, name: &str) -> PathBuf {
        self.root
            .path()
            .join("pods")
            .join(uid.as_str())
            .join("volumes")
            .join(format!("kubernetes.io~{kind}"))
            .join(name)
    }
}

#[tokio::test(start_paused = true)]
async fn volumes_hold_what_the_api_says_and_follow_it() {
    let started = Started::default();
    let place = Place::new();
    let mut bench = Bench::idle(recording(&started)).await;
    bench.start(|agent| agent.root_dir(place.root.path()));
    config_map(&bench, "settings", json!({"color": "blue", "size": "9"})).await;
    secret(&bench, "keys", json!({"password": "xyzzy"})).await;

    let spec = json!({
        "containers": container(json!({"volumeMounts": [
            {"name": "config", "mountPath": "/etc/config"},
            {"name": "config", "mountPath": "/etc/color", "subPath": "color"},
            {"name": "scratch", "mountPath": "/scratch", "subPathExpr": "$(KUBERNETES_SERVICE_PORT)"},
        ]})),
        "volumes": [
            {"name": "config", "configMap": {"name": "settings", "items": [{"key": "color", "path": "color"}]}},
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "all", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
                {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ]}},
        ],
    });
    let uid = bench.create("web", spec).await;
    bench.until_phase("web", "Running").await;

    let read =
        |kind: &str, name: &str, file: &str| fs::read_to_string(place.volume(&uid, kind, name).join(file));
    assert_eq!(read("configmap", "config", "color").unwrap(), "blue");
    assert!(read("configmap", "config", "size").is_err());
    assert_eq!(read("secret", "keys", "password").unwrap(), "xyzzy");
    let key = place.volume(&uid, "secret", "keys").join("password");
    assert_eq!(fs::metadata(key).unwrap().mode() & 0o777, 0o400);
    assert_eq!(read("projected", "all", "name").unwrap(), "web");
    let token = read("projected", "all", "token").unwrap();
    assert_eq!(token.split('.').count(), 3, "{token}");
    let mounts = started.lock().unwrap()[0].mounts.clone();
    assert_eq!(mounts[0].host_path, place.volume(&uid, "configmap", "config"));
    assert!(mounts[0].read_only && !mounts[2].read_only);
    assert!(mounts[1].host_path.is_file(), "a sub path of one file is that file");
    assert!(mounts[2].host_path.ends_with("443"));

    let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let change = json!({"data": {"color": "red"}});
    maps.patch("settings", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    tokio::time::sleep(65 * SECOND).await;
    assert_eq!(read("configmap", "config", "color").unwrap(), "red");
    assert_eq!(read("projected", "all", "token").unwrap(), token, "most of its time is still to come");
    tokio::time::sleep(500 * SECOND).await;
    assert_ne!(read("projected", "all", "token").unwrap(), token);

    bench.delete("web").await;
    bench.until_gone("web").await;
    assert_eq!(fs::read_dir(place.root.path().join("pods")).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_a_volume_that_cannot_be_had_and_starts_when_it_can() {
    let place = Place::new();
    let mut bench = Bench::idle(|node| node).await;
    bench.start(|agent| agent.root_dir(place.root.path()));

    bench.create("web", json!({"volumes": [{"name": "v", "configMap": {"name": "late"}}]})).await;
    let told = bench.until_event("FailedMount").await;
    assert_eq!(told, "MountVolume.SetUp failed for volume \"v\" : configmap \"late\" not found");
    let status = bench.status("web").await;
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");

    config_map(&bench, "late", json!({})).await;
    bench.until_phase("web", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_takes_pods_over_keeps_their_volumes_and_removes_others() {
    let started = Started::default();
    let place = Place::new();
    let mut bench = Bench::idle(recording(&started)).await;
    bench.start(|agent| agent.root_dir(place.root.path()));
    let spec = json!({
        "containers": container(json!({"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]})),
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    });
    let uid = bench.create("web", spec).await;
    bench.until_phase("web", "Running").await;
    let scratch = place.volume(&uid, "empty-dir", "scratch");
    fs::write(scratch.join("file"), "x").unwrap();
    let stray = place.root.path().join("pods/stray");
    fs::create_dir(&stray).unwrap();

    bench.kill().await;
    bench.start(|agent| agent.root_dir(place.root.path()));
    tokio::time::sleep(SECOND).await;
    bench.runtime.exit(&uid, "main", 1);
    bench.until("web", |status| status["containerStatuses"][0]["restartCount"] == 1).await;

    assert!(!stray.exists());
    assert!(scratch.join("file").exists());
    assert_eq!(started.lock().unwrap().last().unwrap().mounts[0].host_path, scratch);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_log_explains_a_failure_if_asked_to() {
    let started = Started::default();
    let bench = Bench::new(recording(&started)).await;
    let spec = json!({
        "restartPolicy": "Never",
        "containers": container(json!({"terminationMessagePolicy": "FallbackToLogsOnError"})),
    });
    let uid = bench.create("job", spec).await;
    bench.until_phase("job", "Running").await;

    bench.runtime.exit(&uid, "main", 3);

    let status = bench.until_phase("job", "Failed").await;
    let message = &status["containerStatuses"][0]["state"]["terminated"]["message"];
    assert_eq!(message, "first line\nthe reason\n");
}
