//! Who owns which field: `metadata.managedFields`, and server-side apply, which follows from it.
//!
//! [`recorded`] says who owns what after a write that is no apply; [`apply`] merges a configuration into an object, unless
//! it changes what somebody else owns. Both work on JSON by a kind's [`Structure`]: what is owned as a whole, member by
//! member or element by element is in its [`Topology`](crate::schema::Topology).
//!
//! `set` holds sets of fields, `fields_v1` their JSON; `compare`, `owned`, `merge` and `remove` walk over objects;
//! `entries` is the list of owners. `last_applied` is the way from client-side apply to here, `scale` the detour of
//! the scale subresource.

mod apply;
mod check;
mod compare;
mod element;
mod entries;
mod fields_v1;
mod last_applied;
mod merge;
mod owned;
mod record;
mod remove;
pub(crate) mod scale;
mod set;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use apply::{Applied, Failure, apply, conflict_status};
pub(crate) use entries::{is_same_but_for_times, reset};
pub(crate) use last_applied::refresh as refresh_last_applied;
pub(crate) use record::{Part, Writer, recorded};
