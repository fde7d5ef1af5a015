//! What to proxy: services and their backends, from the API, from a file, or from a program of its own.
//!
//! A [`ServiceTable`] holds what is to be proxied; whoever fills it is a source.

mod table;

pub use table::{ServicePortConfig, ServiceTable};
