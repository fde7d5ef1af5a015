//! What the flags of `up` come to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use quarterdeck_core::clock::Clock;
use quarterdeck_registry::User;
use quarterdeck_registry::tls::{Authority, kubeconfig};

use crate::kubectl::Kubectl;
use crate::place::{Place, finish};
use crate::refusals::{free_address, refuses};
use crate::running::{BINARY, Running};
use crate::{data, eventually, turn};

/// What curl prints.
async fn curl(place: &Place, arguments: &[&str]) -> String {
    let outcome = finish(place.command("curl").args(["-sS"]).args(arguments), Duration::from_secs(30)).await;
    assert!(outcome.success, "curl {}: {}", arguments.join(" "), outcome.stderr);
    outcome.stdout
}

#[tokio::test]
async fn what_is_stored_is_shown_as_the_tutorials_have_it_and_not_to_web_pages() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let directory = data.path().join("data").to_str().expect("it is text").to_owned();
    let (listen, insecure, view) = (free_address(), free_address(), free_address());
    let flags = [
        "--data",
        &directory,
        "--listen",
        &listen,
        "--insecure-listen",
        &insecure,
        "--etcd-v2-listen",
        &view,
    ];
    let running = Running::ready(&place, &[&["apiserver"][..], &flags].concat()).await;
    let nodes = format!("http://{insecure}/api/v1/nodes");
    let node = r#"{"kind":"Node","apiVersion":"v1","metadata":{"name":"minion-1"}}"#;
    curl(&place, &["--fail", "-H", "content-type: application/json", "-d", node, &nodes]).await;

    let shown = curl(&place, &[&format!("http://{view}/v2/keys/registry/minions/")]).await;

    let shown: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
    let nodes_shown = shown["node"]["nodes"].as_array().expect("it is a directory");
    assert_eq!(nodes_shown.len(), 1, "{shown}");
    assert_eq!(nodes_shown[0]["key"], "/registry/minions/minion-1");
    assert!(nodes_shown[0]["value"].as_str().is_some_and(|value| value.contains("minion-1")), "{shown}");
    for url in [&nodes, &format!("http://{view}/v2/keys/")] {
        let code = ["-o", "/dev/null", "-w", "%{http_code}", "-H"];
        let page = curl(&place, &[&code[..], &["origin: https://example.com", url]].concat()).await;
        assert_eq!(page, "403", "{url}");
    }
    running.stop(&place).await;
    let outcome = finish(
        place
            .command(BINARY)
            .args(["apiserver", "--data", &directory, "--listen", &listen])
            .args(["--etcd-v2-listen", "0.0.0.0:4001"]),
        Duration::from_secs(30),
    )
    .await;
    assert!(!outcome.success);
    assert!(outcome.stderr.contains("0.0.0.0:4001 is reachable from other machines"), "{}", outcome.stderr);
}

/// An authority, its certificate in a file, and a certificate for this address and a name with its key, in files.
fn authority_of(data: &Path, name: &str, address: &str) -> (Authority, [String; 3]) {
    let authority = Authority::new(Clock::system().now()).expect("authorities can be made");
    let identity = authority.server(name, &[name.to_owned(), address.to_owned()]).expect("it is a name");
    let chain = format!("{}{}", identity.certificate, authority.certificate());
    let files =
        [("ca", authority.certificate()), ("crt", &chain), ("key", &identity.key)].map(|(kind, text)| {
            let path = data.join(format!("{name}.{kind}"));
            std::fs::write(&path, text).expect("files can be written");
            path.to_str().expect("it is text").to_owned()
        });
    (authority, files)
}

