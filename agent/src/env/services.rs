//! The variables that tell a container of services: `NAME_SERVICE_HOST` and the like.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// The service that every pod is told of: the API server's.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// Returns the variables of the services of a namespace, if pods want `links`, and of the API server.
pub(super) fn variables(services: &[Arc<Service>], namespace: &str, links: bool) -> BTreeMap<String, String> {
    let place = |service: &Service| {
        let meta = &service.metadata;
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    };
    let is_master = |service: &Service| place(service) == (MASTER.0.to_owned(), MASTER.1.to_owned());
    let mut variables = BTreeMap::new();
    for service in services.iter().filter(|service| is_master(service)) {
        of_service(service, &mut variables);
    }
    // A service called so in the pod's own namespace comes before the API server's.
    for service in services.iter().filter(|service| links && place(service).0 == namespace) {
        of_service(service, &mut variables);
    }
    variables
}

fn of_service(service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let address = spec.cluster_ip.as_deref().filter(|address| !address.is_empty() && *address != "None");
    let ports = spec.ports.as_deref().unwrap_or_default();
    let (Some(address), Some(first)) = (address, ports.first()) else { return };
    let name = variable_name(service.metadata.name.as_deref().unwrap_or_default());
    variables.insert(format!("{name}_SERVICE_HOST"), address.to_owned());
    variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables
                .insert(format!("{name}_SERVICE_PORT_{}", variable_name(port_name)), port.port.to_string());
        }
    }
    variables.insert(format!("{name}_PORT"), url(address, first));
    for port in ports {
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol(port).to_uppercase());
        variables.insert(prefix.clone(), url(address, port));
        variables.insert(format!("{prefix}_PROTO"), protocol(port));
        variables.insert(format!("{prefix}_PORT"), port.port.to_string());
        variables.insert(format!("{prefix}_ADDR"), address.to_owned());
    }
}

fn protocol(port: &ServicePort) -> String {
    port.protocol.as_deref().unwrap_or("TCP").to_lowercase()
}

fn url(address: &str, port: &ServicePort) -> String {
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    format!("{}://{address}:{}", protocol(port), port.port)
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, name: &str, address: &str) -> Arc<Service> {
        let service = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": address, "ports": [{"name": "db", "port": 6379}]},
        });
        Arc::new(serde_json::from_value(service).unwrap())
    }

    #[test]
    fn services_of_the_namespace_and_the_api_server_are_told() {
        let services = [
            service("default", "kubernetes", "10.254.0.1"),
            service("n", "redis-master", "10.254.0.9"),
            service("n", "headless", "None"),
            service("other", "hidden", "10.254.0.8"),
        ];

        let linked = variables(&services, "n", true);
        let bare = variables(&services, "n", false);

        assert_eq!(linked["REDIS_MASTER_SERVICE_HOST"], "10.254.0.9");
        assert_eq!(linked["REDIS_MASTER_SERVICE_PORT_DB"], "6379");
        assert_eq!(linked["REDIS_MASTER_PORT_6379_TCP"], "tcp://10.254.0.9:6379");
        assert!(linked.keys().all(|name| !name.starts_with("H")), "{linked:?}");
        assert!(bare.keys().all(|name| name.starts_with("KUBERNETES_")), "{bare:?}");
        assert_eq!(bare["KUBERNETES_SERVICE_HOST"], "10.254.0.1");
    }
}
