//! The contract suite on the stores of this module, and what is particular to them.

mod broken;

use super::MemoryStorage;

quarterdeck_core::storage_suite!(memory, async || MemoryStorage::new());
