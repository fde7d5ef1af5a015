use serde_json::{Value, json};

use super::super::tests::{created, status_updated, updated, with};

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "n"},
        "spec": {
            "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80}],
        },
    })
}

#[test]
fn a_small_service_is_valid() {
    assert_eq!(created(service()), Vec::<String>::new());
}

#[test]
fn several_ports_have_names_and_differ() {
    let ports =
        json!([{"port": 80}, {"name": "a", "port": 80}, {"name": "a", "port": 81, "nodePort": 30000}]);
    assert_eq!(
        created(with(service(), "/spec/ports", ports)),
        [
            "spec.ports[0].name: Required value",
            "spec.ports[2].name: Duplicate value: \"a\"",
            "spec.ports[2].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            "spec.ports[1]: Duplicate value: core.ServicePort{Name:\"\", Protocol:\"TCP\", AppProtocol:(*string)(nil), \
             Port:80, TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}, NodePort:0}",
        ]
    );
}

#[test]
fn addresses_fit_to_each_other_and_to_their_families() {
    assert_eq!(
        created(with(service(), "/spec/clusterIP", "10.0.0.2".into())),
        ["spec.clusterIPs: Invalid value: []string{\"10.0.0.1\"}: first value must match `clusterIP`"]
    );
    assert_eq!(
        created(with(service(), "/spec/ipFamilies", json!(["IPv6"]))),
        [
            "spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`"
        ]
    );
    assert_eq!(
        created(with(service(), "/spec/externalIPs", json!(["127.0.0.1"]))),
        ["spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8)"]
    );
}

#[test]
fn a_service_with_another_name_has_no_address() {
    let named = with(service(), "/spec/type", "ExternalName".into());
    assert_eq!(
        created(named),
        [
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
            "spec.externalName: Required value",
        ]
    );
}

#[test]
fn what_only_load_balancers_have_is_refused_elsewhere() {
    let spec = json!({
        "ports": [{"port": 80}],
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "allocateLoadBalancerNodePorts": true,
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 30001,
    });
    let errors = created(with(service(), "/spec", spec));

    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(errors[2].ends_with("may only be set for externally-accessible services"));
}

#[test]
fn the_first_address_stays_and_the_second_may_go() {
    let two = with(service(), "/spec/clusterIPs", json!(["10.0.0.1", "fd00::1"]));
    let two = with(two, "/spec/ipFamilies", json!(["IPv4", "IPv6"]));
    let two = with(two, "/spec/ipFamilyPolicy", "PreferDualStack".into());
    let one = [("/spec/clusterIPs", json!(["10.0.0.1"])), ("/spec/ipFamilies", json!(["IPv4"]))];

    assert_eq!(
        updated(
            service(),
            &[("/spec/clusterIP", "10.0.0.9".into()), ("/spec/clusterIPs", json!(["10.0.0.9"]))]
        ),
        ["spec.clusterIPs[0]: Invalid value: []string{\"10.0.0.9\"}: may not change once set"]
    );
    assert_eq!(updated(two.clone(), &one).len(), 2);
    assert_eq!(
        updated(two, &[one[0].clone(), one[1].clone(), ("/spec/ipFamilyPolicy", "SingleStack".into())]),
        Vec::<String>::new()
    );
}

#[test]
fn a_load_balancer_takes_traffic_in_at_an_address_or_a_name() {
    let balanced = with(service(), "/spec/type", "LoadBalancer".into());
    let balanced = with(balanced, "/status", json!({"loadBalancer": {}}));
    let ingress =
        json!([{"ip": "x"}, {"hostname": "1.2.3.4"}, {"ip": "1.2.3.4"}, {"hostname": "a.example.com"}]);

    let errors = status_updated(balanced, &[("/status/loadBalancer/ingress", ingress)]);

    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(
        errors[0].starts_with(
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address"
        )
    );
    assert!(errors[1].ends_with("must be a DNS name, not an IP address"));
}

#[test]
fn endpoints_have_addresses_that_others_can_reach() {
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "e", "namespace": "n"},
        "subsets": [{"ports": [{"port": 80}]}, {"addresses": [{"ip": "169.254.1.1"}, {"ip": "10.0.0.1"}], "ports": [{"port": 0}]}],
    });
    assert_eq!(
        created(endpoints),
        [
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            "subsets[1].addresses[0].ip: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16)",
            "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ]
    );
}

