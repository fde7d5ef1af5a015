//! The node's sign of life.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::host::Host;

/// Where the leases of nodes are.
const NAMESPACE: &str = "kube-node-lease";

/// Renews the node's lease, or makes it.
///
/// # Errors
///
/// Whatever the API server says.
pub(super) async fn renew(host: &Host, node: &Node, duration: Duration) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(host.context.client.clone(), NAMESPACE);
    let spec = LeaseSpec {
        holder_identity: Some(host.name.clone()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        renew_time: Some(MicroTime(host.context.clock.now())),
        ..LeaseSpec::default()
    };
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: host.name.clone(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let patch = json!({"metadata": {"ownerReferences": [owner]}, "spec": spec});
    match leases.patch(&host.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        other => return other.map(|_| ()),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(host.name.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    };
    leases.create(&PostParams::default(), &lease).await.map(|_| ())
}
