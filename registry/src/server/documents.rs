//! What a server says about its kinds, kept in step with them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::discovery::Discovery;
use crate::openapi::OpenApi;
use crate::registry::Resources;

/// The documents of the kinds that are served, made anew when these change.
#[derive(Debug)]
pub(super) struct Documents(ArcSwap<Edition>);

/// The documents of one set of kinds.
#[derive(Debug)]
pub(super) struct Edition {
    resources: Arc<Resources>,
    pub(super) discovery: Discovery,
    pub(super) openapi: OpenApi,
}

impl Documents {
    pub(super) fn new(resources: Arc<Resources>) -> Self {
        let openapi = OpenApi::new(resources.clone());
        Self(ArcSwap::from_pointee(Edition { discovery: Discovery::new(&resources), openapi, resources }))
    }

    /// Returns the documents of these kinds. What did not change since the last edition is not made again.
    pub(super) fn of(&self, resources: &Arc<Resources>) -> Arc<Edition> {
        let last = self.0.load_full();
        if Arc::ptr_eq(&last.resources, resources) {
            return last;
        }
        let edition = Arc::new(Edition {
            resources: resources.clone(),
            discovery: Discovery::new(resources),
            openapi: last.openapi.revised(resources.clone()),
        });
        self.0.store(edition.clone());
        edition
    }
}
