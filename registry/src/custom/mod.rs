//! Kinds that exist because a CustomResourceDefinition says so.
//!
//! [`Resource::from_definition`](crate::Resource::from_definition) is the way in for programs; a definition in the store
//! goes the same way. It comes to a [`Resource`](crate::resource::Resource) for each version that it serves (`definition`), and
//! from there on a custom kind goes the way of every other. Its schema is compiled (`schema`) into a table of fields (`structure`),
//! by which objects are decoded, pruned and defaulted, and into what their values are checked for (`check`, `lists`, `embedded`,
//! and `rules` in the Common Expression Language).
//!
//! Whether a definition makes sense is in [`validation`](crate::validation); how it is accepted, established and
//! taken down is in `lifecycle`.

mod check;
#[cfg(feature = "cel")]
pub(crate) mod cost;
pub(crate) mod definition;
mod embedded;
mod formats;
mod kind;
pub(crate) mod lifecycle;
mod lists;
mod names;
pub(crate) mod numbers;
pub(crate) mod patterns;
#[cfg_attr(not(feature = "cel"), path = "rules_absent.rs")]
pub(crate) mod rules;
mod scale;
pub(crate) mod schema;
mod strategy;
pub(crate) mod structure;
#[cfg(test)]
mod tests;

pub(crate) use check::check;
pub use definition::DefinitionError;
pub use kind::CustomKind;
