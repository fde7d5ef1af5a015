//! How a store gets to its etcd: addresses, certificates, users, prefixes.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Client, Permission, PermissionType};
use quarterdeck_core::storage::{Expect, List, Revision, Storage, StorageError, Transaction};
use quarterdeck_registry::storage::{ConnectError, EtcdOptions, EtcdStorage};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::server::Etcd;
use crate::{connect, soon};

/// An authority and what it signed, as files.
struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let new = Self { directory: tempfile::tempdir().unwrap() };
        new.write("ca.pem", &authority.pem());
        for (name, usage) in
            [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
        {
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            new.write(&format!("{name}.pem"), &certificate.pem());
            new.write(&format!("{name}.key"), &key.serialize_pem());
        }
        new
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn members_and_clients_show_each_other_certificates() {
    let certificates = Certificates::new();
    let (ca, server, key) =
        (certificates.path("ca.pem"), certificates.path("server.pem"), certificates.path("server.key"));
    let flags = ["--client-cert-auth", "--trusted-ca-file", path(&ca), "--cert-file", path(&server)];
    let etcd = Etcd::cluster(1, "https", &[&flags[..], &["--key-file", path(&key)]].concat());
    let bare = EtcdOptions::new(etcd.endpoints()).request_timeout(Duration::from_secs(2));
    let trusting = bare.clone().certificate_authority(certificates.text("ca.pem"));
    let known =
        trusting.clone().client_certificate(certificates.text("client.pem"), certificates.text("client.key"));

    let storage = connect(&etcd, known.clone()).await;

    let at = storage.commit(Transaction::new().put("/registry/a", "1")).await.unwrap();
    let mut watch = storage.watch("/registry/", Revision(0)).await.unwrap();
    assert_eq!(soon(futures::StreamExt::next(&mut watch)).await.unwrap().unwrap().revision, at);
    let stranger = Certificates::new();
    let deceived = known.certificate_authority(stranger.text("ca.pem"));
    for (who, options) in
        [("no authority", bare), ("no certificate", trusting), ("a wrong authority", deceived)]
    {
        let refused = EtcdStorage::connect(options).await;
        assert!(matches!(refused, Err(ConnectError::Unreachable { .. })), "{who}: {refused:?}");
    }
}

#[tokio::test]
async fn a_user_needs_the_password_and_rights_for_the_prefix_only() {
    let etcd = Etcd::single();
    let endpoint = etcd.endpoint(0);
    let mut root = etcd.until("a connection", async || Client::connect([&endpoint], None).await.ok()).await;
    etcd.until("a leader", async || root.get("x", None).await.ok()).await;
    root.user_add("root", "root", None).await.unwrap();
    root.role_add("root").await.ok();
    root.user_grant_role("root", "root").await.unwrap();
    root.user_add("server", "secret", None).await.unwrap();
    root.role_add("server").await.unwrap();
    let all = Permission::new(PermissionType::Readwrite, "/registry/").with_prefix();
    root.role_grant_permission("server", all).await.unwrap();
    root.user_grant_role("server", "server").await.unwrap();
    root.auth_enable().await.unwrap();
    let options = || EtcdOptions::new(etcd.endpoints());

    let storage = EtcdStorage::connect(options().user("server", "secret")).await.unwrap();

    let at = storage.commit(Transaction::new().put("/registry/a", "1")).await.unwrap();
    assert_eq!(storage.list(List::prefix("/registry/")).await.unwrap().revision, at);
    assert_eq!(storage.revision().await.unwrap(), at);
    let elsewhere = storage.commit(Transaction::new().put("/elsewhere", "1")).await;
    let Err(StorageError::Unavailable(why)) = elsewhere else { panic!("{elsewhere:?}") };
    assert!(why.to_string().contains("permission denied"), "{why}");
    let elsewhere = storage.watch("/elsewhere", Revision(0)).await.err();
    assert!(matches!(&elsewhere, Some(StorageError::Unavailable(_))), "{elsewhere:?}");
    for refused in [options(), options().user("server", "wrong"), options().user("nobody", "secret")] {
        let refused = EtcdStorage::connect(refused).await;
        assert!(matches!(refused, Err(ConnectError::Refused(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn stores_under_two_prefixes_do_not_see_each_other() {
    let etcd = Etcd::single();
    let one = connect(&etcd, EtcdOptions::new(etcd.endpoints()).prefix("/one")).await;
    let two = connect(&etcd, EtcdOptions::new(etcd.endpoints()).prefix("/two")).await;
    let bare = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;

    one.commit(Transaction::new().put("/registry/a", "1")).await.unwrap();

    assert_eq!(two.list(List::prefix("")).await.unwrap().entries, []);
    let seen = bare.list(List::prefix("")).await.unwrap().entries;
    assert_eq!(seen.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["/one/registry/a"]);
    assert_eq!(two.revision().await.unwrap(), one.revision().await.unwrap(), "there is one count for all");
}

#[tokio::test]
async fn addresses_that_make_no_sense_are_refused_at_once() {
    let none: [&str; 0] = [];
    assert!(matches!(EtcdStorage::connect(EtcdOptions::new(none)).await, Err(ConnectError::NoEndpoints)));
    for endpoint in [
        "",
        "http://",
        "127.0.0.1",
        "http://127.0.0.1",
        "ftp://127.0.0.1:1",
        "http://h:1/v3",
        "a b:1",
        "http://:1",
    ] {
        let refused = EtcdStorage::connect(EtcdOptions::new(["http://127.0.0.1:1", endpoint])).await;
        assert!(matches!(refused, Err(ConnectError::Endpoint { .. })), "{endpoint}: {refused:?}");
    }
    let plain = EtcdOptions::new(["http://127.0.0.1:1"]).certificate_authority("");
    let refused = EtcdStorage::connect(plain).await.unwrap_err().to_string();
    assert!(refused.contains("\"http://127.0.0.1:1\" is not encrypted"), "{refused}");
}

#[tokio::test]
async fn nobody_who_answers_is_said_with_every_address() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let options =
        EtcdOptions::new(["http://127.0.0.1:1", &address]).request_timeout(Duration::from_millis(400));

    let refused = soon(EtcdStorage::connect(options)).await.unwrap_err();

    let expected = format!("no etcd member answers at http://127.0.0.1:1, http://{address}: ");
    assert!(refused.to_string().starts_with(&expected), "{refused}");
}

#[tokio::test]
async fn a_member_that_is_not_there_or_hangs_costs_one_request_its_time() {
    let etcd = Etcd::single();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let members = [silent.local_addr().unwrap().to_string(), "127.0.0.1:1".to_owned(), etcd.endpoint(0)];
    drop(connect(&etcd, EtcdOptions::new(etcd.endpoints())).await);

    let storage = EtcdStorage::connect(EtcdOptions::new(members)).await.unwrap();

    let start = tokio::time::Instant::now();
    storage.commit(Transaction::new().put("/a", "1")).await.unwrap();
    assert!(storage.get(&"/a".into()).await.unwrap().is_some());
    assert!(start.elapsed() < Duration::from_secs(2), "it asks the member that answered before");
}

/// Passes on what is said to a member and what it answers; the answers until it is told to keep them to itself.
struct Between {
    address: String,
    keeps_answers: watch::Sender<bool>,
    hangs_up: watch::Sender<bool>,
    _connections: JoinSet<()>,
}

impl Between {
    async fn start(member: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (keeps_answers, keeps) = watch::channel(false);
        let (hangs_up, hang_up) = watch::channel(false);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&member).await.unwrap();
                open.spawn(pass_on(client, server, keeps.clone(), hang_up.clone()));
            }
        });
        Self { address, keeps_answers, hangs_up, _connections: connections }
    }
}

async fn pass_on(
    client: TcpStream,
    server: TcpStream,
    keeps: watch::Receiver<bool>,
    mut hang_up: watch::Receiver<bool>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let questions = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
            if !*keeps.borrow() && to_client.write_all(&bytes[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = questions => {}
        () = answers => {}
        _ = hang_up.wait_for(|hangs_up| *hangs_up) => {}
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_open_and_not_tried_again_at_another_member() {
    let etcd = Etcd::single();
    let direct = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let between = Between::start(etcd.endpoint(0).replace("http://", "")).await;
    let storage =
        EtcdStorage::connect(EtcdOptions::new([&between.address, &etcd.endpoint(0)])).await.unwrap();
    between.keeps_answers.send_replace(true);

    let create = Transaction::new().expect("/a", Expect::Absent).put("/a", "1");
    let commit = tokio::spawn({
        let storage = storage.clone();
        async move { storage.commit(create).await }
    });
    let there = etcd.until("the commit", async || direct.get(&"/a".into()).await.unwrap()).await;
    between.hangs_up.send_replace(true);

    let outcome = soon(commit).await.unwrap();
    assert!(matches!(outcome, Err(StorageError::Unavailable(_))), "nobody can know: {outcome:?}");
    assert_eq!(storage.get(&"/a".into()).await.unwrap(), Some(there), "a read asks another member");
}
