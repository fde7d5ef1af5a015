//! Counting what a namespace holds.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use kube::api::{Api, ApiResource, ListParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use quarterdeck_core::client::Context;
use quarterdeck_core::quantity::Quantity;
use quarterdeck_core::quota::{self, Amounts};
use serde_json::Value;
use std::sync::Arc;

use crate::discovery::Kind;

/// How many objects are read at once.
const PAGE: u32 = 500;

/// Returns whether objects of a kind can use a resource of a quota.
pub(super) fn uses(kind: &Kind, resource: &str) -> bool {
    quota::uses(&kind.resource.group, &kind.resource.plural, resource)
}

/// Returns how much of a quota is used.
pub(super) async fn count(
    context: &Context,
    quota: &ResourceQuota,
    kinds: &[Arc<Kind>],
) -> kube::Result<BTreeMap<String, Text>> {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let resources: Vec<&String> = hard.into_iter().flat_map(BTreeMap::keys).collect();
    let value = serde_json::to_value(quota).map_err(kube::Error::SerdeError)?;
    let namespace = quota.metadata.namespace.as_deref().unwrap_or_default();
    let mut used = Amounts::new();
    for kind in kinds {
        let of_kind: Vec<&str> = resources
            .iter()
            .map(|resource| resource.as_str())
            .filter(|resource| uses(kind, resource))
            .collect();
        let (group, plural) = (kind.resource.group.as_str(), kind.resource.plural.as_str());
        let total = match (group, plural) {
            ("", "pods" | "services" | "persistentvolumeclaims") => {
                add_up(context, namespace, &kind.resource, &value).await?
            }
            // Objects of other kinds are all alike, and in no scope.
            _ if !quota::covers(&value, group, plural, &Value::Null) => Amounts::new(),
            _ => {
                let number = Quantity::from_units(number(context, namespace, &kind.resource).await?);
                of_kind.iter().map(|resource| ((*resource).to_owned(), number)).collect()
            }
        };
        for resource in of_kind {
            let amount = total.get(resource).copied().unwrap_or_default();
            used.insert(resource.to_owned(), amount);
        }
    }
    Ok(used.into_iter().map(|(resource, amount)| (resource, Text(amount.to_string()))).collect())
}

/// Adds up what the objects of a kind use that a quota covers.
async fn add_up(
    context: &Context,
    namespace: &str,
    kind: &ApiResource,
    quota: &Value,
) -> kube::Result<Amounts> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, kind);
    let now = context.clock.now();
    let mut total = Amounts::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&params).await?;
        for object in list.items {
            let object = serde_json::to_value(&object).map_err(kube::Error::SerdeError)?;
            if quota::covers(quota, &kind.group, &kind.plural, &object) {
                quota::add(&mut total, &quota::usage(&kind.group, &kind.plural, &object, now));
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(total),
        }
    }
}

/// Returns how many objects of a kind there are.
async fn number(context: &Context, namespace: &str, kind: &ApiResource) -> kube::Result<i64> {
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(context.client.clone(), namespace, kind);
    let first = api.list_metadata(&ListParams::default().limit(1)).await?;
    let more = first.metadata.continue_.is_some_and(|token| !token.is_empty());
    let seen = i64::try_from(first.items.len()).unwrap_or(i64::MAX);
    match first.metadata.remaining_item_count {
        Some(rest) => Ok(seen + rest),
        None if !more => Ok(seen),
        // A server that does not say how many are left.
        None => {
            let all = api.list_metadata(&ListParams::default()).await?;
            Ok(i64::try_from(all.items.len()).unwrap_or(i64::MAX))
        }
    }
}
