//! The entries of a store at one revision: an ordered, persistent map that can count a range without walking it.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use quarterdeck_core::storage::{Entry, Key};

/// The most entries of a block.
const BLOCK: usize = 1024;

/// An ordered map of entries. Cloning it is cheap, and a clone does not change.
///
/// The keys are divided into blocks, of which the sizes are known: counting a range looks at its blocks, and at the
/// entries of the two blocks at most that it cuts.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    map: OrdMap<Key, Arc<Entry>>,
    /// How many entries there are from a key to the next key here. The first block has the empty key.
    blocks: OrdMap<Key, usize>,
}

impl Entries {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.map.get(key)
    }

    /// Returns the entry at a key, to be replaced by another at that key.
    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Arc<Entry>> {
        self.map.get_mut(key)
    }

    /// Returns all entries in the order of their keys.
    #[cfg(feature = "embedded")]
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.map.values()
    }

    /// Puts an entry at its key, and returns the one that was there.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let key = entry.key.clone();
        let replaced = self.map.insert(key.clone(), entry);
        if replaced.is_none() {
            let (start, count) = self.block(&key);
            self.blocks.insert(start.clone(), count + 1);
            if count + 1 > BLOCK {
                self.split(start, count + 1);
            }
        }
        replaced
    }

    /// Removes the entry at the key, and returns it.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let removed = self.map.remove(key)?;
        let (start, count) = self.block(key);
        let count = count - 1;
        self.blocks.insert(start.clone(), count);
        if count < BLOCK / 4 {
            self.merge(&start, count);
        }
        Some(removed)
    }

    /// Returns where the block begins that the key is in, and its size.
    fn block(&self, key: &Key) -> (Key, usize) {
        let block = self.blocks.get_prev(key);
        block.map_or_else(|| (Key::from(""), 0), |(start, count)| (start.clone(), *count))
    }

    fn split(&mut self, start: Key, count: usize) {
        let half = count / 2;
        let mut behind = self.map.range::<_, str>((Bound::Included(start.as_str()), Bound::Unbounded));
        let middle = behind.nth(half).expect("the block has more entries than half of them").0.clone();
        self.blocks.insert(start, half);
        self.blocks.insert(middle, count - half);
    }

    /// Lets the block before this one have its entries, if they are not too many.
    fn merge(&mut self, start: &Key, count: usize) {
        let mut before = self.blocks.range::<_, str>((Bound::Unbounded, Bound::Excluded(start.as_str())));
        let Some((previous, others)) = before.next_back() else { return };
        if others + count <= BLOCK / 2 {
            let (previous, sum) = (previous.clone(), others + count);
            self.blocks.remove(start);
            self.blocks.insert(previous, sum);
        }
    }

    /// Returns the entries of a range in the order of their keys.
    pub(super) fn range(&self, start: Bound<&str>, end: Bound<&str>) -> impl Iterator<Item = &Arc<Entry>> {
        // The map takes no range whose start lies behind its end.
        let range = if is_empty(start, end) { None } else { Some(self.map.range::<_, str>((start, end))) };
        range.into_iter().flatten().map(|(_, entry)| entry)
    }

    /// Returns how many entries a range has.
    pub(super) fn count(&self, start: Bound<&str>, end: Bound<&str>) -> usize {
        if is_empty(start, end) {
            return 0;
        }
        let mut blocks = self.blocks.range::<_, str>((start, end));
        let Some((mut last, mut size)) = blocks.next() else { return self.range(start, end).count() };
        let mut count = self.range(start, Bound::Excluded(last.as_str())).count();
        for (next, next_size) in blocks {
            count += size;
            (last, size) = (next, next_size);
        }
        count + self.range(Bound::Included(last.as_str()), end).count()
    }
}

fn is_empty(start: Bound<&str>, end: Bound<&str>) -> bool {
    match (start, end) {
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quarterdeck_core::random::Random;
    use quarterdeck_core::storage::Revision;

    use super::*;

    fn entry(key: &str) -> Arc<Entry> {
        Arc::new(Entry { key: key.into(), value: "".into(), created: Revision(1), modified: Revision(1) })
    }

    #[test]
    fn counts_are_those_of_a_walk_while_the_map_grows_and_shrinks() {
        let random = Random::seeded(5);
        let (mut entries, mut keys) = (Entries::new(), BTreeSet::new());
        for round in 0..12 {
            for _ in 0..3000 {
                let key = format!("/{:05}", random.below(20_000));
                let grows = if round % 4 < 2 { random.below(10) < 9 } else { random.below(10) < 1 };
                if grows {
                    assert_eq!(entries.insert(entry(&key)).is_none(), keys.insert(key));
                } else {
                    let doomed = keys.range(key..).next().cloned();
                    let key = doomed.unwrap_or_default();
                    assert_eq!(entries.remove(&Key::from(key.as_str())).is_some(), keys.remove(&key));
                }
            }

            for _ in 0..50 {
                let (a, b) =
                    (format!("/{:05}", random.below(20_000)), format!("/{:05}", random.below(20_000)));
                let (start, end) = (Bound::Excluded(a.as_str()), Bound::Excluded(b.as_str()));
                let expected = if a < b { keys.range::<str, _>((start, end)).count() } else { 0 };
                assert_eq!(entries.count(start, end), expected);
                let all = entries.count(Bound::Included(""), Bound::Unbounded);
                assert_eq!(all, keys.len());
            }
            assert!(entries.blocks.values().all(|count| *count <= BLOCK));
            assert!(entries.blocks.len() <= 2 + 4 * keys.len() / BLOCK.min(keys.len() + 1) + 20);
        }
    }
}
