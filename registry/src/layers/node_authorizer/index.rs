//! Which node's pods refer to what, kept up to date event by event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::references;
use crate::cache::{Cache, EventKind, Log, Position, Read, World};
use crate::object::Object;

/// How many events are read at a time.
const BATCH: usize = 1024;

/// What a pod, or what it refers to, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Secret,
    ConfigMap,
    Claim,
    Account,
    /// A persistent volume.
    Volume,
    /// The attachment of a volume to a node.
    Attachment,
    Pod,
}

/// What something is called: its namespace, which may be empty, and its name.
type Place = (Box<str>, Box<str>);

/// What is known of pods that are bound to nodes, of persistent volumes and of their attachments.
#[derive(Debug, Default)]
pub(super) struct Index {
    pods: BTreeMap<Place, Pod>,
    /// To what how many pods of which node refer.
    referrers: BTreeMap<(Kind, Place), BTreeMap<Arc<str>, usize>>,
    volumes: BTreeMap<Box<str>, Volume>,
    /// The volumes that need a secret.
    needing: BTreeMap<Place, BTreeSet<Box<str>>>,
    attachments: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Debug)]
struct Pod {
    uid: Box<str>,
    node: Arc<str>,
    refers_to: BTreeSet<(Kind, Place)>,
}

#[derive(Debug)]
struct Volume {
    claim: Place,
    secrets: Vec<Place>,
}

/// Keeps an index up to date.
#[derive(Debug)]
pub(super) struct Follower {
    cache: Cache,
    index: Index,
    /// What is followed, and up to where; empty while nothing is known.
    followed: Vec<(Followed, Arc<Log>, Position)>,
}

#[derive(Debug, Clone, Copy)]
enum Followed {
    Pods,
    Volumes,
    Attachments,
}

impl Followed {
    const ALL: [Self; 3] = [Self::Pods, Self::Volumes, Self::Attachments];

    fn prefix(self) -> &'static str {
        match self {
            Self::Pods => "/registry/pods/",
            Self::Volumes => "/registry/persistentvolumes/",
            Self::Attachments => "/registry/volumeattachments/",
        }
    }
}

impl Follower {
    pub(super) fn new(cache: &Cache) -> Self {
        Self { cache: cache.clone(), index: Index::default(), followed: Vec::new() }
    }

    /// Returns the index as of now: events are in the logs before anybody can see what they changed.
    pub(super) fn index(&mut self) -> &Index {
        if self.followed.is_empty() || !self.catch_up() {
            self.read();
        }
        &self.index
    }

    /// Reads what happened since the last time. Returns false if some of it is not known any more.
    fn catch_up(&mut self) -> bool {
        for (followed, log, position) in &mut self.followed {
            while !log.is_read_up_to(*position) {
                let Read::Events(events, next) = log.next(*position, BATCH, usize::MAX) else { return false };
                for event in &events {
                    let is_there = event.kind != EventKind::Deleted;
                    self.index.apply(*followed, &event.object, is_there);
                }
                *position = next;
            }
        }
        true
    }

    /// Reads all there is. While the cache is between two states, nothing is known: who is refused asks again.
    fn read(&mut self) {
        self.index = Index::default();
        self.followed.clear();
        let world = self.cache.world();
        for followed in Followed::ALL {
            let Some(log) = self.cache.log_of(followed.prefix()) else { continue };
            let Ok(position) = log.after(world.revision) else {
                self.followed.clear();
                return;
            };
            self.followed.push((followed, log, position));
        }
        self.index = Index::of(&world);
        self.catch_up();
    }
}

impl Index {
    fn of(world: &World) -> Self {
        let mut index = Self::default();
        for followed in Followed::ALL {
            for (_, object) in world.range(followed.prefix(), None) {
                index.apply(followed, object, true);
            }
        }
        index
    }

    /// Takes notice of an object, or of its end.
    fn apply(&mut self, followed: Followed, object: &Object, is_there: bool) {
        let header = &object.header;
        match followed {
            Followed::Pods => self.pod(object, is_there),
            Followed::Volumes => {
                self.forget_volume(&header.name);
                if is_there {
                    self.volume(&header.name, &object.value());
                }
            }
            Followed::Attachments if is_there => {
                let node = object.value()["spec"]["nodeName"].as_str().unwrap_or_default().into();
                self.attachments.insert(header.name.clone(), node);
            }
            Followed::Attachments => {
                self.attachments.remove(&header.name);
            }
        }
    }

