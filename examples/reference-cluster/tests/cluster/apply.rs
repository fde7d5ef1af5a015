//! kubectl applies by the server.

use std::path::{Path, PathBuf};

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::running::Running;
use crate::versions::others;
use crate::{data, turn};

#[tokio::test]
async fn kubectl_of_every_release_applies_by_the_server() {
    let _turn = turn();
    let Some(place) = Place::apart("server-side apply").await else { return };
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let up =
        Running::ready(&place, &["up", "--runtime", "simulated", "--data", directory, "--storage", "memory"])
            .await;
    let newest = Kubectl::new(&place, &data.path().join("kubeconfig"));
    walk(&newest, data.path()).await;
    for program in others() {
        let kubectl = newest.program(&program);
        walk(&kubectl, data.path()).await;
    }
    up.stop(&place).await;
}

async fn walk(kubectl: &Kubectl<'_>, directory: &Path) {
    conflicts(kubectl, directory).await;
    // Since 1.26 it is kubectl that hands over what client-side apply owns.
    if kubectl.minor().await >= 26 {
        migration(kubectl, directory).await;
    }
}

fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, text).expect("the directory can be written to");
    file
}

/// Who scales comes to own the replicas; `--force-conflicts` takes them back.
async fn conflicts(kubectl: &Kubectl<'_>, directory: &Path) {
    let manifest = file(
        directory,
        "applied.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: applied\nspec:\n  replicas: 1\n  selector:\n    \
         matchLabels: {app: applied}\n  template:\n    metadata:\n      labels: {app: applied}\n    spec:\n      \
         containers:\n      - name: web\n        image: web:1\n        ports:\n        - containerPort: 80\n",
    );
    let apply = format!("apply --server-side -f {}", manifest.display());

    let made = kubectl.run(&apply).await;
    let shown = kubectl.run("get --raw /apis/apps/v1/namespaces/default/deployments/applied").await;
    kubectl.run("scale deployment applied --replicas=2").await;
    let refused = kubectl.attempt(&apply).await;
    let forced = kubectl.run(&format!("{apply} --force-conflicts")).await;
    let now = kubectl.json("deployment applied").await;
    kubectl.run("delete deployment applied --wait=false").await;

    assert!(made.contains("deployment.apps/applied serverside-applied"), "{made}");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("an object is JSON");
    let entry = &shown["metadata"]["managedFields"][0];
    assert_eq!((&entry["manager"], &entry["operation"]), (&"kubectl".into(), &"Apply".into()), "{shown}");
    let containers = &entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"];
    let ports = &containers[r#"k:{"name":"web"}"#]["f:ports"];
    assert!(ports.get(r#"k:{"containerPort":80,"protocol":"TCP"}"#).is_some(), "{shown}");
    assert!(!refused.success, "{}", refused.stdout);
    let conflict = r#"with subresource "scale" using apps/v1: .spec.replicas"#;
    assert!(refused.stderr.contains(conflict), "{}", refused.stderr);
    assert!(forced.contains("serverside-applied"), "{forced}");
    assert_eq!(now["spec"]["replicas"], 1);
}

/// What client-side apply wrote is taken over without a conflict, and the way back works as well.
async fn migration(kubectl: &Kubectl<'_>, directory: &Path) {
    let manifest = |data: &str| {
        let head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: moved\ndata:\n";
        file(directory, "moved.yaml", &format!("{head}{data}"))
    };

    let first = manifest("  a: one\n  b: one\n");
    kubectl.run(&format!("apply -f {}", first.display())).await;
    let second = manifest("  a: two\n");
    kubectl.run(&format!("apply --server-side -f {}", second.display())).await;
    let taken_over = kubectl.json("configmap moved").await;
    let third = manifest("  a: three\n  c: three\n");
    kubectl.run(&format!("apply -f {}", third.display())).await;
    let back = kubectl.json("configmap moved").await;
    kubectl.run("delete configmap moved").await;

    assert_eq!(taken_over["data"], serde_json::json!({"a": "two"}), "what is no longer applied is gone");
    assert_eq!(back["data"], serde_json::json!({"a": "three", "c": "three"}));
}
