//! What lies below an object: scale, binding, eviction, log and token.

mod binding;
mod container;
mod eviction;
mod log;
mod scale;
mod token;
mod unserved;

pub(super) use binding::create_binding;
pub(super) use eviction::evict;
pub(super) use log::log;
pub(super) use scale::scale;
pub(crate) use scale::{scale_of, set_replicas};
pub(super) use token::create_token;
pub(super) use unserved::refusal;
