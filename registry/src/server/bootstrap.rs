//! What every cluster has from its start.

use std::net::SocketAddr;

use http::StatusCode;
use serde_json::{Value, json};

use super::api_services;
use crate::layers::fairness;
use crate::rbac;
use crate::registry::Registry;
use crate::resource::Scope;
use crate::schema;
use crate::status::{Result, Status};
use crate::user::User;
use crate::write::{Change, Target};

/// The namespaces of every cluster.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// The priority classes of every cluster, with their values.
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their node.",
    ),
];

/// Makes what is missing of it.
pub(super) async fn bootstrap(registry: &Registry, advertise: Option<SocketAddr>) -> Result<()> {
    for name in NAMESPACES {
        ensure(registry, "", "Namespace", None, json!({"metadata": {"name": name}})).await?;
    }
    for (name, value, description) in PRIORITY_CLASSES {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description});
        ensure(registry, "scheduling.k8s.io", "PriorityClass", None, class).await?;
    }
    let services = api_services::wanted(registry);
    for service in &services {
        ensure(registry, api_services::GROUP, "APIService", None, service.clone()).await?;
    }
    api_services::remove_others(registry, &services).await?;
    rbac::bootstrap::bootstrap(registry).await?;
    fairness::bootstrap(registry).await?;
    own_service(registry, advertise).await
}

/// Makes the namespaces that every cluster has, and the service that servers are found by, again if somebody deleted them.
pub(super) async fn restore(registry: &Registry, advertise: Option<SocketAddr>) -> Result<()> {
    for name in NAMESPACES {
        ensure(registry, "", "Namespace", None, json!({"metadata": {"name": name}})).await?;
    }
    own_service(registry, advertise).await
}

/// Makes the service `kubernetes`, at the first address of the range. What its endpoints are is not decided here.
async fn own_service(registry: &Registry, advertise: Option<SocketAddr>) -> Result<()> {
    let first = registry.settings.first_service_address();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let port = advertise.map_or(6443, |address| address.port());
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "clusterIP": first.to_string(), "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
    });
    ensure(registry, "", "Service", Some("default"), service).await
}

/// Makes an object unless it exists. Kinds that the server does not serve are left out.
pub(super) async fn ensure(
    registry: &Registry,
    group: &str,
    kind: &str,
    namespace: Option<&str>,
    object: Value,
) -> Result<()> {
    let resources = registry.resources();
    let Some(resource) = resources.by_kind(group, kind) else { return Ok(()) };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let key = resource.key(namespace, &name);
    if registry.cache.world().get(key.as_str()).is_some() {
        return Ok(());
    }
    let user = User::admin();
    let target = Target::unasked(resource, namespace, "", &user);
    match registry.create(&target, complete(resource, namespace, object)?).await {
        // Another server of the same cluster was faster.
        Err(status) if status.code == StatusCode::CONFLICT => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Makes an object in the namespace `default`, or sets what it says.
pub(super) async fn put(registry: &Registry, group: &str, kind: &str, object: Value) -> Result<()> {
    let resources = registry.resources();
    let Some(resource) = resources.by_kind(group, kind) else { return Ok(()) };
    let namespace = (resource.scope == Scope::Namespaced).then_some("default");
    ensure(registry, group, kind, namespace, object.clone()).await?;
    let user = User::admin();
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let target = Target::unasked(resource, namespace, &name, &user);
    registry.update(&target, &Overwrite(complete(resource, namespace, object)?)).await.map(|_| ())
}

fn complete(
    resource: &crate::resource::Resource,
    namespace: Option<&str>,
    mut object: Value,
) -> Result<Value> {
    object["kind"] = resource.kind.as_ref().into();
    object["apiVersion"] = resource.api_version().into();
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    let decoded = schema::decode_value(&resource.structure, object);
    let mut object = decoded.map_err(|error| Status::internal(error.to_string()))?.value;
    schema::apply_defaults(&resource.structure, &mut object);
    Ok(object)
}

/// Sets everything but the metadata.
struct Overwrite(Value);

impl Change for Overwrite {
    fn apply(&self, present: &Value) -> Result<Value> {
        let mut object = self.0.clone();
        object["metadata"] = present["metadata"].clone();
        Ok(object)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }
}
