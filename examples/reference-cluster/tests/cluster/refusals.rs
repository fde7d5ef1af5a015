//! Bad input: one line that says what and what to do, an exit code that is not 0, and data untouched.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::place::{Outcome, Place, finish};
use crate::running::{BINARY, Running};
use crate::{data, left_out, turn};

/// An address on loopback where nobody listens.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    listener.local_addr().expect("a bound socket has an address").to_string()
}

/// Runs the binary, which has to refuse with one line that has all these words.
async fn refuses(place: &Place, variables: &[(&str, &str)], arguments: &[&str], words: &[&str]) {
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
async fn a_port_in_use_is_named() {
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
