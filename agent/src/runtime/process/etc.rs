//! The files of a pod that its containers see in `/etc`.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::PathBuf;

use quarterdeck_core::runtime::{Dns, Mount};

use super::places::{Places, PodRecord, make_directory};

const HOSTS: &str = "hosts";
const HOSTNAME: &str = "hostname";
const RESOLV_CONF: &str = "resolv.conf";

/// Writes the files of a pod. One that is on the host's network sees the host's.
pub(super) fn write(places: &Places, record: &PodRecord) -> io::Result<()> {
    let uid = &record.sandbox.uid;
    make_directory(&places.pod(uid).join("etc"))?;
    if record.isolated {
        fs::write(places.etc(uid, HOSTNAME), format!("{}\n", record.sandbox.hostname))?;
        fs::write(places.etc(uid, HOSTS), format!("{}{}", hosts(record), aliases(record)))?;
    } else if !record.sandbox.host_aliases.is_empty() {
        let of_host = fs::read_to_string("/etc/hosts").unwrap_or_default();
        fs::write(places.etc(uid, HOSTS), format!("{of_host}\n{}", aliases(record)))?;
    }
    if let Some(dns) = &record.sandbox.dns {
        fs::write(places.etc(uid, RESOLV_CONF), resolv_conf(dns))?;
    }
    Ok(())
}

/// Returns how the files that were written get to where containers look for them, but for those that a container mounts itself.
pub(super) fn mounts(places: &Places, record: &PodRecord, own: &[Mount]) -> Vec<Mount> {
    let files = [HOSTS, HOSTNAME, RESOLV_CONF].map(|file| (file, places.etc(&record.sandbox.uid, file)));
    let mounts = files.into_iter().filter(|(_, path)| path.exists()).map(|(file, host_path)| Mount {
        host_path,
        container_path: PathBuf::from("/etc").join(file),
        read_only: false,
    });
    mounts.filter(|mount| own.iter().all(|own| own.container_path != mount.container_path)).collect()
}

fn hosts(record: &PodRecord) -> String {
    let mut text =
        "# Written by Quarterdeck for this pod.\n127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_owned();
    if let Some(address) = record.address {
        let _ = writeln!(text, "{address}\t{}", record.sandbox.hostname);
    }
    text
}

fn aliases(record: &PodRecord) -> String {
    record.sandbox.host_aliases.iter().map(|(address, name)| format!("{address}\t{name}\n")).collect()
}

fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_as_the_pod_says() {
        let dns = Dns {
            servers: vec!["10.254.0.10".parse().unwrap()],
            searches: vec!["default.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };

        let expected =
            "search default.svc.cluster.local svc.cluster.local\nnameserver 10.254.0.10\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns), expected);
    }
}
