//! What the flags of `up` come to.

use std::os::unix::fs::PermissionsExt;

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::running::Running;
use crate::{data, turn};

#[tokio::test]
async fn flags_say_how_many_nodes_there_are_and_where_the_server_is_found() {
    let _turn = turn();
    let Some(place) = Place::apart("flags of up").await else { return };
    let data = data();
    let text = |name: &str| data.path().join(name).to_str().expect("it is text").to_owned();
    let (directory, kubeconfig) = (text("data"), text("elsewhere"));
    let flags = [
        &["up", "--runtime", "simulated", "--storage", "memory", "--data", &directory][..],
        &["--nodes", "3", "--service-cidr", "10.99.0.0/24", "--advertise-address", "192.0.2.8"],
        &["--write-kubeconfig", &kubeconfig],
    ]
    .concat();

    let up = Running::ready(&place, &flags).await;
    let kubectl = Kubectl::new(&place, kubeconfig.as_ref());

    let mode = std::fs::metadata(&kubeconfig).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads the administrator's key");
    kubectl.until("get nodes", &["node-1", "node-2", "node-3"]).await;
    assert_eq!(kubectl.json("service kubernetes").await["spec"]["clusterIP"], "10.99.0.1");
    let endpoints = kubectl.json("endpoints kubernetes").await;
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.0.2.8");
    // By each of these names a client may know the server.
    for name in ["localhost", "127.0.0.1", "192.0.2.8", "10.99.0.1", "kubernetes.default.svc"] {
        kubectl.run(&format!("get namespaces --tls-server-name={name}")).await;
    }
    let other = kubectl.attempt("get namespaces --tls-server-name=example.com").await;
    assert!(other.stderr.contains("certificate is valid for"), "{}", other.stderr);
    up.stop(&place).await;
}
