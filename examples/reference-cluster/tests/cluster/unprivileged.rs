//! A cluster of processes for a user without any privilege: services answer at the ports that the proxy's endpoint shows.

use std::path::Path;

use tempfile::TempDir;

use crate::kubectl::Kubectl;
use crate::place::{NOBODY, Place};
use crate::running::{BINARY, Running};
use crate::{data, left_out, processes, steps, turn};

#[tokio::test]
async fn without_root_services_answer_at_the_ports_that_the_proxy_shows() {
    let _turn = turn();
    let Some((place, data)) = start().await else { return };
    let before = place.traces().await;
    let directory = data.path().to_str().expect("it is text");
    let up = Running::ready(&place, &["up", "--runtime", "process", "--data", directory]).await;

    walk(&place, data.path()).await;

    up.stop(&place).await;
    place.is_clean(&before).await;
}

#[tokio::test]
async fn without_root_five_processes_find_each_others_ports_too() {
    let _turn = turn();
    let Some((place, data)) = start().await else { return };
    let parts = processes::start(&place, data.path()).await;

    walk(&place, data.path()).await;

    let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
    steps::delete_all(&kubectl).await;
    for part in parts.into_iter().rev() {
        part.stop(&place).await;
    }
}

/// Makes a place and a directory for a user without any privilege, if there can be such.
async fn start() -> Option<(Place, TempDir)> {
    let place = Place::apart("the walk without privileges").await?.unprivileged();
    let data = data();
    std::os::unix::fs::chown(data.path(), Some(NOBODY), Some(NOBODY))
        .expect("root may give directories away");
    if !place.sh(&format!("test -x {BINARY} && command -v busybox")).await.success {
        left_out("the walk without privileges", "nobody may not run the programs that it needs");
        return None;
    }
    Some((place, data))
}

async fn walk(place: &Place, data: &Path) {
    let kubectl = Kubectl::new(place, &data.join("kubeconfig"));
    steps::nodes(&kubectl).await;
    let pods = steps::create(&kubectl, &steps::manifest("process")).await;
    kubectl.until(&format!("logs {}", pods[0].name), &["serves on port"]).await;
    let address = steps::proxy_port(&kubectl, "127.0.0.1:10249").await;
    steps::reach(&kubectl, &format!("http://{address}/"), 3).await;
}
