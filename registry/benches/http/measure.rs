//! What is measured, figure by figure.

use std::time::Instant;

use quarterdeck_core::component::BoxError;

use crate::access::How;
use crate::attack;
use crate::connection;
use crate::disk;
use crate::figures::Figures;
use crate::load::Work;
use crate::process::Child;
use crate::references as name;
use crate::security;

/// How many pods a server holds when it lists them.
const PODS: usize = 10_000;
/// How many objects a server holds when it is seen whether they slow it down.
const MANY: usize = 100_000;
/// How many requests are under way at a time.
const IN_FLIGHT: usize = 32;

type Part = fn(&mut Figures, usize) -> Result<(), BoxError>;

/// The parts of a round, by names that can be asked for, or by what stands before a hyphen in them. Each divides its numbers of requests and objects by its last argument.
pub(crate) const PARTS: &[(&str, Part)] = &[
    ("disk", disk_alone),
    ("fixed", fixed_answers),
    ("maps", config_maps),
    ("pods", pods),
    ("memory", memory),
    ("durable", durable),
    ("flat", flat),
    ("latency", latency),
    ("deliveries", deliveries),
    ("idle", idle_watches),
    ("security", security::security),
    ("attack-hostile", attack::hostile),
    ("attack-slow", attack::slow),
    ("attack-leases", attack::leases),
    ("attack-places", attack::places),
    ("attack-half-core", attack::half_a_core),
];

fn work(count: usize) -> Work {
    Work::new(count, IN_FLIGHT)
}

/// What the disk takes for each commit that is acknowledged alone.
fn disk_alone(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let directory = tempfile::tempdir_in(disk::parent())?;
    let times = disk::fdatasync(&directory.path().join("probe"), 1024, (2000 / divisor) as u64)?;
    for percent in [50, 99] {
        let name = format!("fdatasync of an append of 1 KiB, p{percent}");
        figures.time(&name, "disk", disk::percentile(&times, percent));
    }
    Ok(())
}

/// What hyper, the loader and the machine can do together.
fn fixed_answers(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    for how in [How::Plain, How::Certificate] {
        let server = Child::server("fixed", None)?;
        figures.load("fixed answers of 1 KiB", how.word(), server.load(how, "get", work(60_000 / divisor))?);
        server.stop()?;
    }
    Ok(())
}

fn config_maps(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    for how in How::ALL {
        let started = Instant::now();
        let server = Child::server("serve", None)?;
        figures.time("start of the process to ready", how.word(), started.elapsed());
        connection::create_one(&server.access(how))?;
        figures.time("start of the process to first served create", how.word(), started.elapsed());
        figures.memory(name::RESIDENT_IDLE, how.word(), server.resident()?);
        let created = work(20_000 / divisor);
        figures.load(name::CREATE, how.word(), server.load(how, "create", created)?);
        figures.load(name::GET, how.word(), server.load(how, "get", work(60_000 / divisor))?);
        figures.load("PUTs of a 1 KiB ConfigMap", how.word(), server.load(how, "put", created)?);
        server.stop()?;
    }
    Ok(())
}

fn pods(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    for how in How::ALL {
        let server = Child::server("serve", None)?;
        figures.load(name::CREATE_POD, how.word(), server.load(how, "create-pod", work(PODS / divisor))?);
        let one = |count: usize| Work::new(count / divisor, 1);
        for (name, what, count) in [
            (name::LIST, "list", 40),
            (name::LIST_FIRST, "list-500", 200),
            (name::LIST_NODE, "list-node", 200),
        ] {
            let rate = server.load(how, what, one(count))?;
            figures.add(&format!("{name}, rate"), how.word(), "per second", rate.per_second);
            figures.times(name, how.word(), rate);
            figures.cpu(name, how.word(), rate);
        }
        server.stop()?;
    }
    Ok(())
}

