//! Agents that join with a bootstrap token: what one needs, what it does then, and what keeps it from joining.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::refusals::{free_address, refuses};
use crate::running::Running;
use crate::{data, turn};

const TOKEN: &str = "abcdef.0123456789abcdef";

/// Makes a bootstrap token.
async fn make_token(kubectl: &Kubectl<'_>) {
    let (id, secret) = TOKEN.split_once('.').expect("it has two parts");
    let literals = format!(
        "--from-literal=token-id={id} --from-literal=token-secret={secret} --from-literal=usage-bootstrap-authentication=true"
    );
    let kind = "--type=bootstrap.kubernetes.io/token";
    let system = kubectl.namespace("kube-system");
    system.run(&format!("create secret generic bootstrap-token-{id} {kind} {literals}")).await;
}

/// Writes a kubeconfig that holds nothing but the way to the server, its authority and a token.
fn write_bootstrap(file: &Path, server: &str, authority: &Path, token: &str) {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bootstrap",
        "clusters": [{"name": "bootstrap", "cluster": {"server": server, "certificate-authority": authority}}],
        "contexts": [{"name": "bootstrap", "context": {"cluster": "bootstrap", "user": "bootstrap"}}],
        "users": [{"name": "bootstrap", "user": {"token": token}}],
    });
    fs::write(file, kubeconfig.to_string()).expect("files can be written");
}

/// The requests to a signer.
async fn requests(kubectl: &Kubectl<'_>, signer: &str) -> Vec<Value> {
    let all = kubectl.list("csr").await;
    all.into_iter().filter(|request| request["spec"]["signerName"] == signer).collect()
}

#[tokio::test]
async fn an_agent_joins_with_a_token_and_its_logs_are_read_once_its_serving_certificate_is_approved() {
    let _turn = turn();
    let Some(place) = Place::apart("an agent that joins").await else { return };
    let data = data();
    let path = |name: &str| data.path().join(name);
    let text = |name: &str| path(name).to_str().expect("it is text").to_owned();
    let flags = ["apiserver", "--data", &text(""), "--storage", "memory", "--enable-bootstrap-token-auth"];
    let apiserver = Running::ready(&place, &flags).await;
    let (kubeconfig, certificate, key) =
        (text("kubeconfigs/controllers"), text("pki/ca.crt"), text("pki/ca.key"));
    let signing = ["--cluster-signing-cert-file", &certificate, "--cluster-signing-key-file", &key];
    let controllers = [&["controllers", "--kubeconfig", &kubeconfig][..], &signing].concat();
    let controllers = Running::start(&place, &controllers).await;
    let kubectl = Kubectl::new(&place, &path("kubeconfig"));
    make_token(&kubectl).await;
    write_bootstrap(&path("bootstrap"), "https://127.0.0.1:6443", &path("pki/ca.crt"), TOKEN);
    let (own, state, bootstrap) = (text("agent/kubeconfig"), text("agent"), text("bootstrap"));
    let again = ["agent", "--kubeconfig", &own, "--data", &state, "--runtime", "process", "--keep-pods"];
    let name = ["--bootstrap-kubeconfig", &bootstrap, "--hostname-override", "joiner-7"];

    let agent = Running::start(&place, &[&again[..], &name].concat()).await;
    kubectl.until("get nodes", &["joiner-7", " Ready "]).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "speaker"},
        "spec": {
            "nodeName": "joiner-7", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "host", "command": ["sh", "-c", "echo here I am; exec sleep 1000"]}],
        },
    });
    fs::write(path("pod"), pod.to_string()).expect("files can be written");
    kubectl.until("get serviceaccounts", &["default"]).await;
    kubectl.run(&format!("create -f {}", text("pod"))).await;
    kubectl.until("get pod speaker", &["Running"]).await;
    let early = kubectl.attempt("logs speaker").await;
    assert!(!early.success, "there is no serving certificate yet: {}", early.stdout);
    let serving = requests(&kubectl, "kubernetes.io/kubelet-serving").await;
    let [request] = &serving[..] else { panic!("one serving certificate is asked for: {serving:#?}") };
    assert_eq!(request["spec"]["username"], "system:node:joiner-7");
    let name = request["metadata"]["name"].as_str().expect("it has a name");
    kubectl.run(&format!("certificate approve {name}")).await;
    kubectl.until("logs speaker", &["here I am"]).await;

    // Started again it needs neither the token nor anybody's word.
    agent.stop(&place).await;
    fs::remove_file(path("bootstrap")).expect("it is there");
    let agent = Running::start(&place, &again).await;
    kubectl.until("logs speaker", &["here I am"]).await;
    assert_eq!(kubectl.list("csr").await.len(), 2, "nothing was asked for again");
    kubectl.run("delete pod speaker").await;

    for running in [agent, controllers, apiserver] {
        running.stop(&place).await;
    }
}