    fn pod(&mut self, object: &Object, is_there: bool) {
        let header = &object.header;
        let place: Place = (header.namespace.clone(), header.name.clone());
        let node = header.field("spec.nodeName");
        let is_known =
            self.pods.get(&place).is_some_and(|known| known.uid == header.uid && *known.node == *node);
        // What a pod refers to does not change once it is bound.
        if is_there && is_known {
            return;
        }
        self.forget_pod(&place);
        if is_there && !node.is_empty() {
            let node: Arc<str> = node.into();
            let refers_to = references_of(&object.value(), &header.namespace);
            for to in &refers_to {
                *self.referrers.entry(to.clone()).or_default().entry(node.clone()).or_default() += 1;
            }
            self.pods.insert(place, Pod { uid: header.uid.clone(), node, refers_to });
        }
    }

    fn forget_pod(&mut self, place: &Place) {
        let Some(pod) = self.pods.remove(place) else { return };
        for to in pod.refers_to {
            let Some(nodes) = self.referrers.get_mut(&to) else { continue };
            if let Some(count) = nodes.get_mut(&pod.node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&pod.node);
                }
            }
            if nodes.is_empty() {
                self.referrers.remove(&to);
            }
        }
    }

    fn volume(&mut self, name: &str, volume: &Value) {
        let text = |field: &str| volume["spec"]["claimRef"][field].as_str().unwrap_or_default();
        let claim: Place = (text("namespace").into(), text("name").into());
        if claim.1.is_empty() {
            return;
        }
        let secrets = references::volume_secrets(volume);
        let secrets: Vec<Place> =
            secrets.into_iter().map(|(namespace, name)| (namespace.into(), name.into())).collect();
        for secret in &secrets {
            self.needing.entry(secret.clone()).or_default().insert(name.into());
        }
        self.volumes.insert(name.into(), Volume { claim, secrets });
    }

    fn forget_volume(&mut self, name: &str) {
        let Some(volume) = self.volumes.remove(name) else { return };
        for secret in volume.secrets {
            let Some(needing) = self.needing.get_mut(&secret) else { continue };
            needing.remove(name);
            if needing.is_empty() {
                self.needing.remove(&secret);
            }
        }
    }

    /// Returns whether a node has to do with something: it is its pod, or its pods refer to it.
    pub(super) fn is_related(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let place: Place = (namespace.into(), name.into());
        match kind {
            Kind::Pod => self.pods.get(&place).is_some_and(|pod| *pod.node == *node),
            Kind::Attachment => self.attachments.get(name).is_some_and(|of| **of == *node),
            Kind::Volume => self.is_volume_of(name, node),
            Kind::Secret => {
                let volumes = self.needing.get(&place).into_iter().flatten();
                self.refers(node, kind, place.clone())
                    || volumes.into_iter().any(|volume| self.is_volume_of(volume, node))
            }
            Kind::ConfigMap | Kind::Claim | Kind::Account => self.refers(node, kind, place),
        }
    }

    fn refers(&self, node: &str, kind: Kind, place: Place) -> bool {
        self.referrers.get(&(kind, place)).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn is_volume_of(&self, name: &str, node: &str) -> bool {
        let volume = self.volumes.get(name);
        volume.is_some_and(|volume| self.refers(node, Kind::Claim, volume.claim.clone()))
    }
}

