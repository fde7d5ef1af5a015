//! `quarterdeck backup` and `restore`, and what is said of data directories that cannot be used.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use serde_json::Value;

use crate::crash::configmaps;
use crate::place::{Place, finish};
use crate::refusals::{free_address, refuses};
use crate::running::{BINARY, Running};
use crate::{data, turn};

fn object(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("value".to_owned(), name.to_owned())])),
        ..ConfigMap::default()
    }
}

/// Starts an API server on a data directory, and returns its config maps too.
async fn server(place: &Place, data: &str, flags: &[&str]) -> (Running, Api<ConfigMap>) {
    let (listen, insecure) = (free_address(), free_address());
    let arguments = ["apiserver", "--data", data, "--listen", &listen, "--insecure-listen", &insecure];
    (Running::ready(place, &[&arguments[..], flags].concat()).await, configmaps(&insecure))
}

/// Runs the binary, which has to succeed, and returns what it prints.
async fn prints(place: &Place, arguments: &[&str]) -> String {
    let outcome = finish(place.command(BINARY).args(arguments), Duration::from_secs(30)).await;
    assert!(outcome.success, "quarterdeck {}: {}", arguments.join(" "), outcome.stderr);
    outcome.stdout
}

#[tokio::test]
async fn a_backup_of_a_running_server_brings_back_what_was_deleted_after_it() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let text = |name: &str| data.path().join(name).to_str().expect("it is text").to_owned();
    let (live, copy, new) = (text("live"), text("copy"), text("new"));
    let (running, maps) = server(&place, &live, &["--fsync", "50ms"]).await;
    maps.create(&PostParams::default(), &object("kept")).await.expect("it can be created");

    let said = prints(&place, &["backup", "--data", &live, "--to", &copy]).await;

    assert!(said.contains(&copy) && said.contains("pki"), "{said}");
    maps.delete("kept", &DeleteParams::default()).await.expect("it can be deleted");
    maps.create(&PostParams::default(), &object("later")).await.expect("it can be created");
    running.stop(&place).await;
    let said = prints(&place, &["restore", "--from", &copy, "--data", &new]).await;
    assert!(said.contains(&new), "{said}");
    let (running, maps) = server(&place, &new, &[]).await;
    let kept = maps.get("kept").await.expect("it is back");
    assert_eq!(kept.data, object("kept").data);
    assert!(maps.get_opt("later").await.expect("the server answers").is_none(), "it was not in the copy");
    running.stop(&place).await;
}

#[tokio::test]
async fn nothing_is_restored_over_a_store_or_from_what_is_none() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let text = |name: &str| data.path().join(name).to_str().expect("it is text").to_owned();
    let (live, copy, half) = (text("live"), text("copy"), text("half"));
    server(&place, &live, &[]).await.0.stop(&place).await;
    prints(&place, &["backup", "--data", &live, "--to", &copy]).await;
    let snapshot = snapshot(Path::new(&copy));
    fs::create_dir(&half).expect("directories can be made");
    for file in fs::read_dir(&copy).expect("the copy has files") {
        let file = file.expect("it can be read").path();
        fs::copy(&file, Path::new(&half).join(file.file_name().expect("a name"))).expect("it can be copied");
    }
    let bytes = fs::read(Path::new(&copy).join(&snapshot)).expect("it can be read");
    fs::write(Path::new(&half).join(&snapshot), &bytes[..bytes.len() / 2]).expect("it can be written");
    let (nowhere, new) = (text("nowhere"), text("new"));

    let over = ["restore", "--from", &copy, "--data", &live];
    refuses(&place, &[], &over, &[&live, "not empty", "nothing is overwritten"]).await;
    refuses(&place, &[], &["backup", "--data", &live, "--to", &copy], &[&copy, "not empty"]).await;
    refuses(&place, &[], &["backup", "--data", &nowhere, "--to", &new], &[&nowhere, "no store"]).await;
    refuses(&place, &[], &["restore", "--from", &nowhere, "--data", &new], &[&nowhere, "no store"]).await;
    let from_half = ["restore", "--from", &half, "--data", &new];
    refuses(&place, &[], &from_half, &[&snapshot, "corrupt at byte", "from a backup"]).await;

    assert!(!Path::new(&new).join("storage").exists(), "nothing was made");
}

