//! The load generator: requests over HTTP/1.1, one at a time on each connection.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use quarterdeck_core::component::BoxError;
use tokio::task::{JoinSet, LocalSet};

use crate::access::Access;
use crate::connection::{Client, Connection};
use crate::http2::{self, Watches};
use crate::objects;
use crate::process;
use crate::rate::Rate;

/// No load takes longer than this.
const PATIENCE: Duration = Duration::from_secs(200);

/// How much is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// How many requests.
    pub(crate) count: usize,
    /// How many of them at a time, each on a connection of its own.
    pub(crate) in_flight: usize,
    /// The number of the first object.
    pub(crate) first: usize,
}

impl Work {
    pub(crate) fn new(count: usize, in_flight: usize) -> Self {
        Self { count: count.max(1), in_flight, first: 0 }
    }

    pub(crate) fn from(self, first: usize) -> Self {
        Self { first, ..self }
    }

    pub(crate) fn arguments(self) -> [String; 3] {
        [self.count, self.in_flight, self.first].map(|number| number.to_string())
    }
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    what: What,
    access: Access,
    work: Work,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Get,
    Create,
    /// The same, all of which a watch is told of.
    CreateWatched,
    Put,
    CreatePod,
    CreateLargePod,
    ListMaps,
    List,
    ListFirst,
    ListNode,
}

impl Load {
    /// Reads what, where, how often, how many at a time, and from which number on.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, BoxError> {
        let [what, how, address, directory, count, in_flight, first] = arguments else {
            return Err("load needs seven values".into());
        };
        let what = match what.as_str() {
            "get" => What::Get,
            "create" => What::Create,
            "create-watched" => What::CreateWatched,
            "put" => What::Put,
            "create-pod" => What::CreatePod,
            "create-large-pod" => What::CreateLargePod,
            "list-maps" => What::ListMaps,
            "list" => What::List,
            "list-500" => What::ListFirst,
            "list-node" => What::ListNode,
            other => return Err(format!("nothing is called {other}").into()),
        };
        let work = Work { count: count.parse()?, in_flight: in_flight.parse()?, first: first.parse()? };
        Ok(Self { what, access: Access::parse(how, address, directory)?, work })
    }
}

/// What came of requests.
#[derive(Default)]
struct Worked {
    took: Duration,
    times: Vec<Duration>,
    /// For how long this process was on a core.
    cpu: Duration,
    /// How many bytes the bodies of the answers had.
    bytes: usize,
}

/// Sends the requests and prints what came of it.
pub(crate) fn run(load: &Load) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let work = async { tokio::time::timeout(PATIENCE, send(load)).await? };
    let Worked { took, times, cpu, bytes } = tasks.block_on(&runtime, work)?;
    let (count, bytes) = (times.len() as f64, bytes / times.len());
    println!("{}", Rate { client_cpu: cpu.div_f64(count), ..Rate::of(took, times, bytes) }.line());
    Ok(())
}

async fn send(load: &Load) -> Result<Worked, BoxError> {
    let client = Client::new(&load.access)?;
    let requests: Rc<[Vec<u8>]> = requests(load, &client).into();
    let mut connections = Vec::new();
    for _ in 0..load.work.in_flight {
        connections.push(client.connect().await?);
    }
    let watch = match load.what {
        What::CreateWatched => Some(watch(load).await?),
        _ => None,
    };
    let next = Rc::new(Cell::new(0));
    let (started, before) = (Instant::now(), process::worked(std::process::id())?);
    let watching = watch.map(|watch| tokio::task::spawn_local(follow(watch, load.work.count)));
    let mut workers = JoinSet::new();
    for connection in connections {
        workers.spawn_local(work(connection, requests.clone(), next.clone(), load.work.count));
    }
    let mut all = Worked::default();
    while let Some(worked) = workers.join_next().await {
        let worked = worked??;
        all.times.extend(worked.times);
        all.bytes += worked.bytes;
    }
    if let Some(watching) = watching {
        watching.await??;
    }
    (all.took, all.cpu) = (started.elapsed(), process::worked(std::process::id())?.saturating_sub(before));
    Ok(all)
}

/// Opens a watch, and reads what it shows of the config maps that are there.
async fn watch(load: &Load) -> Result<Watches, BoxError> {
    let watches = http2::Client::new(&load.access, &format!("{}?watch=1", objects::MAPS))?;
    let mut watches = watches.open(1).await?;
    let (mut opened, mut seen) = (0, 0);
    while opened == 0 || seen < load.work.first {
        opened += watches.read(|_, data| seen += events(data)).await?;
    }
    Ok(watches)
}

/// Reads so many events.
async fn follow(mut watches: Watches, count: usize) -> Result<(), BoxError> {
    let mut seen = 0;
    while seen < count {
        watches.read(|_, data| seen += events(data)).await?;
    }
    Ok(())
}

fn events(data: &[u8]) -> usize {
    data.iter().filter(|byte| **byte == b'\n').count()
}

async fn work(
    mut connection: Connection,
    requests: Rc<[Vec<u8>]>,
    next: Rc<Cell<usize>>,
    count: usize,
) -> Result<Worked, BoxError> {
    let mut worked = Worked::default();
    loop {
        let index = next.replace(next.get() + 1);
        if index >= count {
            return Ok(worked);
        }
        let sent = Instant::now();
        worked.bytes += connection.ask(&requests[index % requests.len()]).await?;
        worked.times.push(sent.elapsed());
    }
}

/// The requests, made before the clock runs; they are sent again and again as often as it takes.
fn requests(load: &Load, client: &Client) -> Vec<Vec<u8>> {
    let Work { count, first, .. } = load.work;
    let (maps, pods) = (objects::MAPS, objects::PODS);
    let get = |path: &str| vec![client.request("GET", path, "")];
    let post = |path: &str, object: &dyn Fn(usize) -> String| {
        (first..first + count).map(|index| client.request("POST", path, &object(index))).collect()
    };
    match load.what {
        What::Get => {
            (0..100).map(|index| client.request("GET", &format!("{maps}/map-{index}"), "")).collect()
        }
        What::Create | What::CreateWatched => post(maps, &|index| objects::config_map(index, 'x')),
        What::Put => (first..first + count)
            .map(|index| {
                client.request("PUT", &format!("{maps}/map-{index}"), &objects::config_map(index, 'y'))
            })
            .collect(),
        What::CreatePod => post(pods, &objects::pod),
        What::CreateLargePod => post(pods, &objects::large_pod),
        What::ListMaps => get(maps),
        What::List => get(pods),
        What::ListFirst => get(&format!("{pods}?limit=500")),
        What::ListNode => get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnowhere"),
    }
}
