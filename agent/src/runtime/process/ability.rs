//! What this runtime can do, and what it refuses.

use std::fs;

use quarterdeck_core::runtime::{ContainerSpec, PodSandbox, Protocol, RuntimeError, Seccomp, Security};
use rustix::thread::CapabilitySet;

use super::launch::User;

/// What a node may do for its containers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    pub(super) root: bool,
    pub(super) namespaces: bool,
    pub(super) cpu_limits: bool,
    pub(super) memory_limits: bool,
}

/// Refuses an image that is not the host's file system.
pub(super) fn check_image(image: &str) -> Result<(), RuntimeError> {
    if image == "host" || image.strip_prefix("host:").is_some_and(|tag| !tag.is_empty()) {
        return Ok(());
    }
    Err(RuntimeError::unsupported(format!(
        "image {image:?}: this node runs programs of its own file system; write \"image: host\" and name the program in \
         \"command\", or run the pod on a node with a container engine"
    )))
}

/// Refuses names that cannot be names of files.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), RuntimeError> {
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(harmless) {
        return Ok(());
    }
    Err(RuntimeError::unsupported(format!("{what} {name:?}: letters, digits, '-', '_' and '.' only")))
}

/// Refuses a pod that asks for what this runtime cannot give.
pub(super) fn check_pod(pod: &PodSandbox, abilities: Abilities) -> Result<(), RuntimeError> {
    check_name("pod uid", pod.uid.as_str())?;
    if let Some(port) =
        pod.ports.iter().find(|port| port.protocol == Protocol::Sctp && port.host_port.is_some())
    {
        return Err(RuntimeError::unsupported(format!("a host port for port {}/SCTP", port.container_port)));
    }
    if !abilities.namespaces && (pod.dns.is_some() || !pod.host_aliases.is_empty()) {
        return Err(RuntimeError::unsupported(
            "names of a pod's own: pods of this node resolve names as the host does",
        ));
    }
    Ok(())
}

impl Abilities {
    /// Refuses a container that asks for what this node cannot give.
    pub(super) fn check(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        check_name("container name", &spec.name)?;
        check_image(&spec.image)?;
        let refuse = |what: &str| Err(RuntimeError::unsupported(what));
        if spec.command.is_empty() && spec.args.is_empty() {
            return refuse("a container without a command: image \"host\" has no program of its own");
        }
        if spec.tty || spec.stdin {
            return refuse("a terminal or standard input for a process");
        }
        if spec.resources.cpu_limit.is_some() && !self.cpu_limits {
            return refuse("a CPU limit: this node may not make control groups");
        }
        if spec.resources.memory_limit.is_some() && !self.memory_limits {
            return refuse("a memory limit: this node may not make control groups");
        }
        self.check_security(&spec.security)?;
        capabilities(&spec.security.capabilities.drop).map(drop)
    }

    fn check_security(&self, security: &Security) -> Result<(), RuntimeError> {
        let refuse = |what: &str| Err(RuntimeError::unsupported(what));
        if security.read_only_root && !self.namespaces {
            return refuse("a read-only root: this node does not make mount namespaces");
        }
        if !self.root {
            if security.privileged {
                return refuse("a privileged container: this node does not run as root");
            }
            if !security.capabilities.add.is_empty() {
                return refuse("added capabilities: this node does not run as root");
            }
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            if security.run_as_user.is_some_and(|user| user != uid)
                || security.run_as_group.is_some_and(|group| group != gid)
                || security.supplemental_groups.iter().any(|group| *group != gid)
            {
                return refuse("another user or group: this node does not run as root");
            }
        }
        match security.seccomp {
            None | Some(Seccomp::Unconfined) => Ok(()),
            Some(Seccomp::RuntimeDefault | Seccomp::Localhost(_)) => {
                refuse("a seccomp profile for a process")
            }
        }
    }

    /// Returns whom a container runs as, if not as this process.
    pub(super) fn user(&self, security: &Security) -> Option<User> {
        if !self.root {
            return None;
        }
        if security.run_as_user.is_none()
            && security.run_as_group.is_none()
            && security.supplemental_groups.is_empty()
        {
            return None;
        }
        let uid = security.run_as_user.unwrap_or_default();
        let passwd = || fs::read_to_string("/etc/passwd").unwrap_or_default();
        let gid = security.run_as_group.unwrap_or_else(|| primary_group(&passwd(), uid).unwrap_or_default());
        Some(User { uid, gid, groups: security.supplemental_groups.clone() })
    }