#[test]
fn a_slice_has_addresses_of_one_kind_that_does_not_change() {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "e", "namespace": "n"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"name": "a", "port": 80}],
    });
    assert_eq!(created(slice.clone()), Vec::<String>::new());
    assert_eq!(
        created(with(slice.clone(), "/endpoints", json!([{"addresses": ["fd00::1"]}, {"addresses": []}]))),
        [
            "endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be a valid IPv4 address",
            "endpoints[1].addresses: Required value: must contain at least 1 address",
        ]
    );
    assert_eq!(
        updated(slice, &[("/addressType", "FQDN".into()), ("/endpoints", json!([{"addresses": ["a.b"]}]))]),
        ["addressType: Invalid value: \"FQDN\": field is immutable"]
    );
}

#[test]
fn the_one_address_and_the_list_say_the_same() {
    let alone = with(service(), "/spec/clusterIPs", json!([]));
    let listed = with(service(), "/spec/clusterIP", "".into());
    let mixed = with(service(), "/spec/clusterIPs", json!(["10.0.0.1", "None", "x"]));

    assert_eq!(created(alone), ["spec.clusterIPs: Required value"]);
    assert_eq!(
        created(listed),
        [
            "spec.clusterIPs: Invalid value: []string{\"10.0.0.1\"}: must be empty when `clusterIP` is not specified"
        ]
    );
    assert_eq!(
        created(mixed),
        [
            "spec.clusterIPs[1]: Invalid value: \"None\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "spec.clusterIPs[2]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "spec.clusterIPs: Invalid value: []string{\"10.0.0.1\", \"None\", \"x\"}: may only hold up to 2 values",
        ]
    );
}

#[test]
fn where_a_load_balancer_takes_traffic_from_is_a_field_or_an_annotation() {
    let balanced = with(service(), "/spec/type", "LoadBalancer".into());
    let annotations = json!({"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8, x"});
    let place = "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]";

    assert_eq!(
        created(with(
            balanced.clone(),
            "/spec/loadBalancerSourceRanges",
            json!([" 10.0.0.0/8 ", "10.0.0.0"])
        )),
        [
            "spec.LoadBalancerSourceRanges[1]: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        ]
    );
    assert_eq!(
        created(with(
            with(service(), "/metadata/annotations", annotations),
            "/spec/loadBalancerClass",
            "a b".into()
        )),
        [
            format!("{place}: Forbidden: may only be used when `type` is 'LoadBalancer'"),
            format!(
                "{place}: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            ),
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'".to_owned(),
        ]
    );
    assert_eq!(
        status_updated(
            with(service(), "/status", json!({"loadBalancer": {}})),
            &[("/status/loadBalancer/ingress", json!([{"ip": "x"}]))]
        ),
        ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
    );
}

#[test]
fn the_port_that_asks_nodes_stays() {
    let service = with(service(), "/spec/type", "LoadBalancer".into());
    let service = with(service, "/spec/externalTrafficPolicy", "Local".into());
    let service = with(service, "/spec/healthCheckNodePort", 30000.into());
    assert_eq!(
        updated(service, &[("/spec/healthCheckNodePort", 30001.into())]),
        ["spec.healthCheckNodePort: Forbidden: field is immutable"]
    );
}

#[test]
fn a_service_that_becomes_headless_or_is_may_be_of_other_families() {
    let headless =
        with(with(service(), "/spec/clusterIP", "None".into()), "/spec/clusterIPs", json!(["None"]));
    assert_eq!(updated(headless.clone(), &[("/spec/ipFamilies", json!(["IPv6"]))]), Vec::<String>::new());
    assert_eq!(
        updated(service(), &[("/spec/ipFamilies", json!(["IPv6"]))])[0],
        "spec.ipFamilies[0]: Invalid value: []core.IPFamily{\"IPv6\"}: may not change once set"
    );
}
