//! Services: addresses and ports that are each given to one service, in the service's own commit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use quarterdeck_core::storage::Key;
use serde_json::{Value, json};

use crate::strategy::{Claim, Claims, Deletion, Strategy, StrategyContext};
use crate::validation::{FieldError, Shown};

/// What keys of service addresses begin with.
const ADDRESSES: &str = "/registry/ranges/serviceips/";
/// What keys of node ports begin with.
const NODE_PORTS: &str = "/registry/ranges/servicenodeports/";
/// What keys of services begin with.
const SERVICES: &str = "/registry/services/specs/";

#[derive(Debug)]
pub(super) struct ServiceStrategy;

impl Strategy for ServiceStrategy {
    fn prepare_for_create(&self, service: &mut Value, _context: &StrategyContext<'_>) {
        let address = text(service, "clusterIP").to_owned();
        if !address.is_empty() && lists_none(service) {
            service["spec"]["clusterIPs"] = json!([address]);
        }
    }

    fn prepare_for_update(&self, service: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
        keep_allocated(service, old);
        list_address(service, old);
        drop_foreign(service, old);
        if text(service, "type") != "LoadBalancer" {
            service["status"]["loadBalancer"] = json!({});
        }
    }

    fn deletion(&self, _service: &Value, _grace_period: Option<i64>) -> Deletion {
        Deletion::Graceful { seconds: 0 }
    }

    fn claim(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        context: &StrategyContext<'_>,
    ) -> Result<Claims, Vec<FieldError>> {
        let held = old.map(claims_of).unwrap_or_default();
        set_families(service, context)?;
        let mut take = Vec::new();
        take.extend(claim_address(service, &held, context)?);
        take.extend(claim_node_ports(service, &held, context)?);
        let kept = claims_of(service);
        let release = held.into_iter().filter(|key| !kept.contains(key)).collect();
        Ok(Claims { take, release })
    }

    fn release(&self, service: &Value) -> Vec<Key> {
        claims_of(service).into_iter().collect()
    }
}

/// The keys of a service's addresses and node ports.
fn claims_of(service: &Value) -> BTreeSet<Key> {
    let spec = &service["spec"];
    let addresses = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let addresses = addresses.filter(|address| !matches!(*address, "" | "None")).map(address_key);
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
    let ports = ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_u64);
    addresses.chain(ports.filter(|port| *port != 0).map(node_port_key)).collect()
}

fn address_key(address: &str) -> Key {
    Key::new(format!("{ADDRESSES}{address}"))
}

fn node_port_key(port: u64) -> Key {
    Key::new(format!("{NODE_PORTS}{port}"))
}

fn text<'a>(service: &'a Value, field: &str) -> &'a str {
    service["spec"][field].as_str().unwrap_or_default()
}

/// The ports of a service. An index would make the list where there is none.
fn ports_mut(service: &mut Value) -> impl Iterator<Item = &mut Value> {
    service.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten()
}

fn needs_address(service: &Value) -> bool {
    text(service, "type") != "ExternalName"
}

