use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, VolumeMount};
use serde_json::json;

use super::writer::{Content, File};
use super::*;

fn content(files: &[(&str, &str)]) -> Content {
    let file = |text: &str| File { data: text.as_bytes().to_vec(), mode: 0o640 };
    files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn what_a_volume_holds_changes_all_at_once() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path();
    let read = |name: &str| fs::read_to_string(place.join(name)).ok();

    writer::write(place, &content(&[("a", "1"), ("dir/b", "2"), ("gone", "3")]), None, at(1)).unwrap();
    let first = fs::read_link(place.join("..data")).unwrap();
    writer::write(place, &content(&[("a", "1"), ("dir/b", "2"), ("gone", "3")]), None, at(2)).unwrap();
    let same = fs::read_link(place.join("..data")).unwrap();
    writer::write(place, &content(&[("a", "changed"), ("dir/b", "2")]), None, at(2)).unwrap();
    let second = fs::read_link(place.join("..data")).unwrap();

    assert_eq!(first, same, "nothing is written when nothing changed");
    assert_ne!(first, second);
    assert_eq!(
        (read("a").as_deref(), read("dir/b").as_deref(), read("gone")),
        (Some("changed"), Some("2"), None)
    );
    assert!(!place.join(first).exists(), "the old files are gone");
    assert_eq!(fs::metadata(place.join("a")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(place.join("a")).unwrap().to_str(), Some("..data/a"));
}

#[test]
fn paths_that_lead_out_of_a_volume_are_refused() {
    let root = tempfile::tempdir().unwrap();

    for path in ["../a", "/a", "..data", "a/../../b", ""] {
        assert!(writer::write(root.path(), &content(&[(path, "x")]), None, at(1)).is_err(), "{path}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_sub_path_is_made_and_never_leads_out_of_the_volume() {
    let root = tempfile::tempdir().unwrap();
    let volume = root.path().join("volume");
    fs::create_dir(&volume).unwrap();
    std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
    let made: BTreeMap<_, _> = [("v".to_owned(), Made { path: volume.clone(), is_read_only: false })].into();
    let env = [("POD".to_owned(), "web-1".to_owned())].into();
    let mount = |field: &str, path: &str| {
        let mount = json!({"name": "v", "mountPath": "/data", field: path});
        let mount: VolumeMount = serde_json::from_value(mount).unwrap();
        mounts::mount(&made, &mount, &env, true)
    };

    let plain = mount("subPath", "logs/today").unwrap();
    let expanded = mount("subPathExpr", "logs/$(POD)").unwrap();

    assert_eq!(plain.host_path, fs::canonicalize(&volume).unwrap().join("logs/today"));
    assert!(plain.host_path.is_dir());
    assert!(expanded.host_path.ends_with("logs/web-1"));
    assert!(mount("subPath", "../x").is_err());
    assert!(mount("subPath", "out/passwd").unwrap_err().contains("leads out"));
    assert!(mount("subPathExpr", "$(UNKNOWN)").unwrap_err().contains("UNKNOWN"));
}

#[test]
fn an_empty_dir_is_for_everybody_and_stays() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("pods/uid/volumes/kind/scratch");
    let source = EmptyDirVolumeSource::default();

    directories::make_empty_dir(&place, &source, None).unwrap();
    fs::write(place.join("file"), "x").unwrap();
    directories::make_empty_dir(&place, &source, None).unwrap();

    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o7777, 0o777);
    assert!(place.join("file").exists());
    clear(&root.path().join("pods/uid"));
    assert!(!root.path().join("pods/uid").exists());
}

#[test]
fn a_host_path_is_what_its_type_says() {
    let root = tempfile::tempdir().unwrap();
    let check = |name: &str, kind: &str| {
        let path = root.path().join(name);
        directories::check_host_path(&serde_json::from_value(json!({"path": path, "type": kind})).unwrap())
    };

    assert!(check("absent", "Directory").unwrap_err().contains("is not a directory"));
    assert!(check("dir", "DirectoryOrCreate").is_ok());
    assert!(check("file", "FileOrCreate").is_ok());
    assert!(check("file", "File").is_ok());
    assert!(check("file", "Socket").unwrap_err().contains("is not a socket file"));
    assert!(check("../x", "").unwrap_err().contains("\"..\""));
}