    /// Returns the capabilities that a container loses: a program of the host has all that this process has but these.
    pub(super) fn dropped(&self, security: &Security) -> CapabilitySet {
        if !self.root || security.privileged {
            return CapabilitySet::empty();
        }
        // What is not known was refused.
        let dropped = capabilities(&security.capabilities.drop).unwrap_or_default();
        let added = capabilities(&security.capabilities.add).unwrap_or_default();
        CapabilitySet::from_bits_retain(dropped & !added)
    }
}

/// Returns the group of a user in the format of `/etc/passwd`.
fn primary_group(passwd: &str, uid: u32) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        (fields.next()?.parse::<u32>().ok()? == uid).then(|| fields.next()?.parse().ok())?
    })
}

/// Returns the bits of capabilities by their names.
fn capabilities(names: &[String]) -> Result<u64, RuntimeError> {
    names.iter().try_fold(0, |bits, name| {
        let name = name.strip_prefix("CAP_").unwrap_or(name);
        if name == "ALL" {
            return Ok(u64::MAX);
        }
        match CapabilitySet::from_name(name) {
            Some(capability) => Ok(bits | capability.bits()),
            None => {
                Err(RuntimeError::unsupported(format!("capability {name:?}: there is none of this name")))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities = Abilities { root: true, namespaces: true, cpu_limits: true, memory_limits: true };
    const NONE: Abilities =
        Abilities { root: false, namespaces: false, cpu_limits: false, memory_limits: false };

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "main".into(),
            image: "host".to_owned(),
            command: vec!["true".to_owned()],
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn only_the_host_is_an_image_and_the_refusal_says_what_to_do() {
        for image in ["host", "host:v2"] {
            assert!(check_image(image).is_ok(), "{image}");
        }
        for image in ["nginx", "host:", "hostile", "library/host"] {
            let message = check_image(image).unwrap_err().to_string();
            assert!(message.contains("image: host"), "{message}");
        }
    }

    #[test]
    fn what_a_node_without_rights_cannot_do_is_refused() {
        let asks: [fn(&mut ContainerSpec); 8] = [
            |spec| spec.resources.cpu_limit = Some(1),
            |spec| spec.resources.memory_limit = Some(1),
            |spec| spec.security.read_only_root = true,
            |spec| spec.security.privileged = true,
            |spec| spec.security.run_as_user = Some(12_345_678),
            |spec| spec.security.run_as_group = Some(12_345_678),
            |spec| spec.security.supplemental_groups = vec![12_345_678],
            |spec| spec.security.capabilities.add = vec!["NET_ADMIN".to_owned()],
        ];
        assert!(NONE.check(&spec()).is_ok());

        for (number, ask) in asks.into_iter().enumerate() {
            let mut spec = spec();
            ask(&mut spec);
            assert!(NONE.check(&spec).is_err(), "{number}");
            assert!(ALL.check(&spec).is_ok(), "{number}");
        }
    }

    #[test]
    fn what_no_node_can_do_is_refused() {
        let asks: [fn(&mut ContainerSpec); 6] = [
            |spec| spec.tty = true,
            |spec| spec.stdin = true,
            |spec| spec.command.clear(),
            |spec| spec.security.seccomp = Some(Seccomp::RuntimeDefault),
            |spec| spec.security.capabilities.drop = vec!["SING".to_owned()],
            |spec| spec.name = "../escape".into(),
        ];

        for (number, ask) in asks.into_iter().enumerate() {
            let mut spec = spec();
            ask(&mut spec);
            assert!(ALL.check(&spec).is_err(), "{number}");
        }
    }

    #[test]
    fn capabilities_are_dropped_but_for_those_added() {
        let mut security = Security::default();
        security.capabilities.drop = vec!["ALL".to_owned()];
        security.capabilities.add = vec!["NET_BIND_SERVICE".to_owned()];

        let dropped = ALL.dropped(&security);

        assert!(
            dropped.contains(CapabilitySet::SYS_ADMIN) && !dropped.contains(CapabilitySet::NET_BIND_SERVICE)
        );
    }

    #[test]
    fn a_user_without_a_group_has_the_one_of_the_users_file() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533::/:/bin/false\n";

        assert_eq!(primary_group(passwd, 65_534), Some(65_533));
        assert_eq!(primary_group(passwd, 7), None);
    }
}
