//! What the runtime is asked for: a pod's sandbox and its containers, from what the API says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, PodDNSConfig, PodSpec, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use quarterdeck_core::quantity::Quantity;
use quarterdeck_core::runtime::{
    Capabilities, Dns, Image, PodPort, PodSandbox, PodUid, Resources, Seccomp, Security,
};

use super::plan::{init_containers, main_containers};
use crate::host::ClusterDns;

/// The label of a sandbox that keeps for how many seconds its containers may go on when they are told to end.
pub(super) const GRACE_LABEL: &str = "quarterdeck.io/termination-grace-period-seconds";

/// How long a name of a host may be.
const HOST_NAME: usize = 63;

/// Describes a pod's sandbox.
///
/// # Errors
///
/// What is wrong, for the user.
pub(super) fn sandbox(pod: &Pod, dns: Option<&ClusterDns>) -> Result<PodSandbox, String> {
    let spec = pod.spec.as_ref().ok_or("the pod has no spec")?;
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let name = text(&meta.name);
    let hostname =
        spec.hostname.clone().filter(|hostname| !hostname.is_empty()).unwrap_or_else(|| name.clone());
    let hostname: String = hostname.chars().take(HOST_NAME).collect();
    let hostname = hostname.trim_end_matches(['-', '.']).to_owned();
    let containers = init_containers(pod).iter().chain(main_containers(pod));
    let ports = containers.flat_map(|container| container.ports.iter().flatten()).map(port);
    let aliases = spec.host_aliases.iter().flatten().flat_map(|alias| {
        let names = alias.hostnames.iter().flatten();
        names.map(|name| {
            let ip = alias.ip.parse().map_err(|_| format!("host alias {:?} is no address", alias.ip));
            ip.map(|ip: IpAddr| (ip, name.clone()))
        })
    });
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    let mut labels = BTreeMap::from([
        ("io.kubernetes.pod.name".to_owned(), name.clone()),
        ("io.kubernetes.pod.namespace".to_owned(), text(&meta.namespace)),
        ("io.kubernetes.pod.uid".to_owned(), text(&meta.uid)),
        (GRACE_LABEL.to_owned(), grace.to_string()),
    ]);
    labels.extend(meta.labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    Ok(PodSandbox {
        uid: PodUid::new(text(&meta.uid)),
        namespace: text(&meta.namespace),
        name,
        hostname,
        host_network: spec.host_network == Some(true),
        ports: ports.collect::<Result<_, _>>()?,
        dns: self::dns(spec, meta.namespace.as_deref().unwrap_or_default(), dns)?,
        host_aliases: aliases.collect::<Result<_, _>>()?,
        labels,
    })
}

fn port(port: &ContainerPort) -> Result<PodPort, String> {
    let number = |port: i32| u16::try_from(port).map_err(|_| format!("{port} is no port"));
    let host_ip = port.host_ip.as_deref().filter(|ip| !ip.is_empty());
    Ok(PodPort {
        container_port: number(port.container_port)?,
        host_port: port.host_port.filter(|port| *port != 0).map(number).transpose()?,
        host_ip: host_ip.map(|ip| ip.parse().map_err(|_| format!("{ip:?} is no address"))).transpose()?,
        protocol: port.protocol.as_deref().and_then(|protocol| protocol.parse().ok()).unwrap_or_default(),
    })
}

/// Returns how a pod resolves names; `None` is the host's way.
fn dns(spec: &PodSpec, namespace: &str, cluster: Option<&ClusterDns>) -> Result<Option<Dns>, String> {
    let uses_host = spec.host_network == Some(true);
    let base = match (spec.dns_policy.as_deref().unwrap_or("ClusterFirst"), cluster) {
        ("None", _) => Some(Dns::default()),
        ("ClusterFirst", Some(cluster)) if !uses_host => Some(of_cluster(cluster, namespace)),
        ("ClusterFirstWithHostNet", Some(cluster)) => Some(of_cluster(cluster, namespace)),
        _ => None,
    };
    let Some(config) = spec.dns_config.as_ref().filter(|config| **config != PodDNSConfig::default()) else {
        return Ok(base);
    };
    let Some(mut dns) = base else {
        return Err("dnsConfig needs dnsPolicy None here, or a cluster with name servers".to_owned());
    };
    for server in config.nameservers.iter().flatten() {
        let server = server.parse().map_err(|_| format!("name server {server:?} is no address"))?;
        if !dns.servers.contains(&server) {
            dns.servers.push(server);
        }
    }
    for search in config.searches.iter().flatten() {
        if !dns.searches.contains(search) {
            dns.searches.push(search.clone());
        }
    }
    for option in config.options.iter().flatten() {
        let name = option.name.clone().unwrap_or_default();
        dns.options.retain(|known| known.split(':').next() != Some(&name));
        dns.options.push(match &option.value {
            Some(value) => format!("{name}:{value}"),
            None => name,
        });
    }
    Ok(Some(dns))
}

fn of_cluster(cluster: &ClusterDns, namespace: &str) -> Dns {
    let domain = &cluster.domain;
    Dns {
        servers: cluster.servers.clone(),
        searches: vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()],
        options: vec!["ndots:5".to_owned()],
    }
}