/// How much memory pods take: history and cache included, after they were listed.
fn memory(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let (how, count) = (How::Certificate, PODS / divisor);
    let server = Child::server("serve", None)?;
    connection::create_one(&server.access(how))?;
    let idle = server.resident()?;
    server.load(how, "create-large-pod", work(count))?;
    let with_pods = server.resident()?;
    figures.memory(name::RESIDENT_PODS, how.word(), with_pods);
    let stored = server.load(how, "list", Work::new(5, 1))?.bytes;
    figures.add("size of such a pod", how.word(), "bytes", stored as f64 / count as f64);
    figures.add(
        &format!("{}, 10,000 pods", name::PER_BYTE),
        how.word(),
        "",
        per_byte(with_pods - idle, stored),
    );
    let listed = server.resident()?;
    figures.memory(&format!("{}, and lists of them", name::RESIDENT_PODS), how.word(), listed);
    server.stop()
}

fn per_byte(kib: f64, stored: usize) -> f64 {
    kib * 1024.0 / stored as f64
}

fn durable(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    for how in [How::Plain, How::Certificate] {
        let directory = tempfile::tempdir_in(disk::parent())?;
        let server = Child::server("serve", Some(&directory.path().join("store")))?;
        grow(figures, divisor, &server, how, name::CREATE_DURABLE)?;
        server.stop()?;
    }
    Ok(())
}

/// Whether what is there slows down what comes.
fn flat(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    for how in [How::Plain, How::Certificate] {
        let server = Child::server("serve", None)?;
        let idle = server.resident()?;
        grow(figures, divisor, &server, how, name::CREATE)?;
        let (many, stored) = (server.resident()?, server.load(how, "list-maps", Work::new(1, 1))?.bytes);
        let name = format!("{}, 120,000 ConfigMaps", name::PER_BYTE);
        figures.add(&name, how.word(), "", per_byte(many - idle, stored));
        server.stop()?;
    }
    Ok(())
}

/// Creates config maps in an empty server, then among 100,000 of them.
fn grow(figures: &mut Figures, divisor: usize, server: &Child, how: How, name: &str) -> Result<(), BoxError> {
    let (some, many) = (20_000 / divisor, MANY / divisor);
    let empty = server.load(how, "create", work(some))?;
    figures.load(&format!("{name}, among 0"), how.word(), empty);
    server.load(how, "create", work(many - some).from(some))?;
    let full = server.load(how, "create", work(some).from(many))?;
    figures.load(&format!("{name}, among 100,000"), how.word(), full);
    Ok(())
}

/// How long it takes from the request that makes an object to the event of a watch.
fn latency(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    for how in [How::Plain, How::Certificate] {
        for (name, watches) in [(name::DELIVERY, 1), (name::DELIVERY_100, 100)] {
            let server = Child::server("serve", None)?;
            let rate = server.watched(how, "200", watches, (600 / divisor).max(2))?;
            figures.times(name, how.word(), rate);
            figures.cpu(name, how.word(), rate);
            server.stop()?;
        }
    }
    Ok(())
}

/// How many events a second reach 1,000 watches together: of one writer who never waits for them, and of one who always does.
fn deliveries(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    for how in [How::Plain, How::Certificate] {
        for (name, pace) in
            [(name::DELIVERIES, "free"), ("deliveries, one at a time, 1,000 watchers", "lockstep")]
        {
            let server = Child::server("serve", None)?;
            let rate = server.watched(how, pace, 1000 / divisor, 1000 / divisor)?;
            figures.add(name, how.word(), "per second", rate.per_second);
            figures.cpu(name, how.word(), rate);
            server.stop()?;
        }
    }
    Ok(())
}

/// How much memory a watch takes on which nothing happens.
fn idle_watches(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    for how in [How::Plain, How::Certificate] {
        let server = Child::server("serve", None)?;
        connection::create_one(&server.access(how))?;
        let (count, before) = (10_000 / divisor, server.resident()?);
        let holder = server.hold(how, count)?;
        figures.add(name::IDLE_WATCH, how.word(), "KiB", (server.resident()? - before) / count as f64);
        let rate = server.load(how, "create-pod", work(2000 / divisor))?;
        figures.load("creates of a Pod beside 10,000 idle watches", how.word(), rate);
        drop(holder);
        server.stop()?;
    }
    Ok(())
}

/// Returns how busy the machine is with other work too: the load average of the last minute.
pub(crate) fn load_average() -> Result<String, BoxError> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}
