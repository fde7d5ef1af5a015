//! What a scheduler knows of a node.

use super::{Labels, Resources, Symbol, Taint};

/// A node, digested to what a decision needs.
///
/// Made from an API object by `quarterdeck-scheduler`, once, when the node changes; or by hand:
///
/// ```
/// use quarterdeck_core::scheduling::NodeInfo;
///
/// let node = NodeInfo::new("node01").with_cpu(4_000).with_memory(8 << 30).with_pods(110).with_label("disk", "ssd");
///
/// assert_eq!(node.allocatable.cpu, 4_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its name.
    pub name: Symbol,
    /// Its labels.
    pub labels: Labels,
    /// Marks that repel pods.
    pub taints: Vec<Taint>,
    /// Whether new pods are kept away (`spec.unschedulable`, `kubectl cordon`).
    pub unschedulable: bool,
    /// What it has for pods.
    pub allocatable: Resources,
    /// How many pods it takes.
    pub pods: i64,
}

impl NodeInfo {
    /// Makes a node that declares nothing, and so is unlimited in CPU, memory, disk and pods, and has no extended resource.
    pub fn new(name: impl Into<Symbol>) -> Self {
        Self {
            name: name.into(),
            labels: Labels::default(),
            taints: Vec::new(),
            unschedulable: false,
            allocatable: Resources {
                cpu: Resources::UNLIMITED,
                memory: Resources::UNLIMITED,
                ephemeral_storage: Resources::UNLIMITED,
                extended: Vec::new(),
            },
            pods: Resources::UNLIMITED,
        }
    }

    /// Sets its CPU, in thousandths (default: unlimited).
    #[must_use]
    pub fn with_cpu(mut self, milli: i64) -> Self {
        self.allocatable.cpu = milli;
        self
    }

    /// Sets its memory, in bytes (default: unlimited).
    #[must_use]
    pub fn with_memory(mut self, bytes: i64) -> Self {
        self.allocatable.memory = bytes;
        self
    }

    /// Sets how many pods it takes (default: unlimited).
    #[must_use]
    pub fn with_pods(mut self, pods: i64) -> Self {
        self.pods = pods;
        self
    }

    /// Sets how much of an extended resource it has (default: 0).
    #[must_use]
    pub fn with_extended(mut self, resource: impl Into<Symbol>, amount: i64) -> Self {
        self.allocatable.set_extended(resource.into(), amount);
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<Symbol>, value: impl Into<Symbol>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Adds a taint.
    #[must_use]
    pub fn with_taint(mut self, taint: Taint) -> Self {
        self.taints.push(taint);
        self
    }

    /// Keeps new pods away.
    #[must_use]
    pub fn cordoned(mut self) -> Self {
        self.unschedulable = true;
        self
    }
}
