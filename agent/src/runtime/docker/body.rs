//! What the engine is asked to make of a pod and of its containers.

use std::fs;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, PortBinding};
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, PodPort, PodSandbox, Protocol, RuntimeError, Seccomp,
};

use super::labels::Tag;

/// The least memory that an engine lets a container have.
const LEAST_MEMORY: u64 = 6 << 20;

/// Returns the container that holds a pod's network.
pub(super) fn sandbox(pod: &PodSandbox, tag: &Tag, image: &str, node: &str) -> ContainerCreateBody {
    let host = HostConfig {
        network_mode: Some(if pod.host_network { "host" } else { "default" }.to_owned()),
        ipc_mode: Some("shareable".to_owned()),
        port_bindings: (!pod.host_network).then(|| bindings(&pod.ports)),
        dns: pod.dns.as_ref().map(|dns| dns.servers.iter().map(ToString::to_string).collect()),
        dns_search: pod.dns.as_ref().map(|dns| dns.searches.clone()),
        dns_options: pod.dns.as_ref().map(|dns| dns.options.clone()),
        extra_hosts: Some(
            pod.host_aliases.iter().map(|(address, name)| format!("{name}:{address}")).collect(),
        ),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/pause".to_owned()]),
        hostname: (!pod.host_network).then(|| pod.hostname.clone()),
        exposed_ports: Some(pod.ports.iter().map(name_of).collect()),
        labels: Some(tag.write(node).into_iter().collect()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// Returns a container of the pod whose network this sandbox holds.
pub(super) fn container(
    key: &ContainerKey,
    spec: &ContainerSpec,
    user: Option<String>,
    sandbox: &str,
    tag: &Tag,
    node: &str,
) -> Result<ContainerCreateBody, RuntimeError> {
    let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let security = &spec.security;
    let limit = spec.resources.memory_limit;
    if limit.is_some_and(|limit| limit < LEAST_MEMORY) {
        return Err(RuntimeError::unsupported("a memory limit below 6 MiB: the engine does not allow it"));
    }
    let shares = spec.resources.cpu_request.or(spec.resources.cpu_limit);
    let host = HostConfig {
        network_mode: Some(format!("container:{sandbox}")),
        ipc_mode: Some(format!("container:{sandbox}")),
        mounts: Some(spec.mounts.iter().map(mount).collect()),
        // As Kubernetes' own agent: 1 CPU is 1024 shares, and nothing has less than 2.
        cpu_shares: shares.map(|cpu| signed((cpu * 1024 / 1000).clamp(2, 262_144))),
        cpu_period: spec.resources.cpu_limit.map(|_| 100_000),
        cpu_quota: spec.resources.cpu_limit.map(|cpu| signed((cpu * 100).max(1000))),
        memory: limit.map(signed),
        // As much as memory: none of it is swapped.
        memory_swap: limit.map(signed),
        readonly_rootfs: Some(security.read_only_root),
        privileged: Some(security.privileged),
        cap_add: list(&security.capabilities.add),
        cap_drop: list(&security.capabilities.drop),
        group_add: list(&security.supplemental_groups.iter().map(ToString::to_string).collect::<Vec<_>>()),
        security_opt: Some(security_options(key, spec)?),
        ..HostConfig::default()
    };
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: list(&spec.command),
        cmd: list(&spec.args),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: spec.working_dir.clone(),
        user,
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin),
        labels: Some(tag.write(node).into_iter().collect()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    })
}

fn security_options(key: &ContainerKey, spec: &ContainerSpec) -> Result<Vec<String>, RuntimeError> {
    let mut options = Vec::new();
    if spec.security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match &spec.security.seccomp {
        None | Some(Seccomp::RuntimeDefault) => {}
        Some(Seccomp::Unconfined) => options.push("seccomp=unconfined".to_owned()),
        Some(Seccomp::Localhost(path)) => {
            let profile = fs::read_to_string(path).map_err(|error| RuntimeError::CannotRun {
                container: key.clone(),
                message: format!("cannot read seccomp profile {path:?}: {error}"),
            })?;
            options.push(format!("seccomp={profile}"));
        }
    }
    Ok(options)
}

fn mount(mount: &quarterdeck_core::runtime::Mount) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.host_path.to_string_lossy().into_owned()),
        target: Some(mount.container_path.to_string_lossy().into_owned()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    }
}

fn bindings(ports: &[PodPort]) -> bollard::models::PortMap {
    let led = ports.iter().filter_map(|port| {
        let binding = PortBinding {
            host_ip: port.host_ip.map(|ip| ip.to_string()),
            host_port: Some(port.host_port?.to_string()),
        };
        Some((name_of(port), binding))
    });
    let mut bindings = bollard::models::PortMap::default();
    for (port, binding) in led {
        bindings.entry(port).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn name_of(port: &PodPort) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    format!("{}/{protocol}", port.container_port)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::runtime::Resources;

    use super::*;

    #[test]
    fn limits_are_what_the_first_tutorials_expect_of_docker() {
        let resources = Resources { cpu_request: None, cpu_limit: Some(100), memory_limit: Some(50_000_000) };
        let spec = ContainerSpec { name: "main".into(), resources, ..ContainerSpec::default() };
        let tag = Tag::sandbox(&PodSandbox::default(), 0).container(&spec);

        let body = container(&spec.key(&"a".into()), &spec, None, "net", &tag, "node").unwrap();

        let host = body.host_config.unwrap();
        assert_eq!(
            (host.cpu_shares, host.cpu_quota, host.memory),
            (Some(102), Some(10_000), Some(50_000_000))
        );
        assert_eq!(host.network_mode.as_deref(), Some("container:net"));
    }

    #[test]
    fn host_ports_are_bound_by_the_sandbox() {
        let port = |container_port, host_port| PodPort {
            container_port,
            host_port,
            host_ip: None,
            protocol: Protocol::Udp,
        };
        let pod = PodSandbox { ports: vec![port(53, Some(5353)), port(54, None)], ..PodSandbox::default() };

        let body = sandbox(&pod, &Tag::sandbox(&pod, 0), "pause", "node");

        let bindings = body.host_config.unwrap().port_bindings.unwrap();
        assert_eq!(bindings.len(), 1);
        assert_eq!(bindings["53/udp"].as_ref().unwrap()[0].host_port.as_deref(), Some("5353"));
        assert_eq!(body.exposed_ports.unwrap(), ["53/udp", "54/udp"]);
    }
}
