//! What to proxy: services and their backends, from the API, from a file, or from a program of its own.
//!
//! A [`ServiceTable`] holds what is to be proxied. Sources fill it: `api` and `file` read Service, EndpointSlice and Endpoints
//! objects, from which `resolve` makes ports with backends (`services` knows what a Service says, `endpoints` the rest).

pub(crate) mod api;
mod endpoints;
pub(crate) mod file;
mod resolve;
mod services;
mod table;

pub use table::{ServicePortConfig, ServiceTable};

#[cfg(test)]
mod tests;
