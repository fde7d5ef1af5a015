//! What the server says of itself, made from the kinds that it serves.
//!
//! Kinds come and go while the server runs. [`Documents`] keeps what was made for the last set of them: a document is
//! made when somebody asks for it first, and again when a kind that it is about has changed.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, Response};
use tokio::sync::Mutex;

use crate::body::Body;
use crate::discovery::Discovery;
use crate::openapi::OpenApi;
use crate::registry::Registry;
use crate::request::Query;
use crate::resource::Resource;

/// The documents about the kinds that were asked about last.
#[derive(Debug, Default)]
pub(crate) struct Documents(ArcSwapOption<Set>);

/// The documents about a set of kinds.
#[derive(Debug)]
pub(crate) struct Set {
    resources: Vec<Arc<Resource>>,
    /// Versions, groups and kinds.
    pub discovery: Discovery,
    /// Fields, paths and parameters.
    pub openapi: OpenApi,
    /// Held by who makes a document: others that ask wait for it.
    making: Mutex<()>,
}

impl Set {
    /// Answers a path of OpenAPI, if a document is there. One that is not made yet is made away from other tasks, and once.
    pub(crate) async fn openapi(
        self: &Arc<Self>,
        path: &str,
        headers: &HeaderMap,
        query: &Query,
        registry: &Registry,
    ) -> Option<Response<Body>> {
        if !self.openapi.is_made(path, headers) {
            let _making = self.making.lock().await;
            if !self.openapi.is_made(path, headers) {
                let (set, path, headers) = (self.clone(), path.to_owned(), headers.clone());
                registry.long.run(move || set.openapi.make(&path, &headers)).await;
            }
        }
        self.openapi.answer(path, headers, query, registry.clock.now())
    }
}

impl Documents {
    /// Returns the documents about these kinds.
    pub(crate) fn about(&self, resources: &[Arc<Resource>]) -> Arc<Set> {
        let last = self.0.load_full();
        if let Some(set) = last.as_ref().filter(|set| same(&set.resources, resources)) {
            return set.clone();
        }
        // Of two callers that find a new set, one makes it in vain: nothing but cells is made here.
        let set = Arc::new(Set {
            resources: resources.to_vec(),
            discovery: Discovery::new(resources),
            openapi: OpenApi::new(resources, last.as_ref().map(|last| &last.openapi)),
            making: Mutex::default(),
        });
        self.0.store(Some(set.clone()));
        set
    }
}

/// Returns whether two sets hold the same values, not only equal ones.
#[must_use]
pub(crate) fn same(some: &[Arc<Resource>], others: &[Arc<Resource>]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Scope;

    fn config_maps() -> Arc<Resource> {
        Arc::new(Resource::builtin("", "v1", "ConfigMap", "configmaps", Scope::Namespaced))
    }

    #[test]
    fn documents_are_kept_while_the_kinds_are_the_same_and_made_anew_when_one_changed() {
        let documents = Documents::default();
        let (first, changed) = ([config_maps()], [config_maps()]);

        let made = documents.about(&first);

        assert!(Arc::ptr_eq(&made, &documents.about(&first)));
        assert!(!Arc::ptr_eq(&made, &documents.about(&changed)));
    }
}
