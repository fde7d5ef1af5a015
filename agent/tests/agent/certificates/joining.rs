//! A node's first certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, PostParams};
use quarterdeck_agent::certificates::JoinError;
use quarterdeck_core::clock::Clock;
use serde_json::json;
use tempfile::tempdir;

use super::cluster::{Cluster, Shown, TOKEN, who};
use crate::SECOND;

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// The names of the files in a directory, in order.
fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn current(directory: &Path) -> PathBuf {
    directory.join("kubelet-client-current.pem")
}

#[tokio::test(start_paused = true)]
async fn a_node_joins_with_a_bootstrap_token_and_is_known_by_its_certificate_from_then_on() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.welcome().await;

    let bootstrap = cluster.with_token(TOKEN);
    let joined = cluster.join("node-1", place.path(), &shown).bootstrap(bootstrap).run().await.unwrap();

    let (user, groups) = who(&joined.client).await.unwrap();
    assert_eq!(user, "system:node:node-1");
    assert_eq!(groups, ["system:nodes", "system:authenticated"]);
    let nodes: Api<Node> = Api::all(joined.client.clone());
    let own = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    nodes.create(&PostParams::default(), &own("node-1")).await.unwrap();
    let other = nodes.create(&PostParams::default(), &own("node-2")).await;
    assert!(matches!(other, Err(kube::Error::Api(status)) if status.code == 403), "it is no other node");
    let asked = cluster.asked().await;
    let [request] = &asked[..] else { panic!("one request: {asked:#?}") };
    assert_eq!(request.spec.username.as_deref(), Some("system:bootstrap:abcdef"));
    assert_eq!(request.spec.signer_name, KUBELET_CLIENT);
    assert_eq!(
        request.spec.usages.as_deref(),
        Some(&["digital signature", "client auth"].map(Into::into)[..])
    );
    assert_eq!(request.spec.expiration_seconds, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_for_its_owner_and_lies_where_kubelet_has_it() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.welcome().await;
    let directory = place.path().join("pki");

    let bootstrap = cluster.with_token(TOKEN);
    cluster.join("node-1", &directory, &shown).bootstrap(bootstrap).run().await.unwrap();

    let names = files(&directory);
    let [dated, link] = &names[..] else { panic!("a file and a link: {names:?}") };
    assert!(dated.starts_with("kubelet-client-2026-01-01-00-00-"), "{dated}");
    assert_eq!(link, "kubelet-client-current.pem");
    assert_eq!(fs::read_link(directory.join(link)).unwrap(), Path::new(dated));
    assert_eq!(fs::metadata(directory.join(dated)).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(directory.join(link)).unwrap();
    assert!(text.find("BEGIN CERTIFICATE") < text.find("BEGIN PRIVATE KEY"), "the key comes last");
}

#[tokio::test(start_paused = true)]
async fn started_again_a_node_shows_what_it_has_and_asks_for_nothing() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.welcome().await;
    let bootstrap = cluster.with_token(TOKEN);
    cluster.join("node-1", place.path(), &shown).bootstrap(bootstrap).run().await.unwrap();

    let again = cluster.join("node-1", place.path(), &shown).run().await.unwrap();

    assert_eq!(who(&again.client).await.unwrap().0, "system:node:node-1");
    assert_eq!(cluster.asked().await.len(), 1);
    let shown = shown.all();
    assert_eq!(shown[0].certificate(), shown[1].certificate());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_node_or_torn_or_expired_is_not_shown() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.welcome().await;
    let join = |node: &str| cluster.join(node, place.path(), &shown);
    let with_token = |node: &str| join(node).lifetime(600 * SECOND).bootstrap(cluster.with_token(TOKEN));
    with_token("node-1").run().await.unwrap();

    let other = join("node-2").run().await;
    assert!(matches!(other, Err(JoinError::NoCertificate { .. })), "{other:?}");
    let other = with_token("node-2").run().await.unwrap();
    assert_eq!(who(&other.client).await.unwrap().0, "system:node:node-2");

    let file = current(place.path());
    let whole = fs::read_to_string(&file).unwrap();
    for torn in ["", &whole[..40], &whole[..whole.len() / 2], &whole[..whole.len() - 60]] {
        fs::write(&file, torn).unwrap();
        let without = join("node-2").run().await;
        assert!(matches!(without, Err(JoinError::NoCertificate { .. })), "{torn:?}: {without:?}");
    }
    let (first, second) = (shown.all()[0].clone(), shown.all()[1].clone());
    fs::write(&file, format!("{}{}", first.certificate(), second.key())).unwrap();
    assert!(join("node-1").run().await.is_err(), "a key of another certificate");
    let again = with_token("node-2").run().await.unwrap();
    assert_eq!(who(&again.client).await.unwrap().0, "system:node:node-2");

    tokio::time::sleep(600 * SECOND).await;
    let expired = join("node-2").run().await;
    assert!(matches!(expired, Err(JoinError::NoCertificate { .. })), "{expired:?}");
    assert_eq!(cluster.asked().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_shows_no_good_token_or_may_not_ask_is_told_so() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    let join =
        |token: &str| cluster.join("node-1", place.path(), &shown).bootstrap(cluster.with_token(token)).run();

    for token in ["abcdef.ffffffffffffffff", "ghijkl.0123456789abcdef", "nonsense"] {
        let refused = join(token).await;
        assert!(matches!(refused, Err(JoinError::Unauthorized)), "{token}: {refused:?}");
    }
    let forbidden = join(TOKEN).await;
    assert!(
        matches!(&forbidden, Err(JoinError::Forbidden(why)) if why.contains("system:bootstrap:abcdef")),
        "{forbidden:?}"
    );
    cluster.welcome().await;
    cluster.expire_token().await;
    let expired = join(TOKEN).await;
    assert!(matches!(expired, Err(JoinError::Unauthorized)), "{expired:?}");
    assert!(cluster.asked().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_denied_stays_so_until_somebody_deletes_it() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.may_ask().await;
    let join = || cluster.join("node-1", place.path(), &shown).bootstrap(cluster.with_token(TOKEN)).run();
    let decide = async |kind: &str| {
        let name = cluster.until_asked(KUBELET_CLIENT).await.metadata.name.unwrap();
        cluster.decide(&name, kind).await;
        name
    };

    let (denied, name) = tokio::join!(join(), decide("Denied"));
    let Err(JoinError::Denied { name: told, message }) = &denied else { panic!("{denied:?}") };
    assert_eq!((told, message.as_str()), (&name, "Test: by hand"));
    assert!(
        matches!(join().await, Err(JoinError::Denied { .. })),
        "who is started again asks for nothing new"
    );
    assert_eq!(cluster.asked().await.len(), 1);

    cluster.requests().delete(&name, &DeleteParams::default()).await.unwrap();
    let (joined, again) = tokio::join!(join(), decide("Approved"));
    assert_eq!(again, name, "it is the same key");
    assert_eq!(who(&joined.unwrap().client).await.unwrap().0, "system:node:node-1");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_its_signer_fails_is_told_of() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.may_ask().await;
    let join = cluster.join("node-1", place.path(), &shown).bootstrap(cluster.with_token(TOKEN)).run();

    let (failed, ()) = tokio::join!(join, async {
        let name = cluster.until_asked(KUBELET_CLIENT).await.metadata.name.unwrap();
        cluster.fail(&name).await;
    });

    assert!(
        matches!(&failed, Err(JoinError::Failed { message, .. }) if message == "Test: by hand"),
        "{failed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_of_no_use_is_not_kept_and_the_next_request_is_another() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.welcome().await;
    // Certificates begin five minutes early: so much a clock may be behind, and no more.
    let start = cluster.clock.now();
    let behind = Clock::following_tokio(start - jiff::SignedDuration::from_mins(6));
    let join = || cluster.join("node-1", place.path(), &shown).bootstrap(cluster.with_token(TOKEN));

    let refused = join().clock(behind).run().await;

    assert!(
        matches!(&refused, Err(JoinError::Unusable { message, .. }) if message.contains("is good from")),
        "{refused:?}"
    );
    assert!(!current(place.path()).exists());
    let joined = join().run().await.unwrap();
    assert_eq!(who(&joined.client).await.unwrap().0, "system:node:node-1");
    assert_eq!(cluster.asked().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_stopped_while_it_waits_goes_on_waiting_for_the_same_request() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.may_ask().await;
    let join = || cluster.join("node-1", place.path(), &shown).bootstrap(cluster.with_token(TOKEN)).run();
    let waits = tokio::time::timeout(3600 * SECOND, join()).await;
    assert!(waits.is_err(), "nobody approved it");
    let name = cluster.until_asked(KUBELET_CLIENT).await.metadata.name.unwrap();

    // Somebody tidies up meanwhile.
    let (joined, ()) = tokio::join!(join(), async {
        tokio::time::sleep(SECOND).await;
        cluster.requests().delete(&name, &DeleteParams::default()).await.unwrap();
        let again = cluster.until_asked(KUBELET_CLIENT).await.metadata.name.unwrap();
        assert_eq!(again, name);
        cluster.decide(&name, "Approved").await;
    });

    assert_eq!(who(&joined.unwrap().client).await.unwrap().0, "system:node:node-1");
    assert_eq!(cluster.asked().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_none_is_told_of_before_anything_is_asked_for() {
    let (cluster, place, shown) = (Cluster::start().await, tempdir().unwrap(), Shown::default());
    cluster.welcome().await;
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();

    let refused = cluster.join("node-1", &file, &shown).bootstrap(cluster.with_token(TOKEN)).run().await;

    assert!(matches!(refused, Err(JoinError::File { .. })), "{refused:?}");
    assert!(cluster.asked().await.is_empty());
}
