//! What others notice of a client that floods the server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quarterdeck_core::component::BoxError;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::access::{Access, How};
use crate::connection::Client;
use crate::figures::Figures;
use crate::load::Work;
use crate::objects::MAPS;
use crate::process::Child;
use crate::rate::Rate;
use crate::serve::PLACES;

/// How many lists a flood has under way.
const FLOOD: usize = 64;
/// How many watches a crowd holds, each on a connection of its own: more than there are places.
const CROWD: usize = PLACES + 500;
/// How long it may take until a crowd has taken all places.
const FILLED: Duration = Duration::from_secs(60);
/// How long a flood lasts at most.
const LIFE: Duration = Duration::from_secs(120);
/// How often a lease is renewed, and what a renewal may take: upstream's elector gives up after this long.
const RENEWALS: usize = 100;
const DEADLINE: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(50);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// How many requests another client sends: they take many of the periods by which a cgroup gets its share.
const REQUESTS: usize = 200_000;
/// How much longer the slowest of another client's requests may take than beside a process that only burns its share.
const TIMES: f64 = 3.0;
/// Where cgroups are, and where those of version 1 divide processors.
const CGROUPS: &str = "/sys/fs/cgroup";
const PROCESSORS: &str = "/sys/fs/cgroup/cpu";

/// An agent renews its lease while another client floods.
pub(super) fn leases(server: &Child, figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let flood = server.aside("flood", How::Certificate)?;
    let times = renew(&Client::new(&server.agent())?, RENEWALS / divisor, false)?;
    drop(flood);
    figures.times("renewals of a lease beside a flood", "attack", Rate::of(times.iter().sum(), times, 0));
    Ok(())
}

/// An agent renews its lease, each time on a new connection, while another client takes all places and more.
pub(super) fn places(server: &Child, figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let crowd = server.aside("crowd", How::Certificate)?;
    let begin = Instant::now();
    while server.open_files()? < PLACES {
        if begin.elapsed() > FILLED {
            return Err(format!("{} files are open, and not {PLACES}", server.open_files()?).into());
        }
        std::thread::sleep(EVERY);
    }
    let times = renew(&Client::new(&server.agent())?, RENEWALS / divisor, true)?;
    drop(crowd);
    figures.times("renewals of a lease beside a crowd", "attack", Rate::of(times.iter().sum(), times, 0));
    Ok(())
}

/// Renews a lease so many times, on one connection or on a new one each time, and returns how long each took.
fn renew(client: &Client, count: usize, is_new: bool) -> Result<Vec<Duration>, BoxError> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "n", "namespace": "kube-node-lease"}, "spec": {"holderIdentity": "n"},
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = None;
        let mut renew = client.request("POST", LEASES, &lease.to_string());
        let mut times = Vec::new();
        let mut every = tokio::time::interval(EVERY);
        for _ in 0..count.max(3) {
            every.tick().await;
            let begin = Instant::now();
            let renewed = async {
                let mut known = match connection.take() {
                    Some(known) => known,
                    None => client.connect().await?,
                };
                known.ask(&renew).await?;
                Ok::<_, BoxError>(known)
            };
            let renewed = timeout(DEADLINE, renewed).await;
            connection = Some(renewed.map_err(|_| "a lease was not renewed in time")??).filter(|_| !is_new);
            times.push(begin.elapsed());
            let patch = json!({"spec": {"leaseTransitions": times.len()}});
            let patch = ("application/merge-patch+json", &*patch.to_string());
            renew = client.request_of("PATCH", &format!("{LEASES}/n"), patch);
        }
        Ok(times)
    })
}

