//! Which objects a controller owns: it adopts those that match its selector and have no controller, and releases its own
//! that match no more.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use quarterdeck_core::client::{Index, Informer, Watched};
use quarterdeck_core::component::BoxError;
use quarterdeck_core::labels::Selector;
use serde_json::json;

use crate::meta::{self, controller_of, patching};

/// Under what an object is found that may be owned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owned {
    /// The uid of its controller.
    By(String),
    /// The namespace of an object without a controller.
    Orphan(String),
}

/// Indexes objects by who controls them.
pub(crate) fn by_controller<K: Watched>(informer: &Informer<K>) -> Index<Owned, K> {
    informer.index(|object| {
        vec![match controller_of(object.meta()) {
            Some(owner) => Owned::By(owner.uid.clone()),
            None => Owned::Orphan(meta::namespace(object).to_owned()),
        }]
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Keep,
    Release,
    Adopt,
    Ignore,
}

fn decide(owner: &impl Resource, selector: &Selector, object: &impl Resource) -> Claim {
    let matches = selector.matches_map(meta::labels(object));
    match controller_of(object.meta()) {
        Some(controller) if controller.uid != meta::uid(owner) => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        _ if meta::is_terminating(owner) => Claim::Ignore,
        Some(_) => Claim::Release,
        None if !matches || meta::is_terminating(object) => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// Returns the objects that `owner` controls, after adopting and releasing what is due, in the order of their keys.
///
/// # Errors
///
/// If an adoption or a release fails for a reason other than that the object is gone.
pub(crate) async fn claim<O, K>(
    client: &Client,
    owner: &O,
    selector: &Selector,
    index: &Index<Owned, K>,
) -> Result<Vec<Arc<K>>, BoxError>
where
    O: Watched + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Watched + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let namespace = meta::namespace(owner);
    let mut candidates = index.get(&Owned::By(meta::uid(owner).into()));
    candidates.extend(index.get(&Owned::Orphan(namespace.into())));
    candidates.sort_by(|one, other| meta::name(&**one).cmp(meta::name(&**other)));

    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    let mut may_adopt = None;
    let mut claimed = Vec::new();
    for object in candidates {
        match decide(owner, selector, &*object) {
            Claim::Keep => claimed.push(object),
            Claim::Ignore => {}
            Claim::Release => release(&objects, owner, &*object).await?,
            Claim::Adopt => {
                let allowed = match may_adopt {
                    Some(allowed) => allowed,
                    None => *may_adopt.insert(still_there(client, owner).await?),
                };
                if allowed && adopt(&objects, owner, &*object).await? {
                    claimed.push(object);
                }
            }
        }
    }
    Ok(claimed)
}

/// The informer may not know yet that the owner is gone or going: its orphans must stay orphans.
async fn still_there<O>(client: &Client, owner: &O) -> kube::Result<bool>
where
    O: Watched + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let owners: Api<O> = Api::namespaced(client.clone(), meta::namespace(owner));
    let fresh = owners.get_opt(meta::name(owner)).await?;
    Ok(fresh.is_some_and(|fresh| meta::uid(&fresh) == meta::uid(owner) && !meta::is_terminating(&fresh)))
}

async fn adopt<O, K>(objects: &Api<K>, owner: &O, object: &K) -> kube::Result<bool>
where
    O: Resource<DynamicType = ()>,
    K: Watched,
{
    let reference: OwnerReference = meta::controller_reference(owner);
    let change = json!({"metadata": {"ownerReferences": [reference], "uid": meta::uid(object)}});
    tolerant(objects.patch(meta::name(object), &patching(), &Patch::Strategic(change)).await)
}

async fn release<O, K>(objects: &Api<K>, owner: &O, object: &K) -> kube::Result<()>
where
    O: Resource<DynamicType = ()>,
    K: Watched,
{
    let removal = json!({"$patch": "delete", "uid": meta::uid(owner)});
    let change = json!({"metadata": {"ownerReferences": [removal], "uid": meta::uid(object)}});
    tolerant(objects.patch(meta::name(object), &patching(), &Patch::Strategic(change)).await).map(drop)
}

/// Returns whether the object was there to be changed. Invalid means that another one has its name now.
fn tolerant<K>(result: kube::Result<K>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_invalid() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, from_value};

    use super::*;

    fn map(metadata: Value) -> ConfigMap {
        from_value(json!({"metadata": metadata})).unwrap()
    }

    fn decided(owner: Value, object: Value) -> Claim {
        decide(&map(owner), &Selector::parse("a=b").unwrap(), &map(object))
    }

    #[test]
    fn what_matches_is_kept_or_adopted_and_what_does_not_is_released() {
        let mine = json!([{"apiVersion": "v1", "kind": "X", "name": "o", "uid": "1", "controller": true}]);
        let other = json!([{"apiVersion": "v1", "kind": "X", "name": "o", "uid": "2", "controller": true}]);
        let (owner, matching) = (json!({"uid": "1"}), json!({"a": "b"}));
        let decided = |labels: &Value, owners: &Value| {
            decided(owner.clone(), json!({"labels": labels, "ownerReferences": owners}))
        };

        assert_eq!(decided(&matching, &mine), Claim::Keep);
        assert_eq!(decided(&matching, &json!([])), Claim::Adopt);
        assert_eq!(decided(&json!({}), &mine), Claim::Release);
        assert_eq!(decided(&json!({}), &json!([])), Claim::Ignore);
        assert_eq!(decided(&matching, &other), Claim::Ignore);
    }

    #[test]
    fn who_is_being_deleted_takes_and_releases_nothing() {
        let time = "2026-01-01T00:00:00Z";
        let going = json!({"uid": "1", "deletionTimestamp": time});
        let mine = json!([{"apiVersion": "v1", "kind": "X", "name": "o", "uid": "1", "controller": true}]);

        assert_eq!(decided(going.clone(), json!({"labels": {"a": "b"}})), Claim::Ignore);
        assert_eq!(decided(going.clone(), json!({"ownerReferences": mine})), Claim::Ignore);
        assert_eq!(
            decided(going, json!({"labels": {"a": "b"}, "ownerReferences": mine})),
            Claim::Keep,
            "its pods still count"
        );
        let dying = json!({"labels": {"a": "b"}, "deletionTimestamp": time});
        assert_eq!(decided(json!({"uid": "1"}), dying), Claim::Ignore);
    }
}
