//! Sets of fields: ordered tries of path elements.

use std::cmp::Ordering;
use std::fmt;

use super::element::Element;

/// A set of fields of an object.
///
/// That a field is in the set says nothing of the fields below it, nor of those above.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct FieldSet {
    /// Sorted by element; none is [empty](Node::is_empty).
    nodes: Vec<(Element, Node)>,
}

/// What a set says of one field and of those below it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Whether the field itself is in the set.
    pub(super) is_member: bool,
    /// The fields below it.
    pub(super) below: FieldSet,
}

impl Node {
    /// A field that is in the set, and none below it.
    pub(super) fn member() -> Self {
        Self { is_member: true, below: FieldSet::default() }
    }

    /// Returns whether neither the field nor any below it is in the set.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }

    /// Adds what another set says of the same field.
    pub(super) fn add(&mut self, other: Self) {
        self.is_member |= other.is_member;
        self.below.add(other.below);
    }
}

impl FieldSet {
    /// Returns whether there is no field in the set.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns what the set says, element by element, in order.
    pub(super) fn nodes(&self) -> &[(Element, Node)] {
        &self.nodes
    }

    /// Returns what the set says of an element.
    pub(super) fn get(&self, element: &Element) -> Option<&Node> {
        self.find(element).ok().map(|at| &self.nodes[at].1)
    }

    /// Returns what the set says of a member, without making an element of its name.
    pub(super) fn member(&self, name: &str) -> Option<&Node> {
        let found = self.nodes.binary_search_by(|(known, _)| match known {
            Element::Field(known) => known.as_ref().cmp(name),
            _ => Ordering::Greater,
        });
        found.ok().map(|at| &self.nodes[at].1)
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        // Sets are mostly built in order.
        match self.nodes.last() {
            Some((last, _)) if last < element => Err(self.nodes.len()),
            _ => self.nodes.binary_search_by(|(known, _)| known.cmp(element)),
        }
    }

    /// Adds what another set says of an element.
    pub(super) fn insert(&mut self, element: Element, node: Node) {
        if node.is_empty() {
            return;
        }
        match self.find(&element) {
            Ok(at) => self.nodes[at].1.add(node),
            Err(at) => self.nodes.insert(at, (element, node)),
        }
    }

    /// Adds one field by the way to it.
    #[cfg(test)]
    pub(super) fn with(mut self, path: &[&str]) -> Self {
        self.insert_path(path.iter().map(|name| Element::field(name)));
        self
    }

    /// Adds one field by the way to it.
    pub(super) fn insert_path(&mut self, mut path: impl DoubleEndedIterator<Item = Element>) {
        let Some(last) = path.next_back() else { return };
        let mut set = Self { nodes: vec![(last, Node::member())] };
        for element in path.rev() {
            set = Self { nodes: vec![(element, Node { is_member: false, below: set })] };
        }
        self.add(set);
    }

    /// Adds all fields of another set.
    pub(super) fn add(&mut self, other: Self) {
        if self.nodes.is_empty() {
            self.nodes = other.nodes;
            return;
        }
        for (element, node) in other.nodes {
            self.insert(element, node);
        }
    }

    /// Takes away the fields of another set, each by itself: what is below a field of it stays.
    pub(super) fn subtract(&mut self, other: &Self) {
        if other.is_empty() || self.is_empty() {
            return;
        }
        self.nodes.retain_mut(|(element, node)| {
            let Some(other) = other.get(element) else { return true };
            node.is_member &= !other.is_member;
            node.below.subtract(&other.below);
            !node.is_empty()
        });
    }

    /// Takes away a member of the object and everything below it.
    pub(super) fn prune(&mut self, name: &str) {
        self.nodes.retain(|(element, _)| !matches!(element, Element::Field(known) if known.as_ref() == name));
    }

    /// Returns the fields that are in both sets.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut nodes = Vec::new();
        for (element, node) in &self.nodes {
            let Some(other) = other.get(element) else { continue };
            let both = Node {
                is_member: node.is_member && other.is_member,
                below: node.below.intersection(&other.below),
            };
            if !both.is_empty() {
                nodes.push((element.clone(), both));
            }
        }
        Self { nodes }
    }

    /// Returns whether a field is in the set.
    pub(super) fn has(&self, path: &[Element]) -> bool {
        let Some((last, before)) = path.split_last() else { return false };
        let below = before.iter().try_fold(self, |set, element| set.get(element).map(|node| &node.below));
        below.and_then(|set| set.get(last)).is_some_and(|node| node.is_member)
    }

    /// Returns the ways to all fields: at each level first the members, then what is below.
    pub(super) fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<Element>, paths: &mut Vec<Path>) {
        for (element, _) in self.nodes.iter().filter(|(_, node)| node.is_member) {
            let path = prefix.iter().chain([element]).cloned();
            paths.push(Path(path.collect()));
        }
        for (element, node) in self.nodes.iter().filter(|(_, node)| !node.below.is_empty()) {
            prefix.push(element.clone());
            node.below.collect(prefix, paths);
            prefix.pop();
        }
    }

    /// Changes each element's node in place, and drops those that become empty.
    pub(super) fn for_each(&mut self, mut change: impl FnMut(&Element, &mut Node)) {
        self.nodes.retain_mut(|(element, node)| {
            change(element, node);
            !node.is_empty()
        });
    }
}

/// The way to a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(pub(super) Vec<Element>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&[&str]]) -> FieldSet {
        paths.iter().fold(FieldSet::default(), |set, path| set.with(path))
    }

    #[test]
    fn a_field_is_in_the_set_without_those_above_or_below_it() {
        let set = set(&[&["spec", "replicas"], &["data"]]);

        assert!(set.has(&[Element::field("spec"), Element::field("replicas")]));
        assert!(!set.has(&[Element::field("spec")]));
        assert!(!set.has(&[Element::field("data"), Element::field("k")]));
        assert!(set.member("data").unwrap().is_member);
    }

    #[test]
    fn subtraction_takes_each_field_by_itself_and_leaves_no_empty_branches() {
        let mut all = set(&[&["data"], &["data", "k"], &["data", "l"], &["spec", "x"]]);

        all.subtract(&set(&[&["data"], &["data", "k"], &["spec", "x"], &["other"]]));

        assert_eq!(all, set(&[&["data", "l"]]));
    }

    #[test]
    fn the_intersection_has_what_both_have() {
        let one = set(&[&["data"], &["data", "k"], &["spec", "x"]]);
        let other = set(&[&["data", "k"], &["data", "l"], &["spec"]]);

        assert_eq!(one.intersection(&other), set(&[&["data", "k"]]));
    }

    #[test]
    fn paths_come_members_first() {
        let set = set(&[&["spec", "b", "x"], &["spec", "c"], &["a"]]);

        let paths: Vec<String> = set.paths().iter().map(ToString::to_string).collect();

        assert_eq!(paths, [".a", ".spec.c", ".spec.b.x"]);
    }
}
