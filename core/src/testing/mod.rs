//! Contract suites: proof that an implementation of one of the four traits keeps its contract.
//!
//! One clause, one named test. Run a suite in one line, for instance
//! `quarterdeck_core::storage_suite!(memory, async || MemoryStorage::new());`.

pub mod balancing;
pub mod scheduling;
pub mod storage;

pub mod runtime;
