//! What was converted lately, so that many readers of one change cost one call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use quarterdeck_core::storage::Revision;

use crate::object::Object;
use crate::schema::Text;

/// How many bytes of objects are kept for a kind; the oldest make room.
const CAPACITY: usize = 16 << 20;

/// An object's uid, its revision, and the version that it was converted to.
type Name = (Box<str>, Revision, Text);

/// Converted objects, by what they were made of.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    objects: BTreeMap<Name, Arc<Object>>,
    order: VecDeque<Name>,
    bytes: usize,
}

fn name(object: &Object, version: &Text) -> Name {
    (object.header.uid.clone(), object.revision, version.clone())
}

impl Kept {
    /// Returns whether an object is kept in a version.
    pub(super) fn has(&self, object: &Object, version: &Text) -> bool {
        self.lock().objects.contains_key(&name(object, version))
    }

    /// Returns objects in a version, if all of them are kept.
    pub(super) fn all(&self, objects: &[Arc<Object>], version: &Text) -> Option<Vec<Arc<Object>>> {
        let inside = self.lock();
        objects.iter().map(|object| inside.objects.get(&name(object, version)).cloned()).collect()
    }

    /// Keeps an object that is of a version now.
    pub(super) fn keep(&self, version: &Text, object: Arc<Object>) {
        let mut inside = self.lock();
        let name = name(&object, version);
        inside.bytes += object.len();
        match inside.objects.insert(name.clone(), object) {
            Some(before) => inside.bytes -= before.len(),
            None => inside.order.push_back(name),
        }
        while inside.bytes > CAPACITY
            && let Some(oldest) = inside.order.pop_front()
        {
            if let Some(gone) = inside.objects.remove(&oldest) {
                inside.bytes -= gone.len();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("nothing panics while it holds what is kept")
    }
}
