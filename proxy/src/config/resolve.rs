use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use quarterdeck_core::client::ObjectKey;

use super::ServicePortConfig;
use super::endpoints::{Nodes, candidates, serving};
use super::services::wanted;

/// The label that says which service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Returns the ports of a service and who serves them on the machine that has these nodes.
pub(super) fn resolve(
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    endpoints: Option<&Endpoints>,
    nodes: &Nodes,
) -> Vec<ServicePortConfig> {
    let mut ports = Vec::new();
    for port in wanted(service) {
        let candidates = candidates(&port.config, slices, endpoints);
        let is_open_outside = port.config.node_port.is_some() || !port.config.external_ips.is_empty();
        let differs = is_open_outside && port.external != port.internal;
        ports.push(ServicePortConfig {
            backends: serving(&candidates, port.internal, nodes),
            external_backends: differs.then(|| serving(&candidates, port.external, nodes)),
            ..port.config
        });
    }
    ports
}

/// Returns the service that a slice belongs to.
pub(super) fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name))
}
