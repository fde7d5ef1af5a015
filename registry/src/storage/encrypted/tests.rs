//! The contract suite on an encrypting store, what is encrypted and what not, and which configurations are refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use quarterdeck_core::storage::Expect;
use quarterdeck_core::testing::storage::{FaultPlan, FaultyStorage, check_history};

use super::*;
use crate::storage::MemoryStorage;

fn key(name: &str, byte: u8) -> Provider {
    Provider::AesGcm(EncryptionKey::new(name, &[byte; 32]).unwrap())
}

fn over(memory: &MemoryStorage, providers: impl IntoIterator<Item = Provider>) -> EncryptedStorage {
    EncryptedStorage::new(memory.clone(), Encryption::of_secrets(providers).unwrap())
}

fn put(key: &str, value: impl Into<Bytes>) -> Transaction {
    Transaction::new().put(key, value)
}

async fn raw(memory: &MemoryStorage, key: &str) -> Bytes {
    memory.get(&key.into()).await.unwrap().unwrap().value
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("a watch goes on or ends")
}

fn cause(error: StorageError) -> DecryptError {
    match error {
        StorageError::Unreadable { source, .. } => *source.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

quarterdeck_core::storage_suite!(of_all, async || {
    let encryption = Encryption::none().rule([""], [key("a", 1)]).unwrap();
    EncryptedStorage::new(MemoryStorage::new(), encryption)
});
quarterdeck_core::storage_suite!(of_secrets, async || over(&MemoryStorage::new(), [key("a", 1)]));

#[tokio::test(start_paused = true)]
async fn histories_over_a_store_that_fails_at_times_are_linearizable() {
    for seed in 0..10 {
        let below = FaultyStorage::new(MemoryStorage::new(), FaultPlan::rough(), seed);
        let encryption = Encryption::none().rule([""], [key("a", 1)]).unwrap();
        check_history(EncryptedStorage::new(below.clone(), encryption), seed).await;
        assert!(below.faults() > 20, "only {} faults", below.faults());
    }
}

#[tokio::test]
async fn only_what_has_the_prefix_is_encrypted_and_each_time_anew() {
    let memory = MemoryStorage::new();
    let store = over(&memory, [key("a", 1)]);
    let both = put("/registry/secrets/ns/a", "hidden").put("/registry/configmaps/ns/a", "shown");
    store.commit(both).await.unwrap();
    let first = raw(&memory, "/registry/secrets/ns/a").await;

    store.commit(put("/registry/secrets/ns/a", "hidden")).await.unwrap();

    let second = raw(&memory, "/registry/secrets/ns/a").await;
    assert!(first.starts_with(b"k8s:enc:aesgcm:v1:a:") && second.starts_with(b"k8s:enc:aesgcm:v1:a:"));
    assert_ne!(first, second);
    assert!(!first.windows(6).any(|part| part == b"hidden"));
    assert_eq!(first.len(), "k8s:enc:aesgcm:v1:a:".len() + 12 + "hidden".len() + 16);
    assert_eq!(raw(&memory, "/registry/configmaps/ns/a").await, "shown");
    let page = store.list(List::prefix("/registry/")).await.unwrap();
    let values: Vec<_> = page.entries.iter().map(|entry| entry.value.clone()).collect();
    assert_eq!(values, ["shown", "hidden"]);
}

#[tokio::test]
async fn a_watch_gives_out_the_bytes_that_were_committed_once() {
    let store = over(&MemoryStorage::new(), [key("a", 1)]);
    let mut first = store.watch("/registry/", Revision(0)).await.unwrap();
    let mut second = store.watch("/registry/", Revision(0)).await.unwrap();
    let value = Bytes::from(b"hidden".to_vec());

    store.commit(put("/registry/secrets/ns/a", value.clone())).await.unwrap();
    store.commit(put("/registry/secrets/ns/b", vec![b'x'; 40 << 10])).await.unwrap();

    let seen =
        async |watch: &mut Commits| match within(watch.next()).await.unwrap().unwrap().changes.remove(0) {
            Change::Put { entry, .. } => entry.value,
            other => panic!("{other:?}"),
        };
    assert_eq!(seen(&mut first).await.as_ptr(), value.as_ptr());
    let other = seen(&mut second).await;
    assert_eq!(other, value);
    assert_ne!(other.as_ptr(), value.as_ptr());
    assert_eq!(seen(&mut first).await.len(), 40 << 10, "what is too large to keep is decrypted");
    assert_eq!(store.codec.recent.len(), 0);
}

#[tokio::test]
async fn what_is_not_committed_is_not_kept_and_what_nobody_sees_makes_room() {
    let store = over(&MemoryStorage::new(), [key("a", 1)]);
    store.commit(put("/registry/secrets/ns/a", "1")).await.unwrap();

    let refused = store
        .commit(put("/registry/secrets/ns/a", "2").expect("/registry/secrets/ns/a", Expect::Absent))
        .await;

    let Err(StorageError::Conflict { found: Some(found), .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(found.value, "1");
    assert_eq!(store.codec.recent.len(), 1);
    for index in 0..300 {
        store.commit(put(&format!("/registry/secrets/ns/{index}"), "x")).await.unwrap();
    }
    assert_eq!(store.codec.recent.len(), 256);
}

#[tokio::test]
async fn a_value_that_looks_encrypted_is_no_value() {
    let store = over(&MemoryStorage::new(), [key("a", 1), Provider::Identity]);

    for path in ["/registry/secrets/ns/a", "/registry/configmaps/ns/a"] {
        let refused = store.commit(put(path, "k8s:enc:aesgcm:v1:a:")).await;
        assert!(matches!(refused, Err(StorageError::Invalid(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_decrypted_says_why_and_ends_a_watch() {
    let memory = MemoryStorage::new();
    let path = "/registry/secrets/ns/a";
    over(&memory, [key("old", 1)]).commit(put(path, "hidden")).await.unwrap();
    let sealed = raw(&memory, path).await;
    let cases: [(&[u8], _); 6] = [
        (b"k8s:enc:secretbox:v1:a:...", "the provider \"secretbox\""),
        (b"k8s:enc:aesgcm:v1:a", "cut off"),
        (b"k8s:enc:aesgcm:v1:a:0123456789abcdef", "cut off"),
        (b"plain", "not encrypted"),
        (&sealed[..], "the key \"old\", which"),
        (b"k8s:enc:aesgcm:v1:new:0123456789ab0123456789abcdefXX", "the key \"new\" does not open it"),
    ];
    let store = over(&memory, [key("new", 2)]);

    for (value, why) in cases {
        let from = memory.revision().await.unwrap();
        let mut watch = store.watch("", from).await.unwrap();
        memory.commit(put(path, value.to_vec())).await.unwrap();

        for error in [
            store.get(&path.into()).await.unwrap_err(),
            store.list(List::prefix("")).await.unwrap_err(),
            store.commit(Transaction::new().expect(path, Expect::Absent)).await.unwrap_err(),
            within(watch.next()).await.unwrap().unwrap_err(),
        ] {
            assert!(error.to_string().contains(path), "{error}");
            let cause = cause(error).to_string();
            assert!(cause.contains(why), "{cause}");
        }
        assert!(within(watch.next()).await.is_none());
    }
    memory.commit(put(path, sealed)).await.unwrap();
    assert!(cause(store.rewrite().await.unwrap_err()).to_string().contains("the key \"old\", which"));
    assert!(store.get(&"/registry/secrets/ns/b".into()).await.unwrap().is_none());
}

#[tokio::test]
async fn rewriting_brings_pages_of_values_to_the_first_provider() {
    let memory = MemoryStorage::new();
    let old = over(&memory, [key("old", 1)]);
    for index in 0..250 {
        old.commit(put(&format!("/registry/secrets/ns/{index}"), "hidden")).await.unwrap();
    }
    memory.commit(put("/registry/secrets/ns/plain", "hidden")).await.unwrap();
    memory.commit(put("/registry/configmaps/ns/a", "shown")).await.unwrap();

    let new = over(&memory, [key("new", 2), key("old", 1), Provider::Identity]);
    assert_eq!(new.rewrite().await.unwrap(), 251);
    assert_eq!(new.rewrite().await.unwrap(), 0);

    let page = over(&memory, [key("new", 2)]).list(List::prefix("/registry/secrets/")).await.unwrap();
    assert_eq!(page.entries.len(), 251);
    assert!(page.entries.iter().all(|entry| entry.value == "hidden"));
    let plain = over(&memory, [Provider::Identity, key("new", 2)]);
    assert_eq!(plain.rewrite().await.unwrap(), 251);
    assert_eq!(raw(&memory, "/registry/secrets/ns/plain").await, "hidden");
}

#[tokio::test]
async fn the_form_is_that_of_kubernetes_own_provider() {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let memory = MemoryStorage::new();
    let store = over(&memory, [key("k", 9)]);
    store.commit(put("/registry/secrets/a", "v")).await.unwrap();
    let sealed = raw(&memory, "/registry/secrets/a").await;

    let (nonce, rest) = sealed["k8s:enc:aesgcm:v1:k:".len()..].split_at(12);

    let opening = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[9; 32]).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    let mut rest = rest.to_vec();
    assert_eq!(opening.open_in_place(nonce, Aad::from(b"/registry/secrets/a"), &mut rest).unwrap(), b"v");
}

const GOOD: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHMzMjE=";

fn configuration(resources: &str, providers: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: {resources}\n  \
         providers: {providers}\n"
    )
}

fn refusal(text: &str) -> String {
    let error = Encryption::from_yaml(text).unwrap_err().to_string();
    assert!(!error.contains('\n'), "one line: {error}");
    assert!(!error.contains(&GOOD[..12]), "no secrets: {error}");
    error
}

#[test]
fn a_configuration_names_resources_and_providers() {
    let providers = format!(
        "[{{aesgcm: {{keys: [{{name: one, secret: {GOOD}}}, {{name: two, secret: AAAAAAAAAAAAAAAAAAAAAA==}}]}}}}, {{identity: {{}}}}]"
    );
    let text = configuration("[secrets, services, deployments.apps, pandas.bears.example]", &providers);

    let encryption = Encryption::from_yaml(&text).unwrap();

    let prefixes: Vec<_> = encryption.prefixes().collect();
    let expected = [
        "/registry/secrets/",
        "/registry/services/specs/",
        "/registry/deployments/",
        "/registry/bears.example/pandas/",
    ];
    assert_eq!(prefixes, expected);
    let shown = format!("{encryption:?}");
    assert!(shown.contains("one") && shown.contains("two") && shown.contains("Identity"), "{shown}");
    assert!(!shown.contains("115, 101"), "{shown}");
}

#[test]
fn a_configuration_that_cannot_be_followed_is_refused_in_one_line() {
    let keys = |keys: &str| configuration("[secrets]", &format!("[{{aesgcm: {{keys: [{keys}]}}}}]"));
    let good = format!("{{name: a, secret: {GOOD}}}");
    let unsupported = |name: &str| configuration("[secrets]", &format!("[{{{name}: {{keys: []}}}}]"));
    let entry = |resources: &str| configuration(resources, "[{identity: {}}]");
    let cases = [
        ("kind: Pod\napiVersion: v1\n".into(), "and is Pod of v1"),
        (
            "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\n".into(),
            "has no resources",
        ),
        ("kind: [\n".into(), "not well-formed at line"),
        (entry("[secrets]") + "more: true\n", "not well-formed at line"),
        (configuration("[secrets]", &format!("[{{aesgcm: {GOOD}}}]")), "not well-formed at line 5"),
        (keys(&format!("{{name: a, secret: [{GOOD}]}}")), "not well-formed at line 5"),
        (entry("[]"), "names no resources"),
        (entry("[secret]"), "there is no resource \"secret\""),
        (entry("[deployments.extensions/v1]"), "there is no resource"),
        (entry("['*.*']"), "is a pattern, which is not supported"),
        (entry("[secrets, secrets]"), "\"secrets\" is named twice"),
        (configuration("[secrets]", "[]"), "there are no providers"),
        (configuration("[secrets]", "[{}]"), "each provider has to be one of"),
        (unsupported("aescbc"), "the provider aescbc is not supported: use aesgcm"),
        (unsupported("secretbox"), "the provider secretbox is not supported"),
        (unsupported("kms"), "the provider kms is not supported"),
        (keys(""), "has no keys"),
        (keys("{name: a, secret: '%%%'}"), "the secret of the key \"a\" is not written in base64"),
        (keys("{name: a, secret: c2hvcnQ=}"), "the secret of the key \"a\" has 5 bytes: it must have 32"),
        (keys(&good.replace("name: a", "name: 'a:b'")), "must not contain \":\""),
        (keys(&good.replace("name: a", "name: ''")), "must not be empty"),
        (keys(&format!("{good}, {good}")), "two keys are named \"a\""),
    ];

    for (text, why) in cases {
        let refusal = refusal(&text);
        assert!(refusal.contains(why), "{why}: {refusal}");
    }
}

#[test]
fn a_file_is_bounded_and_has_to_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("encryption.yaml");

    assert!(matches!(Encryption::from_file(&path), Err(EncryptionError::Io(_))));
    fs::write(&path, "#".repeat(1 << 20)).unwrap();
    assert!(matches!(Encryption::from_file(&path), Err(EncryptionError::Syntax { .. })));
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(Encryption::from_file(&path), Err(EncryptionError::TooLarge)));
    fs::write(&path, configuration("[secrets]", "[{identity: {}}]")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Encryption::from_file(&path).is_ok());
}
