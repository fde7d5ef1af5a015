//! Bad input: one line that says what and what to do, an exit code that is not 0, and data untouched.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kubectl::Kubectl;
use crate::place::{Outcome, Place, finish};
use crate::running::{BINARY, Running};
use crate::{data, eventually, left_out, steps, turn};

/// An address on loopback where nobody listens.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    listener.local_addr().expect("a bound socket has an address").to_string()
}

/// Runs the binary, which has to refuse with one line that has all these words.
pub(crate) async fn refuses(place: &Place, variables: &[(&str, &str)], arguments: &[&str], words: &[&str]) {
    let mut command = place.command(BINARY);
    command.args(arguments).envs(variables.iter().copied());
    let Outcome { success, stdout, stderr } = finish(&mut command, Duration::from_secs(30)).await;
    let what = format!("quarterdeck {}: {stdout}{stderr}", arguments.join(" "));
    assert!(!success, "it has to fail: {what}");
    assert_eq!(stderr.lines().count(), 1, "one line says it all: {what}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not said: {what}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_before_anything_is_touched() {
    let _turn = turn();
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let taken = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    let (place, words) = (Place::here(), [address.as_str(), "choose another address or port"]);
    refuses(&place, &[], &["apiserver", "--data", directory, "--listen", &address], &words).await;
    let up = ["up", "--data", directory, "--listen", &address, "--disable", "agent,proxy"];
    refuses(&place, &[], &up, &words).await;
    let free = free_address();
    let insecure = ["apiserver", "--data", directory, "--listen", &free, "--insecure-listen", &address];
    refuses(&place, &[], &insecure, &[&address, "choose another address or port"]).await;
    let endpoint = ["up", "--data", directory, "--listen", &free, "--proxy-endpoint", &address];
    refuses(&place, &[], &endpoint, &[&address, "--proxy-endpoint"]).await;
    let entries = fs::read_dir(data.path()).expect("it is a directory").count();
    assert_eq!(entries, 0, "nothing was made");
}

#[tokio::test]
async fn a_start_that_fails_leaves_pods_of_a_killed_cluster_alone() {
    let _turn = turn();
    let Some(place) = Place::apart("a start that fails").await else { return };
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let up = ["up", "--runtime", "process", "--data", directory, "--listen", "127.0.0.1:6443"];
    let killed = Running::ready(&place, &up).await;
    let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
    let before = steps::create(&kubectl, &steps::manifest("process")).await;
    killed.kill(&place).await;

    let unwritable = data.path().join("taken");
    fs::create_dir(&unwritable).expect("directories can be made");
    let unwritable = unwritable.to_str().expect("it is text");
    let failing = [&up[..], &["--write-kubeconfig", unwritable]].concat();
    refuses(&place, &[], &failing, &[unwritable]).await;
    let taken = Running::start(
        &place,
        &["apiserver", "--storage", "memory", "--data", "/run/other", "--listen", "127.0.0.1:6443"],
    )
    .await;
    eventually("the port is taken", Duration::from_secs(20), async || {
        let answer = place.sh("curl -sk https://127.0.0.1:6443/livez").await;
        if answer.success { Ok(()) } else { Err(answer.stderr) }
    })
    .await;
    refuses(&place, &[], &up, &["127.0.0.1:6443", "choose another address or port"]).await;
    taken.stop(&place).await;

    let again = Running::ready(&place, &up).await;
    let after = kubectl.pods("app=web", 3).await;
    assert!(after.iter().all(|pod| pod.restarts == 0), "{before:#?} {after:#?}");
    let left = fs::read_dir(data.path())
        .expect("it is a directory")
        .map(|entry| entry.expect("an entry").file_name());
    let keys: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(keys.is_empty(), "{keys:?}");
    again.stop(&place).await;
}

#[tokio::test]
async fn an_insecure_listener_for_others_is_refused() {
    let _turn = turn();
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let free = free_address();
    let arguments = ["apiserver", "--data", directory, "--listen", &free, "--insecure-listen", "0.0.0.0:0"];
    refuses(&Place::here(), &[], &arguments, &["0.0.0.0:0", "loopback"]).await;
}

#[tokio::test]
async fn a_data_directory_of_somebody_else_is_named() {
    let _turn = turn();
    let place = Place::here().unprivileged();
    if !place.sh(&format!("test -x {BINARY}")).await.success {
        return left_out("a data directory of somebody else", "nobody may not run the binary");
    }
    let free = free_address();
    for directory in ["/proc/nobody-makes-this", "/nobody-may-make-this"] {
        let arguments = ["apiserver", "--data", directory, "--listen", &free];
        refuses(&place, &[], &arguments, &[directory, "--data"]).await;
    }
}

#[tokio::test]
async fn a_missing_engine_is_named() {
    let _turn = turn();
    let data = data();
    let (directory, free) = (data.path().to_str().expect("it is text"), free_address());
    let arguments =
        ["up", "--runtime", "docker", "--data", directory, "--listen", &free, "--disable", "proxy"];
    let nowhere = [("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    refuses(&Place::here(), &nowhere, &arguments, &["/nowhere/docker.sock", "--runtime process"]).await;
}

#[tokio::test]
async fn a_missing_kubeconfig_is_named() {
    let _turn = turn();
    for part in ["scheduler", "controllers", "agent", "proxy"] {
        let arguments = [part, "--kubeconfig", "/nowhere/kubeconfig"];
        refuses(&Place::here(), &[], &arguments, &["/nowhere/kubeconfig"]).await;
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_used_is_named() {
    let _turn = turn();
    let (place, data, free) = (Place::here(), data(), free_address());
    let directory = data.path().to_str().expect("it is text");
    Running::ready(&place, &["apiserver", "--data", directory, "--listen", &free]).await.stop(&place).await;
    let text = |name: &str| data.path().join(name).to_str().expect("it is text").to_owned();
    let (kubeconfig, certificate) = (text("kubeconfigs/controllers"), text("pki/ca.crt"));
    for (key, word) in [("/nowhere/ca.key", "/nowhere/ca.key"), (&certificate, "no usable key")] {
        let signing = ["--cluster-signing-cert-file", &certificate, "--cluster-signing-key-file", key];
        let arguments = [&["controllers", "--kubeconfig", &kubeconfig][..], &signing].concat();
        refuses(&place, &[], &arguments, &["nothing can be signed", word]).await;
    }
}

#[tokio::test]
async fn a_file_without_a_key_for_tokens_is_named() {
    let _turn = turn();
    let (place, data, free) = (Place::here(), data(), free_address());
    let text = |name: &str| data.path().join(name).to_str().expect("it is text").to_owned();
    let (directory, nonsense) = (text("data"), text("nonsense"));
    fs::write(&nonsense, "no key").expect("files can be written");
    for flag in ["--service-account-signing-key-file", "--service-account-key-file"] {
        for (path, word) in [("/nowhere/sa.key", "check that"), (&nonsense, "give a PEM file")] {
            let arguments = ["apiserver", "--data", &directory, "--listen", &free, flag, path];
            refuses(&place, &[], &arguments, &["no key for service accounts' tokens", path, word]).await;
        }
    }
}

#[tokio::test]
async fn a_corrupt_data_file_is_named_and_left_as_it_is() {
    let _turn = turn();
    let place = Place::here();
    let data = data();
    let (directory, free) = (data.path().to_str().expect("it is text"), free_address());
    let arguments = ["apiserver", "--data", directory, "--listen", &free];
    Running::ready(&place, &arguments).await.stop(&place).await;
    let file = largest(&data.path().join("storage"));
    let mut bytes = fs::read(&file).expect("the store's files can be read");
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("the store holds something");
    bytes[written / 2] ^= 0x55;
    fs::write(&file, &bytes).expect("the store's files can be written");

    refuses(&place, &[], &arguments, &[file.to_str().expect("it is text")]).await;

    assert!(fs::read(&file).expect("it is still there") == bytes, "the file was changed");
}

/// The file that holds the objects.
fn largest(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).expect("the store has a directory");
    let files = files.map(|file| file.expect("it can be read").path()).filter(|path| path.is_file());
    files
        .max_by_key(|path| path.metadata().map_or(0, |metadata| metadata.len()))
        .expect("the store has a file")
}

#[tokio::test]
async fn what_is_no_range_of_service_addresses_is_refused() {
    let _turn = turn();
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let (place, free) = (Place::here(), free_address());
    for range in ["nonsense", "10.0.0.0/31"] {
        let up = [
            "up",
            "--data",
            directory,
            "--listen",
            &free,
            "--disable",
            "agent,proxy",
            "--service-cidr",
            range,
        ];
        refuses(&place, &[], &up, &[range, "10.254.0.0/16"]).await;
    }
}
