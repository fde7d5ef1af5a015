//! Role-based access control: roles allow, bindings give roles to users, groups and service accounts.
//!
//! [`Rbac`] is the authorizer. It compiles the roles and bindings that are stored into an index that follows the cache, so
//! that a decision looks at what concerns the user alone. `defaults` are the roles that every cluster has from its start,
//! and `escalation` lets nobody give away more than they hold.

pub(crate) mod bootstrap;
mod defaults;
pub(crate) mod escalation;
mod index;
mod rule;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use quarterdeck_core::storage::Revision;

use crate::cache::{Cache, Log};
use crate::layers::authorization::{Attributes, Authorizer, Decision};
use crate::user::User;
pub(crate) use bootstrap::{default_rules, rule_value};
use index::{Index, Unstored};
pub use rule::PolicyRule;
pub(crate) use rule::{TooManyParts, describe, missing, quoted};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What somebody may do, as far as an authorizer can list it.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<PolicyRule>,
    /// Why there may be more than these; empty if they are all.
    pub incomplete: Vec<String>,
}

/// Decides by the roles and bindings that are stored. Default ones that a server cannot store, for it does not serve both their kinds,
/// hold as they are: nobody can change them there, and its components go on working.
#[derive(Debug, Default)]
pub struct Rbac {
    watched: OnceLock<Watched>,
    index: ArcSwap<Index>,
    /// Who makes the index anew: one at a time, for all.
    making: Mutex<()>,
}

/// What the index is made of, and how to know that it changed.
#[derive(Debug)]
struct Watched {
    cache: Cache,
    logs: Vec<Arc<Log>>,
    /// What holds without being stored.
    unstored: Unstored,
}

impl Rbac {
    /// Makes an authorizer for one server. It allows nothing until the server starts it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the index of now. Changes are in the logs before they are in the world, so that an index that is older than
    /// the last of them may already be made of a world that has it: then it is made once more than needed, never too seldom.
    fn index(&self) -> Arc<Index> {
        let index = self.index.load_full();
        let Some(Watched { cache, logs, unstored }) = self.watched.get() else { return index };
        let changed = logs.iter().map(|log| log.last()).max().unwrap_or(Revision(0));
        if changed <= index.revision {
            return index;
        }
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.index.load_full();
        if changed <= index.revision {
            return index;
        }
        let index = Arc::new(Index::new(&cache.world(), &index, *unstored));
        self.index.store(index.clone());
        index
    }
}

#[async_trait]
impl Authorizer for Rbac {
    fn start(&self, cache: &Cache) {
        let stored = index::PREFIXES.iter().filter_map(|prefix| Some((*prefix, cache.log_of(prefix)?)));
        let (stored, logs): (Vec<_>, Vec<_>) = stored.unzip();
        let unstored = Unstored::beside(&stored);
        let watched = self.watched.set(Watched { cache: cache.clone(), logs, unstored });
        assert!(watched.is_ok(), "an authorizer belongs to one server");
        self.index.store(Arc::new(Index::new(&cache.world(), &Index::default(), unstored)));
    }

    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let index = self.index();
        let mut missing = Vec::new();
        for grant in index.grants(attributes.user, attributes.namespace()) {
            match grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes.verb, attributes.request)) => {
                    return Decision::Allow(grant.why());
                }
                Ok(_) => {}
                Err(role) if missing.contains(&role) => {}
                Err(role) => missing.push(role),
            }
        }
        Decision::NoOpinion(match missing.as_slice() {
            [] => Arc::default(),
            [one] => format!("RBAC: {one}").into(),
            several => {
                let several: Vec<_> = several.iter().map(|role| role.as_str()).collect();
                format!("RBAC: [{}]", several.join(", ")).into()
            }
        })
    }

    fn rules(&self, user: &User, namespace: &str) -> Rules {
        let index = self.index();
        let mut known = Rules::default();
        for grant in index.grants(user, namespace) {
            match grant.rules {
                Ok(rules) => known.rules.extend(rules.iter().cloned()),
                Err(role) => known.incomplete.push(role.clone()),
            }
        }
        known
    }
}