/// Returns how much of the machine a container may use.
///
/// # Errors
///
/// What is wrong, for the user.
pub(super) fn resources(container: &Container) -> Result<Resources, String> {
    let Some(resources) = &container.resources else { return Ok(Resources::default()) };
    let amount = |list: &Option<BTreeMap<String, ApiQuantity>>, name: &str| {
        let text = list.as_ref().and_then(|list| list.get(name));
        let parsed = text
            .map(|text| text.0.parse::<Quantity>().map_err(|error| format!("{name} {:?}: {error}", text.0)));
        parsed.transpose()
    };
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    Ok(Resources {
        cpu_request: amount(&resources.requests, "cpu")?.and_then(|cpu| positive(cpu.milli_value())),
        cpu_limit: amount(&resources.limits, "cpu")?.and_then(|cpu| positive(cpu.milli_value())),
        memory_limit: amount(&resources.limits, "memory")?.and_then(|memory| positive(memory.value())),
    })
}

/// Returns what a container's program may do, and as whom.
///
/// # Errors
///
/// What is wrong, for the user.
pub(super) fn security(pod: &Pod, container: &Container, image: Option<&Image>) -> Result<Security, String> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let number = |field: &str, value: Option<i64>| {
        value
            .map(|value| u32::try_from(value).map_err(|_| format!("{field} {value} is out of range")))
            .transpose()
    };
    let run_as_user = number("runAsUser", own.run_as_user.or(of_pod.run_as_user))?;
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        check_not_root(run_as_user, image)?;
    }
    let mut groups = Vec::new();
    for group in of_pod.supplemental_groups.iter().flatten().chain(&of_pod.fs_group) {
        groups.extend(number("supplementalGroups", Some(*group))?);
    }
    let no_new_privileges = own.allow_privilege_escalation == Some(false);
    Ok(Security {
        run_as_user,
        run_as_group: number("runAsGroup", own.run_as_group.or(of_pod.run_as_group))?,
        supplemental_groups: groups,
        read_only_root: own.read_only_root_filesystem == Some(true),
        privileged: own.privileged == Some(true),
        no_new_privileges,
        capabilities: capabilities(&own),
        seccomp: own.seccomp_profile.or(of_pod.seccomp_profile).map(seccomp).transpose()?,
    })
}

fn check_not_root(user: Option<u32>, image: Option<&Image>) -> Result<(), String> {
    let image_user =
        image.and_then(|image| image.user.as_deref()?.split(':').next()).filter(|user| !user.is_empty());
    match (user, image_user) {
        (Some(0), _) => Err("container's runAsUser breaks non-root policy".to_owned()),
        (Some(_), _) => Ok(()),
        (None, None | Some("0" | "root")) => {
            Err("container has runAsNonRoot and image will run as root".to_owned())
        }
        (None, Some(user)) if user.parse::<u32>().is_ok() => Ok(()),
        (None, Some(user)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
        )),
    }
}

fn capabilities(context: &SecurityContext) -> Capabilities {
    let given = context.capabilities.clone().unwrap_or_default();
    Capabilities { add: given.add.unwrap_or_default(), drop: given.drop.unwrap_or_default() }
}

fn seccomp(profile: SeccompProfile) -> Result<Seccomp, String> {
    match (profile.type_.as_str(), profile.localhost_profile) {
        ("Unconfined", _) => Ok(Seccomp::Unconfined),
        ("RuntimeDefault", _) => Ok(Seccomp::RuntimeDefault),
        ("Localhost", Some(path)) => {
            Ok(Seccomp::Localhost(PathBuf::from("/var/lib/kubelet/seccomp").join(path)))
        }
        (other, _) => Err(format!("seccomp profile {other:?} is not known")),
    }
}
