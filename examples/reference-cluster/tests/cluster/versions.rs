//! The kubectls of other releases that lie beside the one on the path.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::running::Running;
use crate::{data, left_out, steps, turn};

#[tokio::test]
async fn kubectls_of_seven_releases_create_apply_scale_and_delete() {
    let _turn = turn();
    let others = others();
    if others.is_empty() {
        return left_out("other releases of kubectl", "none lies beside the kubectl on the path");
    }
    let Some(place) = Place::apart("other releases of kubectl").await else { return };
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let up =
        Running::ready(&place, &["up", "--runtime", "simulated", "--data", directory, "--storage", "memory"])
            .await;
    let newest = Kubectl::new(&place, &data.path().join("kubeconfig"));
    steps::nodes(&newest).await;
    let manifest = steps::manifest("process");
    for program in others {
        let kubectl = newest.program(&program);
        let is_edge = ["1.27", "1.33"].iter().any(|edge| program.ends_with(format!("kubectl.{edge}")));
        explains(&kubectl, is_edge).await;
        steps::create(&kubectl, &manifest).await;
        steps::apply(&kubectl, &manifest).await;
        steps::scale(&kubectl, 2).await;
        let pod = kubectl.pods("app=web", 2).await.remove(0).name;
        kubectl.until(&format!("describe pod {pod}"), &["Scheduled"]).await;
        kubectl.run(&format!("delete -f {} --wait=false", manifest.display())).await;
        kubectl.run("wait --for=delete pods -l app=web --timeout=40s").await;
    }
    up.stop(&place).await;
}

/// What the server says of itself is understood: kinds, versions, the fields of all kinds or of two, and a field that is none.
async fn explains(kubectl: &Kubectl<'_>, all: bool) {
    let kinds = kubectl.run("api-resources --no-headers -o name").await;
    assert!(kinds.lines().any(|kind| kind == "deployments.apps"), "{kinds}");
    assert!(kubectl.run("api-versions").await.lines().any(|version| version == "apps/v1"));
    let mut explained = BTreeSet::new();
    for kind in kinds.lines() {
        // Of two groups that have a kind of one name, kubectl explains the first, however the name is written.
        let is_chosen = all || ["pods", "deployments.apps"].contains(&kind);
        if !explained.insert(kind.split('.').next()) || !is_chosen {
            continue;
        }
        let fields = kubectl.run(&format!("explain --recursive {kind}")).await;
        assert!(fields.contains("metadata"), "explain {kind}: {fields}");
    }
    let unknown = kubectl.attempt("explain pod.spec.nothing").await;
    assert!(!unknown.success, "explain finds what is not there");
}

/// The programs `kubectl.1.27` to `kubectl.1.33` beside the file that the kubectl on the path is.
pub(crate) fn others() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).map(|place| place.join("kubectl")).find(|file| file.exists());
    let Some(file) = program.and_then(|program| program.canonicalize().ok()) else { return Vec::new() };
    (27..=33)
        .map(|minor| file.with_file_name(format!("kubectl.1.{minor}")))
        .filter(|file| file.exists())
        .collect()
}
