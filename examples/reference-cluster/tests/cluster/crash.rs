//! `kill -9` of the API server while objects are written: what was acknowledged is there afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, Config};
use tokio::task::JoinSet;

use crate::place::Place;
use crate::running::Running;
use crate::{data, eventually, refusals, turn};

/// How often the server is killed.
const ROUNDS: usize = 4;

/// How many write at once.
const WRITERS: usize = 8;

/// How many objects have to be acknowledged in a round before the server is killed.
const BEFORE_THE_KILL: usize = 300;

/// What was acknowledged: the names of objects, and what they hold.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

#[tokio::test]
async fn what_was_acknowledged_outlives_kill_9_under_write_load() {
    let _turn = turn();
    let place = Place::here();
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let acknowledged = Acknowledged::default();
    for round in 0..ROUNDS {
        let (listen, insecure) = (refusals::free_address(), refusals::free_address());
        let arguments = ["apiserver", "--storage", "embedded", "--data", directory];
        let arguments = [&arguments[..], &["--listen", &listen, "--insecure-listen", &insecure]].concat();
        let server = Running::ready(&place, &arguments).await;
        let configmaps = configmaps(&insecure);
        compare(&configmaps, &acknowledged).await;

        let before = acknowledged.lock().expect("nobody panicked").len();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write(configmaps.clone(), format!("r{round}-w{writer}"), acknowledged.clone()));
        }
        eventually("enough is written", Duration::from_secs(60), async || {
            let written = acknowledged.lock().expect("nobody panicked").len() - before;
            if written >= BEFORE_THE_KILL { Ok(()) } else { Err(format!("only {written} objects")) }
        })
        .await;
        server.kill(&place).await;
        writers.join_all().await;
    }
    let (listen, insecure) = (refusals::free_address(), refusals::free_address());
    let arguments = ["apiserver", "--data", directory, "--listen", &listen, "--insecure-listen", &insecure];
    let server = Running::ready(&place, &arguments).await;
    compare(&configmaps(&insecure), &acknowledged).await;
    server.stop(&place).await;
}

/// Returns the config maps of the server that listens there without TLS.
pub(crate) fn configmaps(address: &str) -> Api<ConfigMap> {
    let config = Config::new(format!("http://{address}").parse().expect("it is a URL"));
    Api::namespaced(Client::try_from(config).expect("a client needs nothing more"), "default")
}

/// Creates objects until the server is gone.
async fn write(configmaps: Api<ConfigMap>, prefix: String, acknowledged: Acknowledged) {
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        let value = format!("{name} ").repeat(1 + number % 40);
        let object = ConfigMap {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([("value".to_owned(), value.clone())])),
            ..ConfigMap::default()
        };
        if configmaps.create(&PostParams::default(), &object).await.is_err() {
            return;
        }
        acknowledged.lock().expect("nobody panicked").insert(name, value);
    }
}

/// Everything acknowledged is there, and nothing is half there.
async fn compare(configmaps: &Api<ConfigMap>, acknowledged: &Acknowledged) {
    let list = configmaps.list(&ListParams::default()).await.expect("objects can be listed");
    let found: BTreeMap<String, String> = list
        .into_iter()
        .filter_map(|object| Some((object.metadata.name?, object.data?.remove("value")?)))
        .collect();
    let acknowledged = acknowledged.lock().expect("nobody panicked");
    let lost: Vec<&String> = acknowledged
        .iter()
        .filter(|(name, value)| found.get(*name) != Some(value))
        .map(|(name, _)| name)
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged objects are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    let unasked = found.len().saturating_sub(acknowledged.len());
    assert!(unasked <= ROUNDS * WRITERS, "{unasked} objects more than could be in flight");
}
