//! Secrets at rest: what the store below a server gets to see, and what a server does with what it cannot decrypt.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use quarterdeck_core::storage::{List, Storage, Transaction};
use quarterdeck_registry::storage::{
    EmbeddedStorage, EncryptedStorage, Encryption, EncryptionKey, MemoryStorage, Provider,
};
use quarterdeck_registry::{ApiServer, Body, StartError, User};
use serde_json::{Value, json};
use support::call;
use tower::ServiceExt as _;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const STORED: &str = "/registry/secrets/default/a";
/// base64 of `hunter2-hunter2`.
const PASSWORD: &str = "aHVudGVyMi1odW50ZXIy";

fn key(name: &str, byte: u8) -> Provider {
    Provider::AesGcm(EncryptionKey::new(name, &[byte; 32]).unwrap())
}

fn over(memory: &MemoryStorage, providers: impl IntoIterator<Item = Provider>) -> EncryptedStorage {
    EncryptedStorage::new(memory.clone(), Encryption::of_secrets(providers).unwrap())
}

async fn start(memory: &MemoryStorage, providers: impl IntoIterator<Item = Provider>) -> ApiServer {
    ApiServer::builder(over(memory, providers)).start().await.unwrap()
}

async fn refused(memory: &MemoryStorage, encryption: Encryption) -> String {
    let storage = EncryptedStorage::new(memory.clone(), encryption);
    let error: StartError = ApiServer::builder(storage).start().await.unwrap_err();
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn secret(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"password": PASSWORD}})
}

async fn create(server: &ApiServer, name: &str) {
    let (code, body) = call(server, "POST", SECRETS, secret(name)).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
}

async fn password(server: &ApiServer, name: &str) -> Value {
    call(server, "GET", &format!("{SECRETS}/{name}"), Value::Null).await.1["data"]["password"].take()
}

