//! How fast nodes may lose their pods: one node in ten seconds and zone, and none when too many are lost at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::health::Ready;
use crate::meta;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Time from one node's eviction to the next one's, in a zone that is well, and in a great one that is not.
const PAUSE: Duration = Duration::from_secs(10);
const LONG_PAUSE: Duration = Duration::from_secs(100);

/// A zone of more nodes than this is great.
const GREAT: usize = 50;

/// Returns the zone of a node.
pub(super) fn of(node: &Node) -> String {
    let label = |name: &str| meta::labels(node).get(name).map_or("", String::as_str);
    format!("{}:{}", label(REGION), label(ZONE))
}

/// Which nodes are ready, by zone.
#[derive(Debug, Default)]
pub(super) struct Zones {
    nodes: BTreeMap<String, (String, bool)>,
    /// Nodes that lose their pods, until they are ready again.
    evicting: BTreeSet<String>,
    last: BTreeMap<String, Instant>,
    /// How many nodes began to lose their pods, by zone.
    evictions: BTreeMap<String, u32>,
}

/// What there is to say of a zone.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Census {
    /// How many nodes it has.
    pub(super) nodes: u32,
    /// How many of them are not ready.
    pub(super) lost: u32,
    /// How many began to lose their pods.
    pub(super) evictions: u32,
}

impl Zones {
    pub(super) fn set(&mut self, node: &str, zone: String, ready: Ready) {
        self.nodes.insert(node.into(), (zone, ready == Ready::True));
        if ready == Ready::True {
            self.evicting.remove(node);
        }
    }

    pub(super) fn remove(&mut self, node: &str) {
        self.nodes.remove(node);
        self.evicting.remove(node);
    }

    /// Decides whether a node that is not ready may lose its pods now; `begun` says that it did before this process began.
    pub(super) fn may_evict(&mut self, node: &str, begun: bool, now: Instant) -> bool {
        if self.nodes.values().all(|(_, ready)| !ready) {
            // All are lost: rather this side is.
            return false;
        }
        let Some((zone, ready)) = self.nodes.get(node) else { return false };
        if *ready {
            return false;
        }
        if begun || self.evicting.contains(node) {
            return true;
        }
        let of_zone: Vec<bool> =
            self.nodes.values().filter(|(of, _)| of == zone).map(|(_, ready)| *ready).collect();
        let lost = of_zone.iter().filter(|ready| !**ready).count();
        // 55 percent, but not of a handful.
        let is_disrupted = lost > 2 && lost * 100 >= of_zone.len() * 55 && lost < of_zone.len();
        let pause = match (is_disrupted, of_zone.len() > GREAT) {
            (false, _) => PAUSE,
            (true, true) => LONG_PAUSE,
            (true, false) => return false,
        };
        if self.last.get(zone).is_some_and(|last| now.duration_since(*last) < pause) {
            return false;
        }
        self.last.insert(zone.clone(), now);
        *self.evictions.entry(zone.clone()).or_default() += 1;
        self.evicting.insert(node.into());
        true
    }

    /// Returns what there is to say of each zone.
    pub(super) fn census(&self) -> BTreeMap<String, Census> {
        let mut zones: BTreeMap<String, Census> = BTreeMap::new();
        for (zone, ready) in self.nodes.values() {
            let census = zones.entry(zone.clone()).or_default();
            census.nodes += 1;
            census.lost += u32::from(!ready);
        }
        for (zone, evictions) in &self.evictions {
            zones.entry(zone.clone()).or_default().evictions = *evictions;
        }
        zones
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(ready: usize, lost: usize) -> Zones {
        let mut zones = Zones::default();
        for index in 0..ready {
            zones.set(&format!("ready-{index}"), "z".into(), Ready::True);
        }
        for index in 0..lost {
            zones.set(&format!("lost-{index}"), "z".into(), Ready::Unknown);
        }
        zones
    }

    #[tokio::test(start_paused = true)]
    async fn one_node_in_ten_seconds_loses_its_pods() {
        let mut zones = zones(5, 2);

        assert!(zones.may_evict("lost-0", false, Instant::now()));
        assert!(!zones.may_evict("lost-1", false, Instant::now()));
        assert!(zones.may_evict("lost-0", false, Instant::now()));
        assert!(zones.may_evict("lost-1", true, Instant::now()));
        tokio::time::advance(PAUSE).await;
        assert!(zones.may_evict("lost-1", false, Instant::now()));
        assert_eq!(zones.census()["z"], Census { nodes: 7, lost: 2, evictions: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_evicted_when_all_nodes_are_lost() {
        assert!(!zones(0, 1).may_evict("lost-0", false, Instant::now()));
        assert!(!zones(0, 3).may_evict("lost-0", true, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_zone_that_lost_most_nodes_evicts_nobody_and_a_great_one_slowly() {
        assert!(!zones(2, 3).may_evict("lost-0", false, Instant::now()));

        let mut great = zones(20, 40);
        assert!(great.may_evict("lost-0", false, Instant::now()));
        tokio::time::advance(PAUSE).await;
        assert!(!great.may_evict("lost-1", false, Instant::now()));
        tokio::time::advance(LONG_PAUSE).await;
        assert!(great.may_evict("lost-1", false, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_two_nodes_may_be_lost() {
        assert!(zones(1, 1).may_evict("lost-0", false, Instant::now()));
    }
}
