//! Labels, what a pod requires of a node's labels, taints and tolerations.

use super::{NodeInfo, Symbol};

/// Labels, or any other set of keys with a value each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Symbol, Symbol)]>);

impl Labels {
    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &Symbol) -> Option<&Symbol> {
        let found = self.0.binary_search_by(|(known, _)| known.quick_cmp(key));
        found.ok().map(|at| &self.0[at].1)
    }

    /// Yields keys and values, in no meaningful order (the same for the same keys).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Symbol, &Symbol)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a key's value.
    pub fn insert(&mut self, key: Symbol, value: Symbol) {
        let all = std::mem::take(&mut self.0).into_iter().filter(|(known, _)| *known != key);
        *self = all.chain([(key.clone(), value)]).collect();
    }
}

/// The last of several values of one key wins.
impl<K: Into<Symbol>, V: Into<Symbol>> FromIterator<(K, V)> for Labels {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut all: Vec<_> = pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        all.reverse();
        all.sort_by(|(one, _): &(Symbol, Symbol), (other, _)| one.quick_cmp(other));
        all.dedup_by(|(one, _), (other, _)| one == other);
        Self(all.into())
    }
}

/// What a value must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// One of these.
    In(Box<[Symbol]>),
    /// Absent, or none of these.
    NotIn(Box<[Symbol]>),
    /// Anything, but there.
    Exists,
    /// Absent.
    DoesNotExist,
    /// A decimal integer greater than this.
    Gt(i64),
    /// A decimal integer less than this.
    Lt(i64),
}

impl Test {
    /// Returns whether a value passes; `None` is an absent one.
    #[must_use]
    pub fn passes(&self, value: Option<&Symbol>) -> bool {
        let number = || value.and_then(|value| value.as_str().parse::<i64>().ok());
        match self {
            Self::In(allowed) => value.is_some_and(|value| allowed.contains(value)),
            Self::NotIn(excluded) => value.is_none_or(|value| !excluded.contains(value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::Gt(bound) => number().is_some_and(|number| number > *bound),
            Self::Lt(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// Conditions on one node that must all hold. A term without conditions selects no node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeTerm {
    /// Label keys and what their values must be like.
    pub labels: Vec<(Symbol, Test)>,
    /// What the node's name must be like.
    pub name: Vec<Test>,
}

impl NodeTerm {
    /// Returns whether the term selects `node`.
    #[must_use]
    pub fn selects(&self, node: &NodeInfo) -> bool {
        !(self.labels.is_empty() && self.name.is_empty())
            && self.labels.iter().all(|(key, test)| test.passes(node.labels.get(key)))
            && self.name.iter().all(|test| test.passes(Some(&node.name)))
    }
}

/// Which nodes a pod may run on, and which it would rather.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeAffinity {
    /// Labels that a node must have.
    pub selector: Labels,
    /// Terms of which one must select the node; `None` if any node will do.
    pub required: Option<Vec<NodeTerm>>,
    /// Terms that count for a node by their weight.
    pub preferred: Vec<(i32, NodeTerm)>,
}

impl NodeAffinity {
    /// Returns whether the pod may run on `node`.
    #[must_use]
    pub fn allows(&self, node: &NodeInfo) -> bool {
        self.selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
            && self.required.as_ref().is_none_or(|terms| terms.iter().any(|term| term.selects(node)))
    }

    /// Returns the sum of the weights of the preferred terms that select `node`.
    #[must_use]
    pub fn preference(&self, node: &NodeInfo) -> i64 {
        let selecting = self.preferred.iter().filter(|(_, term)| term.selects(node));
        selecting.map(|(weight, _)| i64::from(*weight)).sum()
    }
}

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaintEffect {
    /// Keeps new ones away.
    NoSchedule,
    /// Keeps new ones away if there is another node.
    PreferNoSchedule,
    /// Keeps new ones away and removes those that run.
    NoExecute,
}

/// A mark on a node that repels pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: Symbol,
    /// Its value; often empty.
    pub value: Symbol,
    /// What it does.
    pub effect: TaintEffect,
}

impl Taint {
    /// Makes a taint.
    pub fn new(key: impl Into<Symbol>, value: impl Into<Symbol>, effect: TaintEffect) -> Self {
        Self { key: key.into(), value: value.into(), effect }
    }
}

/// A pod's leave to be where a taint is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toleration {
    /// The taint's key; `None` for any.
    pub key: Option<Symbol>,
    /// The taint's value; `None` for any.
    pub value: Option<Symbol>,
    /// The taint's effect; `None` for any.
    pub effect: Option<TaintEffect>,
}

impl Toleration {
    /// Returns whether it tolerates `taint`.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && self.key.as_ref().is_none_or(|key| *key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Symbol> {
        Some(text.into())
    }

    #[test]
    fn a_key_that_is_given_twice_has_its_last_value() {
        let labels: Labels = [("disk", "hdd"), ("zone", "a"), ("disk", "ssd")].into_iter().collect();

        assert_eq!(labels.get(&"disk".into()), Some(&"ssd".into()));
        assert_eq!(labels.get(&"zone".into()), Some(&"a".into()));
        assert_eq!(labels.iter().len(), 2);
    }

    #[test]
    fn an_absent_value_passes_only_tests_that_ask_for_absence() {
        let listed: Box<[Symbol]> = ["a".into()].into();

        assert!(Test::NotIn(listed.clone()).passes(None));
        assert!(Test::DoesNotExist.passes(None));
        assert!(!Test::In(listed).passes(None));
        assert!(!Test::Exists.passes(None));
        assert!(!Test::Gt(i64::MIN).passes(None));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(Test::Gt(9).passes(value("10").as_ref()));
        assert!(!Test::Gt(10).passes(value("10").as_ref()));
        assert!(Test::Lt(10).passes(value("9").as_ref()));
        assert!(!Test::Lt(10).passes(value("nine").as_ref()));
    }

    #[test]
    fn a_term_without_conditions_selects_nothing() {
        let node = NodeInfo::new("a");
        let anything = NodeAffinity { required: Some(vec![NodeTerm::default()]), ..NodeAffinity::default() };

        assert!(NodeAffinity::default().allows(&node));
        assert!(!anything.allows(&node));
    }

    #[test]
    fn a_toleration_without_a_key_tolerates_everything_of_its_effect() {
        let any = Toleration { effect: Some(TaintEffect::NoExecute), ..Toleration::default() };

        assert!(any.tolerates(&Taint::new("gone", "", TaintEffect::NoExecute)));
        assert!(!any.tolerates(&Taint::new("gone", "", TaintEffect::NoSchedule)));
    }
}
