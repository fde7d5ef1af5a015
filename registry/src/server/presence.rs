//! Which servers of a cluster live: the endpoints of the service `kubernetes` name all of them.
//!
//! Each server has a key of its own in the store and writes it again every ten seconds. One that was not written for 15
//! seconds is of a server that is gone. These are upstream's times, and its prefix of keys; but no clock of another is believed
//! and no store has to forget by itself: who looks notes when it saw a key change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use quarterdeck_core::component::Stop;
use quarterdeck_core::storage::{Expect, Key, List, Revision, StorageError, Transaction};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bootstrap::put;
use crate::registry::Registry;
use crate::status::Result;
use crate::user::User;
use crate::write::{DeleteOptions, Target};

/// What the keys of servers begin with.
const PREFIX: &str = "/registry/masterleases/";
/// How often a server looks at all keys. It writes its own every second time.
const LOOK: Duration = Duration::from_secs(5);
/// For how long a key is good that is not written again.
const LIFE: Duration = Duration::from_secs(15);
/// How long a server that stops tries to say so.
const FAREWELL: Duration = Duration::from_secs(5);
/// The name of the service, and of what names its endpoints.
const NAME: &str = "kubernetes";
const GROUP: &str = "discovery.k8s.io";
const SLICE: &str = "EndpointSlice";

/// Says that a server lives, and looks who else does.
#[derive(Debug)]
pub(super) struct Presence {
    registry: Arc<Registry>,
    address: SocketAddr,
    /// How often the own key was written.
    renewals: u64,
    /// The keys of others: at which revision each was written last, and when that was seen.
    others: BTreeMap<Key, (Revision, Instant)>,
}

impl Presence {
    /// Says that the server at this address lives.
    pub(super) async fn start(registry: Arc<Registry>, address: SocketAddr) -> Result<Self> {
        let mut presence = Self { registry, address, renewals: 0, others: BTreeMap::new() };
        presence.renew().await?;
        // Another server may be about the same. The next look mends what this one could not.
        warn_if(presence.look().await);
        Ok(presence)
    }