/// What a pod refers to. One that its agent made refers to nothing: no agent gives itself access to anything.
fn references_of(pod: &Value, namespace: &str) -> BTreeSet<(Kind, Place)> {
    if references::is_mirror(pod) {
        return BTreeSet::new();
    }
    let account = pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    let at = |name: &str| -> Place { (namespace.into(), name.into()) };
    let secrets = references::secrets(pod).map(|name| (Kind::Secret, at(name)));
    let maps = references::config_maps(pod).map(|name| (Kind::ConfigMap, at(name)));
    let claims = references::claims(pod).map(|name| (Kind::Claim, at(&name)));
    let accounts = account.into_iter().map(|name| (Kind::Account, at(name)));
    secrets.chain(maps).chain(claims).chain(accounts).collect()
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::component::{Stop, StopSignal};
    use quarterdeck_core::storage::{Storage, Transaction};
    use serde_json::json;

    use super::*;
    use crate::cache::Feed;
    use crate::registry::Resources;
    use crate::storage::MemoryStorage;

    /// A store that a cache follows, and a follower of that.
    struct Bench {
        storage: Arc<MemoryStorage>,
        cache: Cache,
        follower: Follower,
        _signal: StopSignal,
    }

    impl Bench {
        async fn new() -> Self {
            let storage = Arc::new(MemoryStorage::new());
            let cache = Cache::new(Resources::new(crate::resources::builtin()));
            let feed = Feed::start(cache.clone(), storage.clone()).await.unwrap();
            let (signal, stop) = Stop::channel();
            tokio::spawn(feed.run(stop));
            Self { storage, follower: Follower::new(&cache), cache, _signal: signal }
        }

        async fn commit(&self, transaction: Transaction) {
            let revision = self.storage.commit(transaction).await.unwrap();
            self.cache.not_older_than(&*self.storage, revision).await.unwrap();
        }

        async fn put(&self, key: &str, object: Value) {
            self.commit(Transaction::new().put(format!("/registry/{key}"), object.to_string())).await;
        }

        fn is_related(&mut self, kind: Kind, namespace: &str, name: &str) -> bool {
            self.follower.index().is_related("n", kind, namespace, name)
        }
    }

    fn pod(uid: &str, node: &str, volume: Value) -> Value {
        json!({
            "metadata": {"name": "p", "namespace": "a", "uid": uid}, "spec": {"nodeName": node, "volumes": [volume]},
        })
    }

    #[tokio::test]
    async fn a_pod_refers_to_what_it_does_from_when_it_is_bound_until_it_is_gone() {
        let mut bench = Bench::new().await;
        let secret = || json!({"name": "v", "secret": {"secretName": "s"}});
        bench.put("pods/a/p", pod("1", "", secret())).await;
        assert!(!bench.is_related(Kind::Secret, "a", "s"));

        bench.put("pods/a/p", pod("1", "n", secret())).await;
        assert!(bench.is_related(Kind::Secret, "a", "s") && bench.is_related(Kind::Pod, "a", "p"));
        assert!(!bench.is_related(Kind::Secret, "b", "s") && !bench.is_related(Kind::ConfigMap, "a", "s"));

        // Another pod of the same name.
        bench.put("pods/a/p", pod("2", "n", json!({"name": "v", "configMap": {"name": "c"}}))).await;
        assert!(!bench.is_related(Kind::Secret, "a", "s") && bench.is_related(Kind::ConfigMap, "a", "c"));

        bench.commit(Transaction::new().delete("/registry/pods/a/p")).await;
        assert!(!bench.is_related(Kind::ConfigMap, "a", "c") && !bench.is_related(Kind::Pod, "a", "p"));
        assert!(bench.follower.index.referrers.is_empty());
    }

    #[tokio::test]
    async fn a_mirror_pod_refers_to_nothing() {
        let mut bench = Bench::new().await;
        let mut mirror = pod("1", "n", json!({"name": "v", "secret": {"secretName": "s"}}));
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "h"});
        bench.put("pods/a/p", mirror).await;

        assert!(bench.is_related(Kind::Pod, "a", "p") && !bench.is_related(Kind::Secret, "a", "s"));
    }

    #[tokio::test]
    async fn a_volume_is_of_the_node_whose_pod_has_its_claim() {
        let mut bench = Bench::new().await;
        bench.put("pods/a/p", pod("1", "n", json!({"name": "v", "ephemeral": {}}))).await;
        let volume = |claim: &str| {
            json!({"metadata": {"name": "pv"}, "spec": {
                "claimRef": {"namespace": "a", "name": claim}, "rbd": {"secretRef": {"name": "s"}},
            }})
        };

        bench.put("persistentvolumes/pv", volume("p-v")).await;
        assert!(bench.is_related(Kind::Volume, "", "pv") && bench.is_related(Kind::Secret, "a", "s"));
        assert!(bench.is_related(Kind::Claim, "a", "p-v"));

        bench.put("persistentvolumes/pv", volume("other")).await;
        assert!(!bench.is_related(Kind::Volume, "", "pv") && !bench.is_related(Kind::Secret, "a", "s"));

        bench
            .put("volumeattachments/va", json!({"metadata": {"name": "va"}, "spec": {"nodeName": "n"}}))
            .await;
        assert!(bench.is_related(Kind::Attachment, "", "va"));
        bench
            .put("volumeattachments/va", json!({"metadata": {"name": "va"}, "spec": {"nodeName": "m"}}))
            .await;
        assert!(!bench.is_related(Kind::Attachment, "", "va"));
    }

    #[tokio::test]
    async fn what_was_forgotten_meanwhile_is_read_again() {
        let mut bench = Bench::new().await;
        assert!(!bench.is_related(Kind::Secret, "a", "s"));
        bench.put("pods/a/p", pod("1", "n", json!({"name": "v", "secret": {"secretName": "s"}}))).await;
        bench.cache.forget(bench.storage.revision().await.unwrap());

        assert!(bench.is_related(Kind::Secret, "a", "s"));
    }
}