#[tokio::test]
async fn the_server_shows_the_certificate_that_it_is_given_and_its_parts_find_it_all_the_same() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let directory = data.path().join("data");
    let (address, folder) = (free_address(), directory.to_str().expect("it is text"));
    let (front, [front_ca, front_crt, front_key]) = authority_of(data.path(), "api.example.com", "127.0.0.1");
    let (users, [users_ca, ..]) = authority_of(data.path(), "users.example.com", "127.0.0.1");
    let flags = [
        &["apiserver", "--storage", "memory", "--data", folder, "--listen", &address][..],
        &["--tls-cert-file", &front_crt, "--tls-private-key-file", &front_key, "--client-ca-file", &users_ca],
    ]
    .concat();
    let running = Running::ready(&place, &flags).await;
    let url = format!("https://{address}");

    // Whoever knows its authority believes the server, by address and by name.
    let live = format!("{url}/livez");
    assert_eq!(curl(&place, &["--cacert", &front_ca, &live]).await, "ok");
    let (_, port) = address.split_once(':').expect("it has a port");
    let (resolved, named) =
        (format!("api.example.com:{port}:127.0.0.1"), format!("https://api.example.com:{port}/livez"));
    assert_eq!(curl(&place, &["--cacert", &front_ca, "--resolve", &resolved, &named]).await, "ok");
    // The cluster's own parts know it by its own.
    let own = directory.join("kubeconfig");
    let kubectl = Kubectl::new(&place, &own);
    kubectl.run("get namespaces").await;
    let scheduler = directory.join("kubeconfigs/scheduler");
    let part = ["scheduler", "--kubeconfig", scheduler.to_str().expect("it is text")];
    let scheduler = Running::start(&place, &part).await;
    kubectl.until("-n kube-system get leases", &["kube-scheduler"]).await;
    scheduler.stop(&place).await;
    // Pods are to believe both.
    let believed = std::fs::read_to_string(directory.join("root-ca.crt")).expect("it was written");
    let cluster = std::fs::read_to_string(directory.join("pki/ca.crt")).expect("it was made");
    for certificate in [front.certificate(), &cluster] {
        assert!(believed.contains(certificate.trim()), "{believed}");
    }
    // Users of the other authority are known, and nobody else's.
    for (authority, wanted) in [(&users, Ok("alice".to_owned())), (&front, Err("Unauthorized"))] {
        let identity = authority.client(&User::new("alice")).expect("it is a name");
        let file = data.path().join("alice");
        std::fs::write(&file, kubeconfig(&url, front.certificate(), "alice", &identity))
            .expect("it can be written");
        let who =
            Kubectl::new(&place, &file).attempt("auth whoami -o jsonpath={.status.userInfo.username}").await;
        match wanted {
            Ok(name) => assert_eq!((who.success, who.stdout), (true, name), "{}", who.stderr),
            Err(why) => assert!(!who.success && who.stderr.contains(why), "{}", who.stderr),
        }
    }

    let (_, [next_ca, next_crt, next_key]) = authority_of(data.path(), "next.example.com", "127.0.0.1");
    for (from, to) in [(next_key, front_key), (next_crt, front_crt)] {
        std::fs::rename(from, to).expect("files can be renamed");
    }

    eventually("the next certificate is shown", Duration::from_secs(150), async || {
        let ask = ["-sS", "--cacert", &next_ca, &live];
        let answer = finish(place.command("curl").args(ask), Duration::from_secs(30)).await;
        if answer.success { Ok(()) } else { Err(answer.stderr) }
    })
    .await;
    kubectl.run("get namespaces").await;
    running.stop(&place).await;
}

