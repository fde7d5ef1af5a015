//! Certificates that people ask for, and `kubectl certificate`.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quarterdeck_registry::tls::{Identity, kubeconfig};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::json;

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::refusals::free_address;
use crate::running::Running;
use crate::{data, eventually, turn};

#[tokio::test]
async fn kubectl_approves_and_denies_and_whoever_is_approved_is_known_by_the_certificate() {
    let _turn = turn();
    let (place, data, address) = (Place::here(), data(), free_address());
    let directory = data.path().to_str().expect("it is text");
    let flags = ["--storage", "memory", "--disable", "agent,proxy,scheduler", "--data", directory];
    let up = Running::ready(&place, &[&["up", "--listen", &address][..], &flags].concat()).await;
    let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
    let key = KeyPair::generate().expect("keys can be made");
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, "alice");
    let request = params.serialize_request(&key).and_then(|request| request.pem()).expect("it can be asked");
    for name in ["alice", "bob"] {
        let object = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": STANDARD.encode(&request), "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"], "expirationSeconds": 3600,
            },
        });
        let file = data.path().join(name);
        fs::write(&file, object.to_string()).expect("files can be written");
        kubectl.run(&format!("create -f {}", file.display())).await;
    }
    let pending = kubectl.run("get csr").await;
    assert_eq!(pending.matches("Pending").count(), 2, "nobody is approved unasked: {pending}");

    kubectl.run("certificate approve alice").await;
    kubectl.run("certificate deny bob").await;

    kubectl.until("get csr alice", &["Approved,Issued"]).await;
    let denied = kubectl.json("csr bob").await;
    assert!(denied["status"]["certificate"].is_null(), "{denied:#}");
    let signed = kubectl.json("csr alice").await["status"]["certificate"].clone();
    let signed = STANDARD.decode(signed.as_str().unwrap_or_default()).expect("it is base64");
    let certificate = String::from_utf8(signed).expect("PEM is text");
    let authority = fs::read_to_string(data.path().join("pki/ca.crt")).expect("it can be read");
    let identity = Identity { certificate, key: key.serialize_pem() };
    let file = data.path().join("alice.kubeconfig");
    let text = kubeconfig(&format!("https://{address}"), &authority, "alice", &identity);
    fs::write(&file, text).expect("files can be written");
    let alice = Kubectl::new(&place, &file);
    let name = eventually("alice is known", Duration::from_secs(20), async || {
        let who = alice.attempt("auth whoami -o jsonpath={.status.userInfo.username}").await;
        if who.success { Ok(who.stdout) } else { Err(who.stderr) }
    })
    .await;
    assert_eq!(name, "alice");
    up.stop(&place).await;
}