async fn raw(memory: &MemoryStorage, key: &str) -> Bytes {
    memory.get(&key.into()).await.unwrap().unwrap().value
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn the_store_below_sees_no_secrets_and_clients_see_them_all() {
    let memory = MemoryStorage::new();
    let server = start(&memory, [key("one", 1)]).await;
    let watch = Request::get(format!("{SECRETS}?watch=true")).body(Body::empty()).unwrap();
    let watch = server.as_user(User::admin()).oneshot(watch).await.unwrap();
    let mut events = watch.into_body().into_data_stream();

    create(&server, "a").await;
    let patch = json!({"metadata": {"labels": {"app": "web"}}});
    let (code, _) = call(&server, "PATCH", &format!("{SECRETS}/a"), patch).await;

    assert_eq!(code, StatusCode::OK);
    let all = memory.list(List::prefix("")).await.unwrap().entries;
    assert!(all.len() > 10);
    for entry in &all {
        let is_secret = entry.key.as_str().starts_with("/registry/secrets/");
        assert_eq!(entry.value.starts_with(b"k8s:enc:aesgcm:v1:one:"), is_secret, "{}", entry.key);
        assert!(!has(&entry.value, PASSWORD), "{}", entry.key);
    }
    assert!(!has(&raw(&memory, STORED).await, "web"));
    assert_eq!(password(&server, "a").await, PASSWORD);
    let (_, list) = call(&server, "GET", &format!("{SECRETS}?labelSelector=app=web"), Value::Null).await;
    assert_eq!(list["items"][0]["data"]["password"], PASSWORD);
    let mut seen = Vec::new();
    while !has(&seen, "MODIFIED") {
        let piece = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap();
        seen.extend_from_slice(&piece.unwrap().unwrap());
    }
    assert!(has(&seen, "ADDED") && has(&seen, PASSWORD));
    let (code, _) = call(&server, "DELETE", &format!("{SECRETS}/a"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    assert!(memory.get(&STORED.into()).await.unwrap().is_none());
}

#[tokio::test]
async fn keys_are_rotated_and_the_old_one_goes() {
    let memory = MemoryStorage::new();
    let server = start(&memory, [key("old", 1)]).await;
    create(&server, "a").await;
    create(&server, "b").await;
    server.shutdown().await;

    let server = start(&memory, [key("new", 2), key("old", 1)]).await;
    create(&server, "c").await;
    assert_eq!(password(&server, "a").await, PASSWORD);
    assert!(raw(&memory, STORED).await.starts_with(b"k8s:enc:aesgcm:v1:old:"));
    assert!(raw(&memory, "/registry/secrets/default/c").await.starts_with(b"k8s:enc:aesgcm:v1:new:"));
    let (_, mut object) = call(&server, "GET", &format!("{SECRETS}/a"), Value::Null).await;
    object["metadata"]["labels"] = json!({"app": "web"});
    let (code, _) = call(&server, "PUT", &format!("{SECRETS}/a"), object).await;
    assert_eq!(code, StatusCode::OK);
    assert!(raw(&memory, STORED).await.starts_with(b"k8s:enc:aesgcm:v1:new:"));
    server.shutdown().await;

    let storage = over(&memory, [key("new", 2), key("old", 1)]);
    assert_eq!(storage.rewrite().await.unwrap(), 1, "b is left");

    let server = start(&memory, [key("new", 2)]).await;
    for name in ["a", "b", "c"] {
        assert_eq!(password(&server, name).await, PASSWORD);
    }
}

#[tokio::test]
async fn values_are_rewritten_under_a_server_and_clients_go_on() {
    let memory = MemoryStorage::new();
    let server = start(&memory, [Provider::Identity]).await;
    create(&server, "a").await;
    assert!(has(&raw(&memory, STORED).await, PASSWORD));
    server.shutdown().await;
    let storage = over(&memory, [key("one", 1), Provider::Identity]);
    let server = ApiServer::builder(storage.clone()).start().await.unwrap();
    let (_, before) = call(&server, "GET", &format!("{SECRETS}/a"), Value::Null).await;

    assert_eq!(storage.rewrite().await.unwrap(), 1);

    assert!(raw(&memory, STORED).await.starts_with(b"k8s:enc:aesgcm:v1:one:"));
    let (_, mut after) = call(&server, "GET", &format!("{SECRETS}/a"), Value::Null).await;
    assert_ne!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_server_does_not_start_over_secrets_that_it_cannot_read() {
    let memory = MemoryStorage::new();
    create(&start(&memory, [key("one", 1)]).await, "a").await;
    let of_secrets = |providers: Vec<Provider>| Encryption::of_secrets(providers).unwrap();

    let missing = refused(&memory, of_secrets(vec![key("two", 2), Provider::Identity])).await;
    assert!(missing.contains(STORED) && missing.contains("the key \"one\", which"), "{missing}");
    assert!(missing.ends_with("add that key behind the first one"), "{missing}");
    let wrong = refused(&memory, of_secrets(vec![key("one", 2)])).await;
    assert!(
        wrong.contains("the key \"one\" does not open it: give the key the secret that it had"),
        "{wrong}"
    );
    let lost = refused(&memory, Encryption::none()).await;
    assert!(lost.contains("the key \"one\", which the encryption configuration does not have"), "{lost}");
}

#[tokio::test]
async fn plain_secrets_from_before_are_read_with_identity_only() {
    let memory = MemoryStorage::new();
    let server = ApiServer::builder(memory.clone()).start().await.unwrap();
    create(&server, "a").await;
    server.shutdown().await;

    let plain = refused(&memory, Encryption::of_secrets([key("one", 1)]).unwrap()).await;
    assert!(plain.contains(STORED) && plain.contains("add the provider \"identity: {}\""), "{plain}");

    let server = start(&memory, [key("one", 1), Provider::Identity]).await;
    assert_eq!(password(&server, "a").await, PASSWORD);
}

#[tokio::test]
async fn a_value_that_was_moved_or_changed_is_not_served() {
    let memory = MemoryStorage::new();
    let server = start(&memory, [key("one", 1)]).await;
    create(&server, "a").await;
    server.shutdown().await;
    let (clean, sealed) = (memory.fork(), raw(&memory, STORED).await);
    let flipped = |at: usize| {
        let mut value = sealed.to_vec();
        value[at] ^= 1;
        value
    };
    let header = "k8s:enc:aesgcm:v1:one:".len();
    let bad = [
        ("/registry/secrets/default/moved", sealed.to_vec()),
        ("/registry/secrets/other/a", sealed.to_vec()),
        (STORED, flipped(header)),
        (STORED, flipped(header + 12)),
        (STORED, flipped(sealed.len() - 1)),
        (STORED, sealed[..sealed.len() - 1].to_vec()),
    ];

    for (path, value) in bad {
        let memory = clean.fork();
        memory.commit(Transaction::new().put(path, value)).await.unwrap();
        let why = refused(&memory, Encryption::of_secrets([key("one", 1)]).unwrap()).await;
        assert!(why.contains(path) && why.contains("the value was changed or moved"), "{why}");
    }
}

#[tokio::test]
async fn a_value_that_is_changed_under_a_server_is_an_error_to_who_writes_it() {
    let memory = MemoryStorage::new();
    let server = start(&memory, [key("one", 1)]).await;
    create(&server, "a").await;
    let mut value = raw(&memory, STORED).await.to_vec();
    *value.last_mut().unwrap() ^= 1;
    memory.commit(Transaction::new().put(STORED, value)).await.unwrap();

    let (code, status) = call(&server, "PATCH", &format!("{SECRETS}/a"), json!({"type": "Opaque"})).await;

    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{status}");
    let expected = format!("Internal error occurred: the value at {STORED} cannot be read");
    assert_eq!(status["message"], expected);
}

#[tokio::test]
async fn no_file_of_the_embedded_store_holds_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let below = EmbeddedStorage::open(directory.path()).unwrap();
    let storage = EncryptedStorage::new(below, Encryption::of_secrets([key("one", 1)]).unwrap());
    let server = ApiServer::builder(storage).start().await.unwrap();
    let map = json!({"metadata": {"name": "m"}, "data": {"text": "to-be-found"}});

    create(&server, "a").await;
    call(&server, "POST", "/api/v1/namespaces/default/configmaps", map).await;
    server.shutdown().await;
    drop(server);

    let files = std::fs::read_dir(directory.path()).unwrap();
    let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(has(&bytes, "to-be-found") && has(&bytes, "k8s:enc:aesgcm:v1:one:"));
    assert!(!has(&bytes, PASSWORD) && !has(&bytes, "hunter2"));
}
