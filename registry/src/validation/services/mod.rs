//! Rules for services and for the endpoints behind them.

mod addresses;
mod endpoints;
mod service;
#[cfg(test)]
mod tests;

pub(super) use addresses::load_balancer_status;
pub(super) use endpoints::{ENDPOINT_SLICE, ENDPOINTS};
pub(super) use service::SERVICE;

/// The protocols that a port can have.
pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
