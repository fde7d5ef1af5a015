//! The first authorizer: who is in `system:masters` may do everything.
//!
//! It needs no roles, so that nobody who edits one locks everybody out. Nobody else needs to be let in without roles: the server
//! makes the default ones itself, before it serves anybody. The cluster's own components have what these give them
//! ([`Rbac`](crate::rbac::Rbac)); agents are the business of the [`NodeAuthorizer`](super::node_authorizer::NodeAuthorizer).

use std::sync::Arc;

use async_trait::async_trait;

use super::authorization::{Attributes, Authorizer, Decision};
use crate::rbac::{PolicyRule, Rules};
use crate::user::{MASTERS, User};

/// Lets in the group `system:masters`, to everything.
#[derive(Debug, Default)]
pub struct Administrators;

#[async_trait]
impl Authorizer for Administrators {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision::Allow(Arc::default());
        }
        Decision::NoOpinion(Arc::default())
    }

    fn rules(&self, user: &User, _: &str) -> Rules {
        let rules = if user.is_in(MASTERS) { PolicyRule::everything().into() } else { Vec::new() };
        Rules { rules, incomplete: Vec::new() }
    }
}
