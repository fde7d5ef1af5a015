//! The steps of a walk with kubectl, in the order in which a newcomer would take them. Every one leaves the cluster as the
//! next expects it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use crate::eventually;
use crate::kubectl::{Kubectl, Pod};

/// The demo for a runtime.
pub(crate) fn manifest(runtime: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.with_file_name("manifests").join(runtime).join("web.yaml")
}

/// The whole walk in a namespace of its own, which goes at its end. `image` is the demo's without its tag; `is_reached` says
/// whether the service's address leads somewhere from here.
pub(crate) async fn walk(root: &Kubectl<'_>, runtime: &str, image: &str, is_reached: bool) {
    nodes(root).await;
    root.run("create namespace walk").await;
    let kubectl = &root.namespace("walk");
    let manifest = manifest(runtime);
    let pods = create(kubectl, &manifest).await;
    logs(kubectl, &pods[0]).await;
    scale(kubectl, 5).await;
    delete_pod(kubectl, 5).await;
    release(kubectl, 5).await;
    if is_reached {
        reach(kubectl, &cluster_url(kubectl).await, 5).await;
    }
    apply(kubectl, &manifest).await;
    roll(kubectl, image).await;
    watch(kubectl).await;
    last_words(kubectl, &format!("{image}:v1")).await;
    describe(kubectl).await;
    kubectl.run("delete pods --all --grace-period=1 --wait=false").await;
    delete_namespace(root, "walk").await;
}

/// The node is there and ready.
pub(crate) async fn nodes(kubectl: &Kubectl<'_>) {
    kubectl.until("get nodes -o wide", &["node-1", " Ready "]).await;
}

/// The demo's three pods run, each at an address of its own, and the service has all of them.
pub(crate) async fn create(kubectl: &Kubectl<'_>, manifest: &Path) -> Vec<Pod> {
    kubectl.run(&format!("create -f {}", manifest.display())).await;
    let pods = kubectl.pods("app=web", 3).await;
    let addresses: BTreeSet<&str> = pods.iter().map(|pod| pod.address.as_str()).collect();
    assert_eq!(addresses.len(), 3, "each pod has an address of its own: {pods:#?}");
    let table = kubectl.run("get pods -o wide").await;
    assert_eq!(table.matches(" Running ").count(), 3, "{table}");
    let all = kubectl.until("get rc,svc,ep,endpointslices", &addresses.into_iter().collect::<Vec<_>>()).await;
    for kind in
        ["replicationcontroller/web", "service/web", "endpoints/web", "endpointslice.discovery.k8s.io/web-"]
    {
        assert!(all.contains(kind), "{kind} is missing:\n{all}");
    }
    pods
}

/// What a pod wrote is shown, and what it writes from now on.
pub(crate) async fn logs(kubectl: &Kubectl<'_>, pod: &Pod) {
    let name = &pod.name;
    kubectl.until(&format!("logs {name}"), &[&format!("{name} serves on port 8080")]).await;
    let mut lines = Lines::of(kubectl.follow(&format!("logs -f {name}")));
    lines.until("serves on port").await;
    kubectl.place().ask(&format!("curl -sS --max-time 5 http://{}:8080/", pod.address)).await;
    lines.until("response:200").await;
}

/// More of them are started.
pub(crate) async fn scale(kubectl: &Kubectl<'_>, replicas: usize) -> Vec<Pod> {
    kubectl.run(&format!("scale rc web --replicas={replicas}")).await;
    kubectl.pods("app=web", replicas).await
}

/// A pod that is deleted gets a successor.
pub(crate) async fn delete_pod(kubectl: &Kubectl<'_>, replicas: usize) {
    let victim = kubectl.pods("app=web", replicas).await.remove(0);
    kubectl.run(&format!("delete pod {}", victim.name)).await;
    let pods = kubectl.pods("app=web", replicas).await;
    assert!(pods.iter().all(|pod| pod.name != victim.name), "{} is still there: {pods:#?}", victim.name);
}

