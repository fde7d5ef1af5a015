//! How many nodes zones have and have lost, under upstream's names.

use std::sync::{Arc, Weak};

use quarterdeck_core::metrics::Metrics;

use super::Keeper;
use super::zones::Census;

/// Tells of the zones of a controller for as long as it runs.
pub(super) fn tell(metrics: &Metrics, keeper: &Arc<Keeper>) {
    let sample = |name: &str, help: &str, value: fn(&Census) -> f64| {
        let keeper: Weak<Keeper> = Arc::downgrade(keeper);
        metrics.sample(name, help, &["zone"], move |samples| {
            let Some(keeper) = keeper.upgrade() else { return };
            for (zone, census) in keeper.state(|state| state.zones.census()) {
                samples.push(&[&zone], value(&census));
            }
        });
    };
    sample("node_collector_zone_size", "Gauge measuring number of registered Nodes per zones.", |census| {
        census.nodes.into()
    });
    sample(
        "node_collector_unhealthy_nodes_in_zone",
        "Gauge measuring number of not Ready Nodes per zones.",
        |census| census.lost.into(),
    );
    sample("node_collector_zone_health", "Gauge measuring percentage of healthy nodes per zone.", |census| {
        match census.nodes {
            0 => 100.0,
            nodes => 100.0 * f64::from(nodes - census.lost) / f64::from(nodes),
        }
    });
    sample(
        "node_collector_evictions_total",
        "Number of Node evictions that happened since current instance of NodeController started.",
        |census| census.evictions.into(),
    );
}