/// A client asks while another floods the server from half a core, and while a process burns as much.
pub(super) fn half_a_core(server: &Child, figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let mut slowest = Vec::new();
    for (role, name) in
        [("burn", "GETs beside half a core that burns"), ("flood", "GETs beside half a core that floods")]
    {
        let held = server.aside(role, How::Certificate)?;
        let half = HalfCore::of(held.id()).map_err(|error| {
            format!("no process can be held to half a core, which takes root and cgroups: {error}")
        })?;
        let rate = server.load_by(&server.neighbour(), "get", Work::new(REQUESTS / divisor, 4))?;
        figures.times(name, "attack", rate);
        slowest.push(rate.p99.as_secs_f64());
        drop(held);
        drop(half);
    }
    let times = slowest[1] / slowest[0];
    figures.add("p99 beside a flood, above that beside a burner", "attack", "times", times);
    if times > TIMES { Err(format!("p99 is {times:.1} times that beside a burner").into()) } else { Ok(()) }
}

/// A cgroup whose processes get half a core. Gone when it is dropped, which has to be after its processes.
struct HalfCore(PathBuf);

impl HalfCore {
    fn of(process: u32) -> std::io::Result<Self> {
        let is_first_version = Path::new(PROCESSORS).join("cpu.cfs_quota_us").exists();
        let parent = if is_first_version { PROCESSORS } else { CGROUPS };
        let group = Self(Path::new(parent).join(format!("quarterdeck-attack-{process}")));
        fs::create_dir(&group.0)?;
        if is_first_version {
            fs::write(group.0.join("cpu.cfs_period_us"), "100000")?;
            fs::write(group.0.join("cpu.cfs_quota_us"), "50000")?;
        } else {
            fs::write(Path::new(CGROUPS).join("cgroup.subtree_control"), "+cpu")?;
            fs::write(group.0.join("cpu.max"), "50000 100000")?;
        }
        fs::write(group.0.join("cgroup.procs"), process.to_string())?;
        Ok(group)
    }
}

impl Drop for HalfCore {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// Says that the work begins, and fires when standard input ends, or when it took too long.
fn until_alone() -> Result<Arc<AtomicBool>, BoxError> {
    let mut output = std::io::stdout();
    writeln!(output, "ready")?;
    output.flush()?;
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        ended.store(true, Ordering::Relaxed);
    });
    Ok(over)
}

/// Burns what it gets of a core, until standard input ends.
pub(crate) fn burn() -> Result<(), BoxError> {
    let (over, begin) = (until_alone()?, Instant::now());
    while !over.load(Ordering::Relaxed) && begin.elapsed() < LIFE {
        std::hint::spin_loop();
    }
    Ok(())
}

/// Holds watches, each on a connection of its own, and takes another for each that ends, until standard input ends.
pub(crate) fn crowd(access: &Access) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let watch: Arc<[u8]> = Client::new(access)?.request("GET", &format!("{MAPS}?watch=true"), "").into();
        let dialer = access.dialer(b"http/1.1")?;
        let over = until_alone()?;
        let mut watches = JoinSet::new();
        for _ in 0..CROWD {
            let (watch, dialer, over) = (watch.clone(), dialer.clone(), over.clone());
            watches.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = dialer.dial().await else { continue };
                    // The server may cut it off at any time.
                    let _ = stream.write_all(&watch).await;
                    let _ = stream.flush().await;
                    let mut told = [0; 1024];
                    while matches!(stream.read(&mut told).await, Ok(read) if read > 0) {}
                }
            });
        }
        let _ = timeout(LIFE, watches.join_all()).await;
        Ok(())
    })
}

/// Lists as fast as it can on many connections, whatever the answers are, until standard input ends.
pub(crate) fn flood(access: &Access) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Arc::new(Client::new(access)?);
        let over = until_alone()?;
        let mut lists = JoinSet::new();
        for _ in 0..FLOOD {
            let (client, over) = (client.clone(), over.clone());
            lists.spawn(async move {
                let list = client.request("GET", MAPS, "");
                while !over.load(Ordering::Relaxed) {
                    let Ok(mut connection) = client.connect().await else { continue };
                    // A refusal ends the connection, not the flood.
                    while !over.load(Ordering::Relaxed) && connection.ask(&list).await.is_ok() {}
                }
            });
        }
        let all = async { while lists.join_next().await.is_some() {} };
        let _ = timeout(LIFE, all).await;
        Ok(())
    })
}
