use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::ServicePortConfig;
use super::resolve::resolve;

fn service(spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}))
        .unwrap()
}

fn web() -> Service {
    service(json!({"clusterIP": "10.254.0.7", "ports": [{"port": 80, "targetPort": "http"}]}))
}

fn slice(ports: Value, endpoints: Value) -> Arc<EndpointSlice> {
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    });
    Arc::new(serde_json::from_value(slice).unwrap())
}

fn endpoints(subsets: Value) -> Endpoints {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "subsets": subsets}))
        .unwrap()
}

fn of_slices(service: &Service, slices: &[Arc<EndpointSlice>]) -> Vec<ServicePortConfig> {
    resolve(service, slices, None, &BTreeSet::new())
}

fn backends(config: &ServicePortConfig) -> Vec<String> {
    config.backends.as_slice().iter().map(|backend| backend.0.to_string()).collect()
}

#[test]
fn a_service_port_leads_to_the_port_of_that_name_at_every_ready_endpoint() {
    let service = service(json!({"clusterIP": "10.254.0.7", "ports": [
        {"name": "http", "port": 80, "targetPort": "web"},
        {"name": "admin", "port": 81, "targetPort": 9000},
    ]}));
    let ready = json!([
        {"addresses": ["10.1.0.2"], "conditions": {"ready": true}},
        {"addresses": ["10.1.0.1"]},
        {"addresses": ["10.1.0.3"], "conditions": {"ready": false}},
    ]);
    let ports = json!([{"name": "admin", "port": 9000}, {"name": "http", "port": 8080}]);
    // Pods whose named port has another number are in a slice of their own.
    let others = slice(json!([{"name": "http", "port": 8081}]), json!([{"addresses": ["10.1.0.9"]}]));

    let configs = of_slices(&service, &[slice(ports, ready), others]);

    assert_eq!(backends(&configs[0]), ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.9:8081"]);
    assert_eq!(backends(&configs[1]), ["10.1.0.1:9000", "10.1.0.2:9000"]);
    assert_eq!((&*configs[0].name, configs[0].port, configs[1].port), ("http", 80, 81));
    assert_eq!(configs[0].cluster_ips, ["10.254.0.7".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn endpoints_that_end_serve_while_none_is_ready() {
    let ending = json!({"addresses": ["10.1.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true}});
    let ended = json!({"addresses": ["10.1.0.2"], "conditions": {"ready": false, "serving": false, "terminating": true}});
    let unready = json!({"addresses": ["10.1.0.3"], "conditions": {"ready": false, "serving": true}});
    let ready = json!({"addresses": ["10.1.0.4"], "conditions": {"ready": true}});
    let with = |endpoints: Value| of_slices(&web(), &[slice(json!([{"name": "", "port": 8080}]), endpoints)]);

    let without_ready = with(json!([ending, ended, unready]));
    let with_ready = with(json!([ending, ended, unready, ready]));

    assert_eq!(backends(&without_ready[0]), ["10.1.0.1:8080"]);
    assert_eq!(backends(&with_ready[0]), ["10.1.0.4:8080"]);
}

#[test]
fn an_endpoints_object_counts_if_there_is_no_slice() {
    let endpoints = endpoints(json!([{
        "addresses": [{"ip": "10.1.0.5"}],
        "notReadyAddresses": [{"ip": "10.1.0.6"}],
        "ports": [{"port": 8080}],
    }]));
    let none = BTreeSet::new();

    let alone = resolve(&web(), &[], Some(&endpoints), &none);
    let empty = slice(json!([]), json!([]));
    let with_slice = resolve(&web(), &[empty], Some(&endpoints), &none);

    assert_eq!(backends(&alone[0]), ["10.1.0.5:8080"]);
    assert_eq!(backends(&with_slice[0]), Vec::<String>::new());
}

#[test]
fn services_that_have_no_address_or_another_proxy_are_left_alone() {
    let ports = json!([{"port": 80}]);
    let mut other = web();
    other.metadata.labels =
        Some([("service.kubernetes.io/service-proxy-name".to_owned(), "mesh".to_owned())].into());

    for service in [
        service(json!({"clusterIP": "None", "ports": ports})),
        service(json!({"ports": ports})),
        service(json!({"type": "ExternalName", "externalName": "example.com", "ports": ports})),
        other,
    ] {
        assert_eq!(of_slices(&service, &[]), [], "{service:?}");
    }
}

#[test]
fn what_is_open_outside_is_as_the_type_says() {
    let mut balanced = service(json!({
        "type": "LoadBalancer",
        "clusterIP": "10.254.0.7",
        "clusterIPs": ["10.254.0.7", "fd00::7"],
        "externalIPs": ["192.0.2.1"],
        "ports": [{"port": 80, "nodePort": 30080}],
    }));
    let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"ip": "192.0.2.9", "ipMode": "Proxy"}, {"hostname": "x"}]}});
    balanced.status = serde_json::from_value(status).unwrap();
    let mut restricted = balanced.clone();
    restricted.spec.as_mut().unwrap().load_balancer_source_ranges = Some(vec!["10.0.0.0/8".into()]);

    let open = &of_slices(&balanced, &[])[0];
    assert_eq!(open.node_port, Some(30_080));
    assert_eq!(open.cluster_ips.len(), 2);
    assert_eq!(
        open.external_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.1", "192.0.2.8"]
    );
    let closed = &of_slices(&restricted, &[])[0];
    assert_eq!(closed.external_ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.1"]);
}

#[test]
fn affinity_lasts_as_long_as_the_service_says() {
    let ports = json!([{"port": 80}]);
    let with = |more: Value| {
        let mut spec = json!({"clusterIP": "10.254.0.7", "ports": ports});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of_slices(&service(spec), &[])[0].affinity
    };

    assert_eq!(with(json!({"sessionAffinity": "None"})), None);
    assert_eq!(with(json!({"sessionAffinity": "ClientIP"})), Some(Duration::from_secs(10_800)));
    let ten =
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}}});
    assert_eq!(with(ten), Some(Duration::from_secs(10)));
}