/// A pod that no longer matches is let go, and gets a successor.
pub(crate) async fn release(kubectl: &Kubectl<'_>, replicas: usize) {
    let released = kubectl.pods("app=web", replicas).await.remove(0);
    kubectl.run(&format!("label pod {} app=other --overwrite", released.name)).await;
    let pods = kubectl.pods("app=web", replicas).await;
    assert!(pods.iter().all(|pod| pod.name != released.name));
    kubectl.pods("app=other", 1).await;
    eventually("the pod has no owner any more", Duration::from_secs(20), async || {
        let pod = kubectl.json(&format!("pod {}", released.name)).await;
        match &pod["metadata"]["ownerReferences"] {
            Value::Null => Ok(()),
            owners => Err(owners.to_string()),
        }
    })
    .await;
}

/// Requests to the service reach every backend. `curl` names where the service answers.
pub(crate) async fn reach(kubectl: &Kubectl<'_>, url: &str, replicas: usize) {
    let names: BTreeSet<String> = kubectl
        .pods("app=web", replicas)
        .await
        .into_iter()
        .map(|pod| format!("this is {}", pod.name))
        .collect();
    let mut answered = BTreeSet::new();
    eventually(&format!("{names:?} answer at {url}"), Duration::from_secs(40), async || {
        for _ in 0..replicas {
            let outcome = kubectl.place().sh(&format!("curl -sS --max-time 5 {url}")).await;
            if !outcome.success {
                return Err(outcome.stderr);
            }
            answered.insert(outcome.stdout.trim().to_owned());
        }
        if names.is_subset(&answered) {
            return Ok(());
        }
        let slices = kubectl.run("get pods,endpointslices -o wide").await;
        Err(format!("only {answered:?} did; there are\n{slices}"))
    })
    .await;
}

/// Where the service answers in the cluster.
pub(crate) async fn cluster_url(kubectl: &Kubectl<'_>) -> String {
    let service = kubectl.json("service web").await;
    format!("http://{}:80/", service["spec"]["clusterIP"].as_str().expect("a service has an address"))
}

/// Where the proxy whose endpoint this is answers for the service.
pub(crate) async fn proxy_port(kubectl: &Kubectl<'_>, endpoint: &str) -> String {
    eventually("the proxy shows where the service answers", Duration::from_secs(20), async || {
        let shown = kubectl.place().sh(&format!("curl -sS --max-time 5 http://{endpoint}/proxy/ports")).await;
        let table: Value =
            serde_json::from_str(&shown.stdout).map_err(|error| format!("{shown:?}: {error}"))?;
        let items = table["items"].as_array().cloned().unwrap_or_default();
        let web = items.iter().find(|item| item["service"] == "web");
        let address = web.and_then(|web| web["proxy"][0].as_str());
        address.map(str::to_owned).ok_or_else(|| table.to_string())
    })
    .await
}

/// What is declared comes true, and declaring it again changes nothing.
pub(crate) async fn apply(kubectl: &Kubectl<'_>, manifest: &Path) {
    kubectl.run(&format!("apply -f {}", manifest.display())).await;
    kubectl.pods("app=web", 3).await;
    let again = kubectl.run(&format!("apply -f {}", manifest.display())).await;
    assert_eq!(again.matches(" unchanged").count(), 2, "{again}");
}

/// A deployment is rolled out, to another image, and back.
pub(crate) async fn roll(kubectl: &Kubectl<'_>, image: &str) {
    let name = image.rsplit('/').next().expect("it splits into one at least");
    kubectl.run(&format!("create deployment hello --replicas=0 --image={image}:v1 -- sleep 1000")).await;
    // As a container's first process, `sleep` does not hear that it should end: each pod would have half a minute for that.
    let grace = r#"{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}"#;
    kubectl.run(&format!("patch deployment hello --patch {grace}")).await;
    kubectl.run("scale deployment hello --replicas=2").await;
    kubectl.run("rollout status deployment/hello --timeout=50s").await;
    let first = hello(kubectl, &format!("{image}:v1")).await;
    kubectl.run(&format!("set image deployment/hello {name}={image}:v2")).await;
    kubectl.run("rollout status deployment/hello --timeout=50s").await;
    let second = hello(kubectl, &format!("{image}:v2")).await;
    assert!(first.is_disjoint(&second), "{first:?} were replaced by {second:?}");
    kubectl.run("rollout undo deployment/hello").await;
    kubectl.run("rollout status deployment/hello --timeout=50s").await;
    hello(kubectl, &format!("{image}:v1")).await;
}

