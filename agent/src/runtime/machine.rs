//! What the machine has that this program runs on.

use std::fs;
use std::path::Path;

use quarterdeck_core::runtime::Machine;

/// How many pods run on a node unless somebody says otherwise: Kubernetes' own default.
pub(crate) const MAX_PODS: u64 = 110;

/// Reads what this machine has. Room for files is that of the file system that holds `files`.
pub(crate) fn local(files: &Path, pods: u64) -> Machine {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let uname = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let existing = files.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let storage = rustix::fs::statvfs(existing).map_or(0, |stat| stat.f_blocks * stat.f_frsize);
    Machine {
        cpu: cpus * 1000,
        memory: memory(&text("/proc/meminfo")),
        pods,
        storage,
        operating_system: std::env::consts::OS.to_owned(),
        architecture: architecture(std::env::consts::ARCH).to_owned(),
        os_image: os_image(&text("/etc/os-release"))
            .unwrap_or_else(|| uname.sysname().to_string_lossy().into_owned()),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        machine_id: text("/etc/machine-id"),
        boot_id: boot_id(),
    }
}

/// Returns what identifies the run of the kernel.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Returns Kubernetes' name for an architecture.
pub(crate) fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|total| total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

fn os_image(release: &str) -> Option<String> {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let machine = local(Path::new("/does/not/exist/yet"), 7);

        assert!(machine.cpu >= 1000 && machine.memory > 1 << 20 && machine.storage > 1 << 20, "{machine:?}");
        assert_eq!(machine.pods, 7);
        assert_eq!(machine.operating_system, "linux");
    }

    #[test]
    fn names_and_numbers_are_read_as_they_are_written() {
        assert_eq!(memory("MemTotal:       24684092 kB\nMemFree: 1 kB\n"), 24_684_092 * 1024);
        assert_eq!(os_image("ID=debian\nPRETTY_NAME=\"Debian 12\"\n").as_deref(), Some("Debian 12"));
        assert_eq!(architecture("aarch64"), "arm64");
    }
}
