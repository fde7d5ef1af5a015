//! Figures about this process, out of `/proc`. Where there is none, nothing is told.

use std::fs;

use super::Metrics;

/// The metric by which it is known whether the figures are there already.
pub(super) const FIRST: &str = "process_resident_memory_bytes";

/// The unit of times in `/proc`: a hundredth of a second on every platform of Linux.
const TICKS: f64 = 100.0;

pub(super) fn add(metrics: &Metrics) {
    let gauge = |name: &str, help: &str, read: fn() -> Option<f64>| {
        metrics.sample(name, help, &[], move |samples| {
            if let Some(value) = read() {
                samples.push(&[], value);
            }
        });
    };
    gauge(FIRST, "Resident memory size in bytes.", || memory("VmRSS:"));
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", || memory("VmSize:"));
    gauge("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", processor_seconds);
    gauge("process_open_fds", "Number of open file descriptors.", open_files);
    gauge("process_max_fds", "Maximum number of open file descriptors.", most_files);
    gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        start_seconds,
    );
}

fn memory(field: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: f64 = kibibytes.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Returns a field of `/proc/self/stat` by its number in the manual, from 3 on: before that is a name that may hold anything.
fn stat(number: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

fn processor_seconds() -> Option<f64> {
    Some((stat(14)? + stat(15)?) / TICKS)
}

fn start_seconds() -> Option<f64> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(booted.trim().parse::<f64>().ok()? + stat(22)? / TICKS)
}

#[expect(clippy::cast_precision_loss, reason = "no process has that many files")]
fn open_files() -> Option<f64> {
    // The one that lists them is not counted.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn most_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
