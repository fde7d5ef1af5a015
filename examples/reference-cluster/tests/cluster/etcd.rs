//! Several API servers as processes on one etcd.

#[path = "../../../../registry/tests/etcd/server.rs"]
mod server;

use std::fs;

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::refusals::{free_address, refuses};
use crate::running::Running;
use crate::{data, turn};
use server::Etcd;

#[tokio::test]
async fn two_servers_on_one_etcd_are_one_cluster_and_either_can_go() {
    let _turn = turn();
    let (place, one, two) = (Place::here(), data(), data());
    let etcd = Etcd::cluster(3, "http", &[]);
    let members = etcd.endpoints().join(",");
    let start = async |directory: &std::path::Path| {
        let (directory, listen) = (directory.to_str().expect("it is text"), free_address());
        let arguments = ["apiserver", "--etcd-servers", &members, "--data", directory, "--listen", &listen];
        Running::ready(&place, &[&arguments[..], &["--etcd-prefix", "/clusters/one/registry"]].concat()).await
    };
    etcd.until("a leader", async || {
        place.sh(&format!("ETCDCTL_API=3 etcdctl --endpoints {members} get x")).await.success.then_some(())
    })
    .await;
    let first = start(one.path()).await;
    // All servers of a cluster sign with the same keys.
    fs::create_dir(two.path().join("pki")).expect("directories can be made");
    for entry in fs::read_dir(one.path().join("pki")).expect("it is a directory") {
        let entry = entry.expect("it can be read");
        fs::copy(entry.path(), two.path().join("pki").join(entry.file_name())).expect("files can be copied");
    }
    let second = start(two.path()).await;
    let kubectl = |data: &tempfile::TempDir| Kubectl::new(&place, &data.path().join("kubeconfig"));

    kubectl(&one).run("create configmap greeting --from-literal=text=hello").await;
    assert_eq!(kubectl(&two).json("configmap greeting").await["data"]["text"], "hello");
    let get = format!(
        "ETCDCTL_API=3 etcdctl --endpoints {members} get --prefix --keys-only /clusters/one/registry/configmaps/default/"
    );
    assert_eq!(place.ask(&get).await.trim(), "/clusters/one/registry/configmaps/default/greeting");

    first.kill(&place).await;
    kubectl(&two).run("create configmap again --from-literal=text=hello").await;
    let first = start(one.path()).await;
    second.stop(&place).await;
    let found = kubectl(&one).run("get configmaps -o name").await;
    assert!(found.contains("configmap/again") && found.contains("configmap/greeting"), "{found}");
    first.stop(&place).await;
}

#[tokio::test]
async fn a_server_logs_in_to_etcd_with_the_password_of_a_file() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let etcd = Etcd::single();
    let endpoint = etcd.endpoint(0);
    let etcdctl = format!("ETCDCTL_API=3 etcdctl --endpoints {endpoint}");
    etcd.until("a leader", async || place.sh(&format!("{etcdctl} get x")).await.success.then_some(())).await;
    for command in [
        "user add root:root",
        "role add root",
        "user grant-role root root",
        "user add server:'a secret'",
        "role add server",
        "role grant-permission server readwrite --prefix=true /registry/",
        "user grant-role server server",
        "auth enable",
    ] {
        place.ask(&format!("{etcdctl} {command}")).await;
    }
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        fs::write(&path, text).expect("files can be written");
        path.to_str().expect("it is text").to_owned()
    };
    let (right, wrong, empty) = (file("right", "a secret\n"), file("wrong", "secret\n"), file("empty", ""));
    let (directory, listen) = (file("data", ""), free_address());
    fs::remove_file(&directory).expect("it was made just now");
    let arguments = ["apiserver", "--etcd-servers", &endpoint, "--data", &directory, "--listen", &listen];
    let login =
        |file| [&arguments[..], &["--etcd-username", "server", "--etcd-password-file", file]].concat();

    refuses(&place, &[], &arguments, &["etcd refuses the user"]).await;
    refuses(&place, &[], &login(&wrong), &["etcd refuses the user"]).await;
    refuses(&place, &[], &login(&empty), &[&empty, "has no password on its first line"]).await;
    let running = Running::ready(&place, &login(&right)).await;

    let kubectl = Kubectl::new(&place, &data.path().join("data/kubeconfig"));
    kubectl.run("create configmap greeting --from-literal=text=hello").await;
    let get =
        format!("{etcdctl} --user 'server:a secret' get --prefix --keys-only /registry/configmaps/default/");
    assert_eq!(place.ask(&get).await.trim(), "/registry/configmaps/default/greeting");
    running.stop(&place).await;
}

#[tokio::test]
async fn an_etcd_that_cannot_be_used_is_named_with_what_to_do() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let (directory, listen) = (data.path().to_str().expect("it is text"), free_address());
    let nobody = free_address();
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &["--etcd-servers", &nobody],
            &["--etcd-servers", "no etcd member answers at http://", &nobody, "check that etcd runs there"],
        ),
        (&["--etcd-servers", "http://"], &["\"http://\"", "write it like https://127.0.0.1:2379"]),
        (&["--etcd-servers", &nobody, "--etcd-cafile", "/nowhere"], &["/nowhere", "--etcd-cafile"]),
        (
            &["--etcd-servers", &format!("http://{nobody}"), "--etcd-cafile", "/dev/null"],
            &["is not encrypted, but certificates were given", "https://"],
        ),
        (&["--etcd-servers", &nobody, "--etcd-prefix", "/one"], &["--etcd-prefix", "take /one/registry"]),
        (&["--etcd-servers", &nobody, "--etcd-prefix", "registry"], &["--etcd-prefix", "take /registry"]),
    ];
    for (flags, words) in cases {
        let arguments = [&["apiserver", "--data", directory, "--listen", &listen][..], flags].concat();
        refuses(&place, &[], &arguments, words).await;
    }
}
