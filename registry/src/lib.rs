//! The API server of the Quarterdeck SDK, as a tower service.
pub mod patch;
pub mod schema;
pub mod selector;
pub mod storage;
pub mod table;
pub mod validation;
