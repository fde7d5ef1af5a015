//! The whole walk with `up --runtime process`, as root.

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::running::Running;
use crate::{data, left_out, steps, turn};

#[tokio::test]
async fn a_newcomer_walks_through_a_cluster_of_processes() {
    let _turn = turn();
    let Some(place) = Place::apart("the walk with processes").await else { return };
    if !place.sh("command -v busybox").await.success {
        return left_out("the walk with processes", "the demo's web server is busybox");
    }
    let data = data();
    let before = place.traces().await;
    let directory = data.path().to_str().expect("it is text");
    let up = Running::ready(&place, &["up", "--runtime", "process", "--data", directory]).await;

    let root = Kubectl::new(&place, &data.path().join("kubeconfig"));
    steps::walk(&root, "process", "host", true).await;
    assert!(!place.sh("test -e /dev/termination-log").await.success, "nothing is written on the host");

    let demo = root.namespace("default");
    steps::create(&demo, &steps::manifest("process")).await;
    up.stop(&place).await;
    place.is_clean(&before).await;

    let up = Running::ready(&place, &["up", "--runtime", "process", "--data", directory]).await;
    let found = demo.run("get rc,svc").await;
    assert!(found.contains("replicationcontroller/web") && found.contains("service/web"), "{found}");
    demo.pods("app=web", 3).await;
    let url = steps::cluster_url(&demo).await;
    steps::reach(&demo, &url, 3).await;
    up.stop(&place).await;
    place.is_clean(&before).await;
}

#[tokio::test]
async fn two_clusters_of_processes_on_one_machine_share_no_address() {
    let _turn = turn();
    let Some(place) = Place::apart("two clusters of processes").await else { return };
    let before = place.traces().await;
    let mut clusters = Vec::new();
    for port in ["6443", "7443"] {
        let data = data();
        let (directory, listen) = (data.path().to_str().expect("it is text"), format!("127.0.0.1:{port}"));
        let arguments = ["up", "--runtime", "process", "--data", directory, "--listen", &listen];
        let up = Running::ready(&place, &arguments).await;
        let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
        steps::create(&kubectl, &steps::manifest("process")).await;
        let shown = kubectl.run("get pods -o jsonpath={.items[*].status.podIP}").await;
        let mut addresses: Vec<String> = shown.split_whitespace().map(str::to_owned).collect();
        addresses.sort();
        clusters.push((data, up, addresses));
    }

    let [(_, _, first), (_, _, second)] = &clusters[..] else { panic!("there are two") };
    assert!(first.iter().all(|address| !second.contains(address)), "{first:?} {second:?}");
    for address in first.iter().chain(second) {
        place.ask(&format!("curl -sS --max-time 5 http://{address}:8080")).await;
    }
    let (_data, up, _) = clusters.pop().expect("there are two");
    up.stop(&place).await;
    let (_data, up, rest) = clusters.pop().expect("there is one");
    place.ask(&format!("curl -sS --max-time 5 http://{}:8080", rest[0])).await;
    up.stop(&place).await;
    place.is_clean(&before).await;
}
