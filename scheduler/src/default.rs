//! The default scheduler: rules that a node must pass, then preferences among those that do.

pub mod filters;
pub mod scores;

use std::sync::Arc;

use quarterdeck_core::random::Random;
use quarterdeck_core::scheduling::{Decision, Node, PodInfo, Scheduler, Snapshot};

use crate::explain::Explanation;
use filters::Filter;
use scores::Score;

/// Puts a pod on the best of the nodes that pass all rules.
///
/// Rules are [filters], preferences are [scores]; a node's weighted scores are summed, the greatest sum wins, and among
/// equals chance decides. Whatever else it is given, it never puts more on a node than the node has. A pod that room was
/// made for (`status.nominatedNodeName`) goes there if it fits.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::random::Random;
/// use quarterdeck_core::scheduling::{Decision, NodeInfo, PodInfo, Scheduler, Snapshot};
/// use quarterdeck_scheduler::DefaultScheduler;
///
/// let mut scheduler = DefaultScheduler::new(Random::seeded(7));
/// let cluster = Snapshot::builder()
///     .node(NodeInfo::new("a").with_cpu(1_000))
///     .node(NodeInfo::new("b").with_cpu(1_000))
///     .pod("a", PodInfo::new("default", "first").with_cpu(600))
///     .build();
///
/// let fits = scheduler.schedule(&PodInfo::new("default", "second").with_cpu(500), &cluster);
/// let does_not = scheduler.schedule(&PodInfo::new("default", "third").with_cpu(1_500), &cluster);
///
/// assert_eq!(fits, Decision::Bind(cluster.named("b").unwrap().id()));
/// let Decision::Unschedulable(refusals) = does_not else { panic!() };
/// assert_eq!(refusals.to_string(), "0/2 nodes are available: 2 Insufficient cpu.");
/// ```
#[derive(Debug)]
pub struct DefaultScheduler {
    random: Random,
    filters: Vec<Arc<dyn Filter>>,
    scores: Vec<(f64, Arc<dyn Score>)>,
    totals: Vec<f64>,
}

impl DefaultScheduler {
    /// Makes a scheduler with the default rules and preferences, which breaks ties by `random`.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self { random, filters: Vec::new(), scores: Vec::new(), totals: Vec::new() }
    }

    /// Adds a rule, asked after all others.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Filter) -> Self {
        self.filters.push(Arc::new(filter));
        self
    }

    /// Adds a preference. Those of the default have weights from 1 to 3.
    #[must_use]
    pub fn with_score(mut self, weight: f64, score: impl Score) -> Self {
        self.scores.push((weight, Arc::new(score)));
        self
    }

    /// Says what every rule and every preference makes of every node, without deciding anything.
    #[must_use]
    pub fn explain(&self, pod: &PodInfo, cluster: &Snapshot) -> Explanation {
        Explanation::of_rules(
            pod,
            cluster,
            &self.filters().collect::<Vec<_>>(),
            &self.scores().collect::<Vec<_>>(),
        )
    }

    fn filters(&self) -> impl Iterator<Item = &dyn Filter> {
        filters::DEFAULT.into_iter().chain(self.filters.iter().map(AsRef::as_ref))
    }

    fn scores(&self) -> impl Iterator<Item = (f64, &dyn Score)> {
        scores::DEFAULT.into_iter().chain(self.scores.iter().map(|(weight, score)| (*weight, score.as_ref())))
    }

    /// Returns the node with the greatest total; one of them by chance if there are several.
    fn best<'a>(&mut self, pod: &PodInfo, cluster: &Snapshot, nodes: &[&'a Node]) -> &'a Node {
        let mut totals = std::mem::take(&mut self.totals);
        totals.clear();
        totals.resize(nodes.len(), 0.0);
        for (weight, score) in self.scores() {
            if score.concerns(pod) {
                score.add(pod, cluster, nodes, weight, &mut totals);
            }
        }
        let most = totals.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let equals = || totals.iter().enumerate().filter(|(_, total)| **total >= most).map(|(at, _)| at);
        let best = match equals().count() {
            // Totals are not numbers: whoever added such a score prefers nothing.
            0 => 0,
            1 => equals().next().unwrap_or_default(),
            several => equals().nth(self.random.below(several)).unwrap_or_default(),
        };
        self.totals = totals;
        nodes[best]
    }
}

impl Scheduler for DefaultScheduler {
    fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
        let feasible = filters::admitted(self.filters(), pod, cluster);
        let nominated = pod.nominated.as_ref();
        match feasible.as_slice() {
            [] => Decision::Unschedulable(filters::refused(self.filters(), pod, cluster)),
            [only] => Decision::Bind(only.id()),
            several => match several.iter().find(|node| Some(node.name()) == nominated) {
                Some(node) => Decision::Bind(node.id()),
                None => Decision::Bind(self.best(pod, cluster, several).id()),
            },
        }
    }

    fn might_fit(&self, pod: &PodInfo, node: &Node) -> bool {
        self.filters().all(|filter| !filter.concerns(pod) || filter.admits(pod, node))
    }
}

#[cfg(test)]
mod tests;