    /// Goes on until the server stops, and says so then.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut rounds = 0_u64;
        while stop.or(tokio::time::sleep(LOOK)).await.is_some() {
            rounds += 1;
            let renewed = if rounds.is_multiple_of(2) { self.renew().await } else { Ok(()) };
            // Others are looked at even so.
            warn_if(renewed.and(self.look().await));
        }
        match tokio::time::timeout(FAREWELL, self.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(status)) => {
                tracing::warn!(%status, "others will find out by themselves that this server stopped")
            }
            Err(_) => tracing::warn!(
                "others will find out by themselves that this server stopped: the store is slow"
            ),
        }
    }

    fn key(&self) -> Key {
        format!("{PREFIX}{}", self.address).into()
    }

    async fn renew(&mut self) -> Result<()> {
        self.renewals += 1;
        let lease = json!({
            "kind": "Endpoints", "apiVersion": "v1", "metadata": {"generation": self.renewals},
            "subsets": [subset([self.address.ip()], self.address.port())],
        });
        self.registry.storage.commit(Transaction::new().put(self.key(), lease.to_string())).await?;
        Ok(())
    }

    /// Names all who live.
    async fn look(&mut self) -> Result<()> {
        let mut living = self.others().await?;
        living.insert(self.address);
        self.publish(&living).await
    }

    /// Takes this server out of the endpoints, unless nobody else is left to name.
    async fn leave(&mut self) -> Result<()> {
        self.registry.storage.commit(Transaction::new().delete(self.key())).await?;
        let others = self.others().await?;
        if others.is_empty() { Ok(()) } else { self.publish(&others).await }
    }

    /// Returns the other servers that live, and removes the keys of those that do not.
    async fn others(&mut self) -> Result<BTreeSet<SocketAddr>> {
        let page = self.registry.storage.list(List::prefix(PREFIX)).await?;
        let now = Instant::now();
        let (own, known) = (self.key(), std::mem::take(&mut self.others));
        let mut living = BTreeSet::new();
        for entry in page.entries.into_iter().filter(|entry| entry.key != own) {
            let Ok(address) = entry.key.as_str()[PREFIX.len()..].parse() else { continue };
            let seen = known.get(&entry.key).filter(|(revision, _)| *revision == entry.modified);
            let since = seen.map_or(now, |(_, since)| *since);
            if now - since >= LIFE && self.bury(&entry.key, entry.modified).await? {
                tracing::info!(%address, "an API server is gone: it has not been heard of for {LIFE:?}");
                continue;
            }
            living.insert(address);
            self.others.insert(entry.key, (entry.modified, since));
        }
        Ok(living)
    }

    /// Removes the key of a server that is gone. Returns whether it is: it may have been heard of just now.
    async fn bury(&self, key: &Key, seen: Revision) -> Result<bool> {
        let removal = Transaction::new().expect(key.clone(), Expect::Modified(seen)).delete(key.clone());
        match self.registry.storage.commit(removal).await {
            Ok(_) => Ok(true),
            Err(StorageError::Conflict { found, .. }) => Ok(found.is_none()),
            Err(error) => Err(error.into()),
        }
    }

    /// Has Endpoints and EndpointSlices name these servers.
    async fn publish(&self, servers: &BTreeSet<SocketAddr>) -> Result<()> {
        let mut by_port: BTreeMap<u16, Vec<IpAddr>> = BTreeMap::new();
        // A slice has one port and one family of addresses.
        let mut slices: BTreeMap<(bool, u16), Vec<IpAddr>> = BTreeMap::new();
        for server in servers {
            by_port.entry(server.port()).or_default().push(server.ip());
            slices.entry((server.is_ipv6(), server.port())).or_default().push(server.ip());
        }
        let subsets = by_port.into_iter().map(|(port, addresses)| subset(addresses, port));
        let endpoints = json!({
            "metadata": {"name": NAME, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": subsets.collect::<Vec<_>>(),
        });
        put(&self.registry, "", "Endpoints", endpoints).await?;
        let wanted = slices.len();
        for (index, ((is_ipv6, port), addresses)) in slices.into_iter().enumerate() {
            let (name, family) = (slice_name(index), if is_ipv6 { "IPv6" } else { "IPv4" });
            // A slice never changes its family.
            self.remove_slice(&name, |present| present["addressType"] != family).await?;
            put(&self.registry, GROUP, SLICE, slice(&name, family, &addresses, port)).await?;
        }
        let mut index = wanted;
        while self.remove_slice(&slice_name(index), |_| true).await? {
            index += 1;
        }
        Ok(())
    }

    /// Removes a slice that should not be. Returns whether there was one.
    async fn remove_slice(&self, name: &str, should_not_be: impl Fn(&Value) -> bool) -> Result<bool> {
        let resources = self.registry.resources();
        let Some(resource) = resources.by_kind(GROUP, SLICE) else { return Ok(false) };
        let (world, user) = (self.registry.cache.world(), User::admin());
        let present = world.get(resource.key(Some("default"), name).as_str());
        if !present.is_some_and(|present| should_not_be(&present.value())) {
            return Ok(false);
        }
        let target = Target::unasked(resource, Some("default"), name, &user);
        match self.registry.delete(&target, &DeleteOptions::default()).await {
            // Another server of the same cluster was faster.
            Err(status) if status.code == StatusCode::NOT_FOUND => {}
            other => drop(other?),
        }
        // What takes its place is made when it is seen to be gone.
        self.registry.latest().await?;
        Ok(true)
    }
}

fn warn_if(failed: Result<()>) {
    if let Err(status) = failed {
        tracing::warn!(%status, "the endpoints of the service kubernetes could not be kept up");
    }
}

fn slice_name(index: usize) -> String {
    if index == 0 { NAME.to_owned() } else { format!("{NAME}-{}", index + 1) }
}

fn subset(addresses: impl IntoIterator<Item = IpAddr>, port: u16) -> Value {
    let addresses: Vec<_> = addresses.into_iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    json!({"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
}

fn slice(name: &str, family: &str, addresses: &[IpAddr], port: u16) -> Value {
    let endpoint = |ip: &IpAddr| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}});
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": family,
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}
