//! Where a store's keys and revisions are in etcd.

use std::sync::Arc;

use bytes::Bytes;
use etcd_client::GetOptions;
use etcd_client::proto::PbKeyValue;
use quarterdeck_core::storage::{Entry, Key, Revision};

use crate::sparing::{Sparing, cut};

/// An etcd that was never written is at revision 1, and its first commit gets 2.
const NEVER_WRITTEN: i64 = 1;

/// Returns the store's revision at a revision of etcd's.
pub(super) fn from_etcd(revision: i64) -> Revision {
    match u64::try_from(revision) {
        Ok(revision) if revision > NEVER_WRITTEN.unsigned_abs() => Revision(revision),
        _ => Revision(0),
    }
}

/// Returns the revision of etcd's that shows what the store's revision shows.
pub(super) fn to_etcd(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX).max(NEVER_WRITTEN)
}

/// The part of etcd's keys that belongs to a store.
#[derive(Debug, Clone)]
pub(super) struct Keyspace {
    prefix: Arc<str>,
    /// What is logged of keys that are no text.
    strangers: Arc<Sparing>,
}

impl Keyspace {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into(), strangers: Arc::default() }
    }

    /// Returns a key's place in etcd.
    pub(super) fn place(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    /// Returns the places of all keys that begin with `prefix` and lie behind `after`.
    pub(super) fn range(&self, prefix: &str, after: Option<&Key>) -> Range {
        let start = self.place(prefix);
        let mut end = start.clone();
        // Text has no byte 255, so the last one can always be counted up.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let mut range = Range { start, end };
        if let Some(after) = after {
            range.skip(&self.place(after.as_str()));
        }
        range
    }

    /// Makes an entry of what etcd holds. What has a key that is no text was put there by somebody else: it is none of this
    /// store's, and left out.
    pub(super) fn entry(&self, pair: PbKeyValue) -> Option<Entry> {
        let own = pair.key.get(self.prefix.len()..).and_then(|own| std::str::from_utf8(own).ok());
        let Some(key) = own else {
            self.strangers.say(|left_out| {
                let key = pair.key.escape_ascii().to_string();
                tracing::error!(
                    key = cut(&key),
                    left_out,
                    "somebody else's key is in etcd: delete it with etcdctl"
                );
            });
            return None;
        };
        Some(Entry {
            key: Key::from(key),
            value: Bytes::from(pair.value),
            created: from_etcd(pair.create_revision),
            modified: from_etcd(pair.mod_revision),
        })
    }
}

/// A range of keys in etcd, from its start to before its end. An empty end is the end of all.
#[derive(Debug, Clone)]
pub(super) struct Range {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl Range {
    /// Leaves out everything up to a place.
    pub(super) fn skip(&mut self, place: &[u8]) {
        if self.start.as_slice() <= place {
            self.start = [place, &[0]].concat();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.start >= self.end
    }

    /// Returns where the range starts and ends, in etcd's words. It knows no empty key, and calls the end of all so.
    pub(super) fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let not_empty = |place: &Vec<u8>| if place.is_empty() { vec![0] } else { place.clone() };
        (not_empty(&self.start), not_empty(&self.end))
    }

    /// Returns what to ask etcd for.
    pub(super) fn get(&self) -> (Vec<u8>, GetOptions) {
        let (start, end) = self.bounds();
        (start, GetOptions::new().with_range(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_begins_with_its_prefix() {
        let range = Keyspace::new("/q").range("/a\u{10ffff}", None);

        let (start, end) = range.bounds();

        let place = Keyspace::new("/q").place("/a\u{10ffff}/b");
        assert!(start < place && place < end);
        assert!(Keyspace::new("/q").place("/b") > end);
    }

    #[test]
    fn the_range_of_everything_has_no_end() {
        assert_eq!(Keyspace::new("").range("", None).bounds(), (vec![0], vec![0]));
    }

    #[test]
    fn a_range_behind_its_last_key_is_empty() {
        let keys = Keyspace::new("");

        assert!(keys.range("/r/", Some(&"/z".into())).is_empty());
        assert!(!keys.range("/r/", Some(&"/a".into())).is_empty());
    }

    #[test]
    fn an_etcd_that_was_never_written_is_at_revision_0() {
        assert_eq!([from_etcd(1), from_etcd(2)], [Revision(0), Revision(2)]);
        assert_eq!(
            [to_etcd(Revision(0)), to_etcd(Revision(7)), to_etcd(Revision(u64::MAX))],
            [1, 7, i64::MAX]
        );
    }
}