#[tokio::test]
async fn what_keeps_an_agent_from_joining_is_told_in_a_line_that_says_what_to_do() {
    let _turn = turn();
    let (place, data, other, address) = (Place::here(), data(), crate::data(), free_address());
    let path = |name: &str| data.path().join(name);
    let text = |name: &str| path(name).to_str().expect("it is text").to_owned();
    let server = format!("https://{address}");
    let directory = text("");
    let common = ["--storage", "memory", "--data", &directory, "--listen", &address];
    let flags = [&["apiserver", "--enable-bootstrap-token-auth"][..], &common].concat();
    let apiserver = Running::ready(&place, &flags).await;
    let kubectl = Kubectl::new(&place, &path("kubeconfig"));
    make_token(&kubectl).await;
    let (own, state, bootstrap) = (text("agent/kubeconfig"), text("agent"), text("bootstrap"));
    let without = ["agent", "--kubeconfig", &own, "--data", &state, "--runtime", "simulated"];
    let join = [&without[..], &["--bootstrap-kubeconfig", &bootstrap, "--hostname-override", "n"]].concat();

    refuses(&place, &[], &join, &[&bootstrap]).await;
    write_bootstrap(&path("bootstrap"), &server, &path("pki/ca.crt"), "abcdef.ffffffffffffffff");
    let words = ["401", &bootstrap, "unknown or has expired", "--enable-bootstrap-token-auth"];
    refuses(&place, &[], &join, &words).await;

    let stranger = other.path().to_str().expect("it is text");
    let elsewhere = ["apiserver", "--storage", "memory", "--data", stranger, "--listen", &free_address()];
    Running::ready(&place, &elsewhere).await.stop(&place).await;
    write_bootstrap(&path("bootstrap"), &server, &other.path().join("pki/ca.crt"), TOKEN);
    refuses(&place, &[], &join, &["not trusted", "certificate-authority-data", &bootstrap]).await;

    write_bootstrap(&path("bootstrap"), &server, &path("pki/ca.crt"), TOKEN);
    let deny = async {
        kubectl.until("get csr", &["Pending"]).await;
        let requests = requests(&kubectl, "kubernetes.io/kube-apiserver-client-kubelet").await;
        let name = requests[0]["metadata"]["name"].as_str().expect("it has a name").to_owned();
        kubectl.run(&format!("certificate deny {name}")).await;
        name
    };
    let (denied, name) =
        tokio::join!(refuses(&place, &[], &join, &["was denied", "kubectl delete csr"]), deny);
    assert_eq!(denied, (), "{name}");

    kubectl.run("delete clusterrolebinding create-csrs-for-bootstrapping").await;
    kubectl.run(&format!("delete csr {name}")).await;
    refuses(&place, &[], &join, &["system:node-bootstrapper", "system:bootstrappers"]).await;
    let joined = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": path("pki/ca.crt")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "system:node:n"}}],
        "users": [{"name": "system:node:n", "user": {
            "client-certificate": path("agent/pki/kubelet-client-current.pem"),
            "client-key": path("agent/pki/kubelet-client-current.pem"),
        }}],
    });
    fs::write(path("agent/kubeconfig"), joined.to_string()).expect("files can be written");
    refuses(&place, &[], &without, &["no certificate of n", "--bootstrap-kubeconfig"]).await;
    apiserver.stop(&place).await;
}