/// The names of the deployment's two pods, once they run with this image.
async fn hello(kubectl: &Kubectl<'_>, image: &str) -> BTreeSet<String> {
    let pods = kubectl.pods("app=hello", 2).await;
    let list = kubectl.list("pods -l app=hello").await;
    assert!(list.iter().all(|pod| pod["spec"]["containers"][0]["image"] == image), "not all have {image}");
    pods.into_iter().map(|pod| pod.name).collect()
}

/// Who watches sees what happens.
pub(crate) async fn watch(kubectl: &Kubectl<'_>) {
    let victim = kubectl.pods("app=hello", 2).await.remove(0).name;
    let mut lines = Lines::of(kubectl.follow("get pods -l app=hello -w"));
    lines.until(&victim).await;
    kubectl.run(&format!("delete pod {victim} --wait=false")).await;
    lines.until("Pending").await;
    lines.until("Running").await;
    kubectl.pods("app=hello", 2).await;
}

/// What people look at when they wonder.
pub(crate) async fn describe(kubectl: &Kubectl<'_>) {
    let pod = kubectl.pods("app=web", 3).await.remove(0).name;
    kubectl
        .until(&format!("describe pod {pod}"), &["node-1", "Running", "Scheduled", "Started", "POD_NAME"])
        .await;
    kubectl.until("describe node node-1", &["Capacity:", "Non-terminated Pods:", &pod, "KubeletReady"]).await;
    kubectl.until("get events", &["Scheduled", "Started", "SuccessfulCreate", &pod]).await;
}

/// A namespace goes with all that is in it.
pub(crate) async fn delete_namespace(kubectl: &Kubectl<'_>, namespace: &str) {
    kubectl.run(&format!("delete namespace {namespace} --timeout=50s")).await;
    let gone = kubectl.attempt(&format!("get namespace {namespace}")).await;
    assert!(!gone.success && gone.stderr.contains("NotFound"), "{gone:?}");
    let pods = kubectl.namespace(namespace).list("pods").await;
    assert!(pods.is_empty(), "{pods:#?}");
}

/// What a command prints as it goes.
struct Lines {
    _child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Lines {
    fn of(mut child: Child) -> Self {
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { _child: child, lines }
    }

    /// Waits for a line with these words.
    async fn until(&mut self, words: &str) {
        let mut seen = Vec::new();
        let wait = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                let found = line.contains(words);
                seen.push(line);
                if found {
                    return true;
                }
            }
            false
        };
        let found = timeout(Duration::from_secs(40), wait).await;
        assert!(found == Ok(true), "no line says {words:?}: {seen:#?}");
    }
}

/// What keeps pods is deleted, and they go.
pub(crate) async fn delete_all(kubectl: &Kubectl<'_>) {
    kubectl.run("delete rc,deployments,services --all --wait=false").await;
    eventually("all pods are gone", Duration::from_secs(40), async || {
        let pods = kubectl.list("pods").await;
        if pods.is_empty() { Ok(()) } else { Err(format!("{} are left", pods.len())) }
    })
    .await;
}

/// A container's last words are in the pod's status, and what it wrote is there while the next attempt waits.
pub(crate) async fn last_words(kubectl: &Kubectl<'_>, image: &str) {
    let script = "echo noise; echo farewell > /dev/termination-log; exit 3";
    let overrides =
        json!({"spec": {"containers": [{"name": "brief", "image": image, "command": ["sh", "-c", script]}]}});
    let overrides = serde_json::to_string(&overrides).expect("it is JSON").replace(' ', "\\u0020");
    kubectl.run(&format!("run brief --image={image} --overrides={overrides}")).await;
    let path = "{.status.containerStatuses[0].lastState.terminated.message}";
    kubectl.until(&format!("get pod brief -o jsonpath={path}"), &["farewell"]).await;
    kubectl.until("logs brief --previous", &["noise"]).await;
    kubectl.run("delete pod brief --now").await;
}