/// Returns the name of a copy's snapshot.
fn snapshot(copy: &Path) -> String {
    let names = fs::read_dir(copy).expect("the copy has files");
    let mut names =
        names.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned());
    names.find(|name| name.starts_with("snapshot-")).expect("a copy has a snapshot")
}

#[tokio::test]
async fn a_store_of_another_process_or_another_version_is_named_with_what_to_do() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let live = data.path().to_str().expect("it is text");
    let (running, _) = server(&place, live, &[]).await;
    let (free, lock) = (free_address(), data.path().join("storage/lock"));
    let again = ["apiserver", "--data", live, "--listen", &free];

    let holder = running.process().to_string();
    let words = [lock.to_str().expect("it is text"), &holder, "stop it, or choose another directory"];
    refuses(&place, &[], &again, &words).await;

    running.stop(&place).await;
    let log = data.path().join("storage/log-00000000000000000001");
    let mut bytes = fs::read(&log).expect("it can be read");
    bytes[8] = 9;
    // What version 9 would write: the same checksum over another version.
    bytes[12..16].fill(0);
    let checksum = checksum(&bytes[..64]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&log, &bytes).expect("it can be written");
    let words = [log.to_str().expect("it is text"), "format version 9", "use the version that wrote it"];
    refuses(&place, &[], &again, &words).await;
    assert!(fs::read(&log).expect("it is still there") == bytes, "the file was changed");
}

/// CRC-32C, as the store's files have it.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[tokio::test]
async fn when_to_sync_is_said_in_words_that_are_known() {
    let _turn = turn();
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let arguments = ["apiserver", "--data", directory, "--fsync", "sometimes"];
    let outcome = finish(Place::here().command(BINARY).args(arguments), Duration::from_secs(30)).await;
    assert!(!outcome.success && outcome.stderr.contains("100ms"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let _turn = turn();
    let Some(place) = Place::apart("a full disk").await else { return };
    place.ask("mkdir -p /run/small && mount -t tmpfs -o size=40m tmpfs /run/small").await;
    let listen = ["--listen", "127.0.0.1:6443", "--insecure-listen", "127.0.0.1:8080"];
    let arguments = [&["apiserver", "--data", "/run/small/data"][..], &listen].concat();
    let running = Running::ready(&place, &arguments).await;
    let maps = "http://127.0.0.1:8080/api/v1/namespaces/default/configmaps";
    let create = async |name: usize| {
        let script = format!(
            r#"large=$(head -c 100000 /dev/zero | tr '\0' x)
            echo '{{"metadata":{{"name":"m-{name}"}},"data":{{"value":"'$large'"}}}}' |
            curl -s -o /dev/null -w '%{{http_code}}' -H 'content-type: application/json' -d @- {maps}"#
        );
        place.ask(&script).await
    };
    let list = format!("curl -s -o /dev/null -w '%{{http_code}}' {maps}");
    place.sh("cat /dev/zero > /run/small/filler").await;

    // The log took some room beforehand.
    let mut acknowledged = 0;
    let refusal = loop {
        match create(acknowledged).await.as_str() {
            "201" => acknowledged += 1,
            code => break code.to_owned(),
        }
        assert!(acknowledged < 1000, "the disk is never full");
    };

    assert_eq!(refusal, "507");
    assert_eq!(place.ask(&list).await, "200", "reads go on");
    place.ask("rm /run/small/filler").await;
    assert_eq!(create(acknowledged).await, "201", "writes go on");
    running.kill(&place).await;
    let again = Running::ready(&place, &arguments).await;
    let list: Value = serde_json::from_str(&place.ask(&format!("curl -s {maps}")).await).expect("a list");
    let items = list["items"].as_array().map(Vec::len);
    assert_eq!(items, Some(acknowledged + 1), "what was acknowledged is there, and what was refused is not");
    again.stop(&place).await;
}
