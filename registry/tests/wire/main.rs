//! What goes over the wire, in process: discovery, OpenAPI, the forms of answers, lists and watches.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bodies;
mod bombs;
mod connections;
mod custom;
mod cve_classes;
mod deleting;
mod discovery;
mod listing;
mod negotiation;
mod openapi;
mod patching;
mod properties;
mod scales;
mod support;
mod watching;
mod websockets;
mod writes;