fn needs_node_ports(service: &Value) -> bool {
    match text(service, "type") {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn needs_health_port(service: &Value) -> bool {
    text(service, "type") == "LoadBalancer" && text(service, "externalTrafficPolicy") == "Local"
}

fn remove(service: &mut Value, field: &str) {
    if let Some(spec) = service["spec"].as_object_mut() {
        spec.remove(field);
    }
}

/// Gives an update that leaves out what the server allocated what the service has (upstream's `patchAllocatedValues`).
fn keep_allocated(service: &mut Value, old: &Value) {
    if needs_address(service) && needs_address(old) {
        if text(service, "clusterIP").is_empty() {
            inherit(service, old, "clusterIP");
        }
        if lists_none(service) && text(service, "clusterIP") == text(old, "clusterIP") {
            inherit(service, old, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if service["spec"][field].is_null() {
                inherit(service, old, field);
            }
        }
    }
    if needs_node_ports(service) && needs_node_ports(old) {
        let (mut taken, ports) = (claims_of_ports(service), old["spec"]["ports"].as_array());
        let by_name: BTreeMap<&str, u64> = (ports.into_iter().flatten())
            .filter_map(|port| Some((port["name"].as_str().unwrap_or_default(), port["nodePort"].as_u64()?)))
            .collect();
        for port in ports_mut(service).filter(|port| port["nodePort"].as_u64().unwrap_or(0) == 0) {
            let known = by_name.get(port["name"].as_str().unwrap_or_default());
            if let Some(known) = known.filter(|known| taken.insert(**known)) {
                port["nodePort"] = (*known).into();
            }
        }
    }
    if needs_health_port(service)
        && needs_health_port(old)
        && service["spec"]["healthCheckNodePort"].is_null()
    {
        inherit(service, old, "healthCheckNodePort");
    }
}

fn lists_none(service: &Value) -> bool {
    service["spec"]["clusterIPs"].as_array().is_none_or(Vec::is_empty)
}

/// Lets the list of addresses follow the one address, which is all that older clients know, unless the client changed the
/// list itself (upstream's `NormalizeClusterIPs`).
fn list_address(service: &mut Value, old: &Value) {
    let (now, was) = (text(service, "clusterIP").to_owned(), text(old, "clusterIP"));
    let same_list = service["spec"]["clusterIPs"] == old["spec"]["clusterIPs"];
    if now.is_empty() {
        if !was.is_empty() && same_list {
            remove(service, "clusterIPs");
        }
    } else if lists_none(service) || (now != was && same_list) {
        service["spec"]["clusterIPs"] = json!([now]);
    }
}

/// Takes a field of the spec from the old service, if it has it.
fn inherit(service: &mut Value, old: &Value, field: &str) {
    if !old["spec"][field].is_null() {
        service["spec"][field] = old["spec"][field].clone();
    }
}

/// Drops what a service keeps only of its former type (upstream's `dropTypeDependentFields`).
fn drop_foreign(service: &mut Value, old: &Value) {
    let is_kept = |service: &Value, field: &str| service["spec"][field] == old["spec"][field];
    if needs_address(old) && !needs_address(service) {
        // Who changes one of the two means both.
        if is_kept(service, "clusterIP") && is_kept(service, "clusterIPs") {
            remove(service, "clusterIP");
            remove(service, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if is_kept(service, field) {
                remove(service, field);
            }
        }
    }
    if needs_node_ports(old)
        && !needs_node_ports(service)
        && claims_of_ports(service).is_subset(&claims_of_ports(old))
    {
        for port in ports_mut(service).filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if needs_health_port(old) && !needs_health_port(service) && is_kept(service, "healthCheckNodePort") {
        remove(service, "healthCheckNodePort");
    }
    if text(old, "type") == "LoadBalancer" && text(service, "type") != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if is_kept(service, field) {
                remove(service, field);
            }
        }
    }
    if is_reachable(old) && !is_reachable(service) && is_kept(service, "externalTrafficPolicy") {
        remove(service, "externalTrafficPolicy");
    }
}

/// Whether a service can be reached from outside the cluster.
fn is_reachable(service: &Value) -> bool {
    let has_addresses = || service["spec"]["externalIPs"].as_array().is_some_and(|list| !list.is_empty());
    match text(service, "type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => has_addresses(),
        _ => false,
    }
}

/// Sets the address families: this cluster has one.
fn set_families(service: &mut Value, context: &StrategyContext<'_>) -> Result<(), Vec<FieldError>> {
    if !needs_address(service) {
        return Ok(());
    }
    let (ours, other) =
        if context.service_cidr.addr().is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
    let headless = text(service, "clusterIP") == "None";
    let selects = service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    let policy = text(service, "ipFamilyPolicy").to_owned();
    let families: Vec<String> = service["spec"]["ipFamilies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    if headless && !selects {
        if policy.is_empty() {
            service["spec"]["ipFamilyPolicy"] =
                if families.len() == 1 { "SingleStack" } else { "RequireDualStack" }.into();
        }
        if families.is_empty() {
            let both = text(service, "ipFamilyPolicy") != "SingleStack";
            service["spec"]["ipFamilies"] = if both { json!([ours, other]) } else { json!([ours]) };
        }
        return Ok(());
    }
    let mut errors = Vec::new();
    if policy == "RequireDualStack" {
        errors.push(FieldError::invalid(
            "spec.ipFamilyPolicy",
            policy.as_str(),
            "Cluster is not configured for dual stack services",
        ));
    }
    if let Some(at) = families.iter().position(|family| family == other) {
        errors.push(FieldError::invalid(
            format!("spec.ipFamilies[{at}]"),
            Shown::verbatim("[]string(nil)"),
            &format!("ipfamily {other} is not configured on cluster"),
        ));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if policy.is_empty() {
        service["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    }
    service["spec"]["ipFamilies"] = json!([ours]);
    Ok(())
}

/// Sets the cluster address, and claims it unless the service has it already.
fn claim_address(
    service: &mut Value,
    held: &BTreeSet<Key>,
    context: &StrategyContext<'_>,
) -> Result<Option<Claim>, Vec<FieldError>> {
    if !needs_address(service) {
        return Ok(None);
    }
    let listed = service["spec"]["clusterIPs"][0].as_str().unwrap_or_default().to_owned();
    let single = text(service, "clusterIP").to_owned();
    let given = if single.is_empty() { listed } else { single };
    if given == "None" {
        service["spec"]["clusterIP"] = "None".into();
        service["spec"]["clusterIPs"] = json!(["None"]);
        return Ok(None);
    }
    let (address, taken) = if given.is_empty() {
        (free_address(context).to_string(), None)
    } else {
        let refuse = |why: &str| {
            let shown = Shown::verbatim(format!("[]string{{{given:?}}}"));
            FieldError::invalid("spec.clusterIPs", shown, &format!("failed to allocate IP {given}: {why}"))
        };
        let is_ours = given.parse().is_ok_and(|address| is_service_address(context.service_cidr, address));
        if !is_ours && !held.contains(&address_key(&given)) {
            return Err(vec![refuse(&format!(
                "the provided network does not match the current range: the provided IP ({given}) is not in the valid \
                 range. The range of valid IPs is {}",
                context.service_cidr
            ))]);
        }
        let taken = refuse("provided IP is already allocated");
        (given, Some(taken))
    };
    service["spec"]["clusterIP"] = address.as_str().into();
    service["spec"]["clusterIPs"] = json!([address]);
    let key = address_key(&address);
    Ok((!held.contains(&key)).then_some(Claim { key, taken }))
}

/// Picks an address: any at first; after a collision the first behind any that no known service has.
fn free_address(context: &StrategyContext<'_>) -> IpAddr {
    let cidr = context.service_cidr;
    let start = nth(cidr, context.random.u64());
    if context.attempt == 0 {
        return start;
    }
    let services = context.world.range(SERVICES, None);
    let used: BTreeSet<IpAddr> = services
        .filter_map(|(_, service)| {
            service.value()["spec"]["clusterIP"].as_str().and_then(|address| address.parse().ok())
        })
        .collect();
    (0..)
        .map(|step| next(cidr, start, step))
        .take(used.len() + 1)
        .find(|address| !used.contains(address))
        .unwrap_or(start)
}

/// The usable address number `at` of a range, counted round.
fn nth(cidr: IpNet, at: u64) -> IpAddr {
    match cidr {
        IpNet::V4(cidr) => {
            let usable =
                u64::from(u32::from(cidr.broadcast()) - u32::from(cidr.network())).saturating_sub(1).max(1);
            let offset = u32::try_from(at % usable).expect("an offset in an IPv4 range fits") + 1;
            IpAddr::V4(Ipv4Addr::from(u32::from(cidr.network()) + offset))
        }
        IpNet::V6(cidr) => {
            let usable = (u128::from(cidr.broadcast()) - u128::from(cidr.network())).saturating_sub(1).max(1);
            IpAddr::V6(Ipv6Addr::from(u128::from(cidr.network()) + u128::from(at) % usable + 1))
        }
    }
}

/// The usable address `step` steps behind another, counted round.
fn next(cidr: IpNet, from: IpAddr, step: u64) -> IpAddr {
    let offset = match (cidr, from) {
        (IpNet::V4(cidr), IpAddr::V4(from)) => u64::from(u32::from(from) - u32::from(cidr.network())) - 1,
        (IpNet::V6(cidr), IpAddr::V6(from)) => {
            u64::try_from(u128::from(from) - u128::from(cidr.network()) - 1).unwrap_or(0)
        }
        _ => 0,
    };
    nth(cidr, offset.wrapping_add(step))
}

/// Sets node ports, and claims those that the service does not have already.
fn claim_node_ports(
    service: &mut Value,
    held: &BTreeSet<Key>,
    context: &StrategyContext<'_>,
) -> Result<Vec<Claim>, Vec<FieldError>> {
    let (first, last) = context.node_ports;
    let (mut claims, mut errors): (Vec<Claim>, Vec<FieldError>) = (Vec::new(), Vec::new());
    let chooses = needs_node_ports(service);
    let mut own: BTreeSet<u64> = claims_of_ports(service);
    for (index, port) in ports_mut(service).enumerate() {
        let given = port["nodePort"].as_u64().filter(|port| *port != 0);
        if given.is_none() && !chooses {
            continue;
        }
        let field = format!("spec.ports[{index}].nodePort");
        let number = given.unwrap_or_else(|| free_port(&own, context));
        own.insert(number);
        port["nodePort"] = number.into();
        let key = node_port_key(number);
        if held.contains(&key) || claims.iter().any(|claim| claim.key == key) {
            continue;
        }
        let shown = || i64::try_from(number).unwrap_or(i64::MAX);
        if !(u64::from(first)..=u64::from(last)).contains(&number) {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            );
            errors.push(FieldError::invalid(field, shown(), &why));
            continue;
        }
        let taken = given.map(|_| FieldError::invalid(field, shown(), "provided port is already allocated"));
        claims.push(Claim { key, taken });
    }
    if needs_health_port(service) {
        claims.extend(claim_health_port(service, held, &own, context));
    }
    if errors.is_empty() { Ok(claims) } else { Err(errors) }
}

fn claim_health_port(
    service: &mut Value,
    held: &BTreeSet<Key>,
    own: &BTreeSet<u64>,
    context: &StrategyContext<'_>,
) -> Option<Claim> {
    let given = service["spec"]["healthCheckNodePort"].as_u64().filter(|port| *port != 0);
    let number = given.unwrap_or_else(|| free_port(own, context));
    service["spec"]["healthCheckNodePort"] = number.into();
    let key = node_port_key(number);
    let taken = given.map(|number| {
        let why = format!(
            "failed to allocate requested HealthCheck NodePort {number}: provided port is already allocated"
        );
        FieldError::invalid("spec.healthCheckNodePort", i64::try_from(number).unwrap_or(i64::MAX), &why)
    });
    (!held.contains(&key)).then_some(Claim { key, taken })
}

fn claims_of_ports(service: &Value) -> BTreeSet<u64> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| port["nodePort"].as_u64()).collect()
}

/// Picks a port: any at first; after a collision the first behind any that no known service has.
fn free_port(own: &BTreeSet<u64>, context: &StrategyContext<'_>) -> u64 {
    let (first, last) = (u64::from(context.node_ports.0), u64::from(context.node_ports.1));
    let count = last.saturating_sub(first) + 1;
    let start = context.random.u64() % count;
    let mut used = own.clone();
    if context.attempt > 0 {
        let services = context.world.range(SERVICES, None);
        used.extend(services.flat_map(|(_, service)| claims_of_ports(&service.value())));
    }
    (0..count)
        .map(|step| first + (start + step) % count)
        .find(|port| !used.contains(port))
        .unwrap_or(first + start)
}

/// Returns whether an address may be given to services: in the range, and neither its first nor its last address.
fn is_service_address(cidr: IpNet, address: IpAddr) -> bool {
    cidr.contains(&address) && address != cidr.network() && address != cidr.broadcast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_round_without_the_first_and_the_last() {
        let cidr: IpNet = "10.0.0.0/30".parse().unwrap();

        assert_eq!(nth(cidr, 0).to_string(), "10.0.0.1");
        assert_eq!(nth(cidr, 1).to_string(), "10.0.0.2");
        assert_eq!(nth(cidr, 2).to_string(), "10.0.0.1");
        assert_eq!(next(cidr, "10.0.0.2".parse().unwrap(), 1).to_string(), "10.0.0.1");
    }
}