#[tokio::test]
async fn files_that_are_no_certificate_or_belong_to_others_are_named() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let directory = data.path().join("data").to_str().expect("it is text").to_owned();
    let (_, [ca, crt, key]) = authority_of(data.path(), "one.example.com", "127.0.0.1");
    let (_, [_, _, other]) = authority_of(data.path(), "two.example.com", "127.0.0.1");
    let missing = data.path().join("missing").to_str().expect("it is text").to_owned();
    let listen = free_address();
    let certificate = |crt, key| ["--tls-cert-file", crt, "--tls-private-key-file", key];
    for (flags, words) in [
        (&certificate(&crt, &other)[..], &["the key in", &other, "is not that of", &crt][..]),
        (&certificate(&missing, &key), &["cannot read", &missing, "No such file"]),
        (&certificate(&key, &key), &["cannot use", &key, "it holds no certificate"]),
        (&certificate(&crt, &ca), &["cannot use", &ca, "it holds no private key"]),
        (&["--client-ca-file", &missing], &["cannot read", &missing, "No such file"]),
        (&["--client-ca-file", &key], &["cannot use", &key, "there is no certificate of an authority"]),
        (
            &["--client-ca-file", &ca, "--requestheader-client-ca-file", &ca],
            &["--requestheader-client-ca-file", "--client-ca-file", "--requestheader-allowed-names"],
        ),
    ] {
        let all = [&["apiserver", "--data", &directory, "--listen", &listen][..], flags].concat();
        refuses(&place, &[], &all, words).await;
    }
    let alone = ["apiserver", "--data", &directory, "--listen", &listen, "--tls-cert-file", &crt];
    let outcome = finish(place.command(BINARY).args(alone), Duration::from_secs(30)).await;
    assert!(!outcome.success && outcome.stderr.contains("--tls-private-key-file"), "{}", outcome.stderr);
}

#[tokio::test]
async fn the_audit_log_gives_way_at_its_size_and_old_ones_go_by_number() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let text = |name: &str| data.path().join(name).to_str().expect("it is text").to_owned();
    let (directory, policy, logs) = (text("data"), text("policy.yaml"), data.path().join("logs"));
    std::fs::create_dir(&logs).expect("directories can be made");
    let log = logs.join("audit.log").to_str().expect("it is text").to_owned();
    let rules = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]\n";
    std::fs::write(&policy, rules).expect("files can be written");
    let (listen, insecure) = (free_address(), free_address());
    let flags = [
        &["apiserver", "--storage", "memory", "--data", &directory, "--listen", &listen][..],
        &["--insecure-listen", &insecure, "--audit-policy-file", &policy, "--audit-log-path", &log],
        &["--audit-log-maxsize", "1", "--audit-log-maxbackup", "1", "--audit-log-maxage", "7"],
    ]
    .concat();
    let running = Running::ready(&place, &flags).await;
    let url = format!("http://{insecure}/api/v1/namespaces/default/serviceaccounts");
    let body = text("account.json");

    for number in 0..16 {
        let long = "x".repeat(200_000);
        let account = format!(r#"{{"metadata":{{"name":"a{number}","annotations":{{"long":"{long}"}}}}}}"#);
        std::fs::write(&body, account).expect("files can be written");
        let made =
            ["-o", "/dev/null", "-H", "content-type: application/json", "-d", &format!("@{body}"), &url];
        curl(&place, &[&["--fail"][..], &made].concat()).await;
    }
    running.stop(&place).await;

    let entries =
        std::fs::read_dir(&logs).expect("it is a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[1].ends_with("audit.log") && files[0].to_string_lossy().contains("/audit-20"), "{files:?}");
    let told: String = files.iter().map(|file| std::fs::read_to_string(file).expect("it is text")).collect();
    assert!(told.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(told.contains(r#""name":"a15""#) && !told.contains(r#""name":"a0""#), "the newest are kept");
    for file in &files {
        assert!(std::fs::metadata(file).expect("it is there").len() <= 1 << 20, "{file:?}");
    }
}

#[tokio::test]
async fn a_server_that_may_open_few_files_serves_those_who_ask_and_not_those_who_only_connect() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let directory = data.path().join("data").to_str().expect("it is text").to_owned();
    let (listen, insecure) = (free_address(), free_address());
    let flags = ["apiserver", "--data", &directory, "--listen", &listen, "--insecure-listen", &insecure];
    let few = Running::limited(&place, 400, &flags).await;
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(tokio::net::TcpStream::connect(&insecure).await.expect("the kernel takes connections"));
    }

    let health = curl(&place, &["--max-time", "20", &format!("http://{insecure}/livez")]).await;

    assert_eq!(health, "ok");
    drop(silent);
    few.stop(&place).await;
}

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