#[test]
fn local_policies_keep_connections_on_this_machine() {
    let spec = |internal: &str, external: &str| {
        service(json!({
            "type": "NodePort",
            "clusterIP": "10.254.0.7",
            "internalTrafficPolicy": internal,
            "externalTrafficPolicy": external,
            "ports": [{"port": 80, "nodePort": 30080}],
        }))
    };
    let on = [slice(
        json!([{"port": 8080}]),
        json!([
            {"addresses": ["10.1.0.1"], "nodeName": "here"},
            {"addresses": ["10.1.1.1"], "nodeName": "there"},
            {"addresses": ["10.1.2.1"]},
        ]),
    )];
    let here = BTreeSet::from(["here".to_owned()]);
    let resolved = |service: &Service| resolve(service, &on, None, &here).remove(0);
    let local = ["10.1.0.1:8080"];

    let inside = resolved(&spec("Local", "Cluster"));
    assert_eq!(backends(&inside), local);
    assert_eq!(inside.external_backends.unwrap().as_slice().len(), 3);

    let outside = resolved(&spec("Cluster", "Local"));
    assert_eq!(backends(&outside).len(), 3);
    assert_eq!(outside.external_backends.unwrap().as_slice().len(), 1);

    let both = resolved(&spec("Local", "Local"));
    assert_eq!((backends(&both), both.external_backends), (local.map(String::from).to_vec(), None));

    let everywhere = resolve(&spec("Local", "Local"), &on, None, &BTreeSet::new()).remove(0);
    assert_eq!(backends(&everywhere).len(), 3, "no node is named: all are here");
}

#[test]
fn a_pod_with_two_addresses_is_one_backend() {
    let service = service(
        json!({"clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.254.0.7"], "ports": [{"port": 80}]}),
    );
    let ports = json!([{"port": 8080}]);
    let v4 = slice(ports.clone(), json!([{"addresses": ["10.1.0.1"]}]));
    let v6 = slice(ports, json!([{"addresses": ["fd00:1::1"]}]));

    assert_eq!(backends(&of_slices(&service, &[v4.clone(), v6])[0]), ["[fd00:1::1]:8080"]);
    assert_eq!(backends(&of_slices(&service, &[v4])[0]), ["10.1.0.1:8080"]);
}

#[test]
fn protocols_that_are_not_proxied_are_left_out() {
    let service = service(json!({"clusterIP": "10.254.0.7", "ports": [
        {"name": "a", "port": 80, "protocol": "SCTP"},
        {"name": "b", "port": 53, "protocol": "UDP"},
    ]}));
    let ports = json!([{"name": "b", "port": 5353, "protocol": "UDP"}, {"name": "b", "port": 5354, "protocol": "TCP"}]);

    let configs = of_slices(&service, &[slice(ports, json!([{"addresses": ["10.1.0.1"]}]))]);

    assert_eq!(configs.len(), 1);
    assert_eq!(backends(&configs[0]), ["10.1.0.1:5353"]);
}
