//! The load generator: requests over HTTP/1.1, one at a time on each connection.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use quarterdeck_core::component::BoxError;
use tokio::task::{JoinSet, LocalSet};

use crate::access::Access;
use crate::connection::{Client, Connection};
use crate::figures::Rate;
use crate::objects;

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
    times: Vec<Duration>,
    /// How many bytes the bodies of the answers had.
    bytes: usize,
}

/// Sends the requests and prints what came of it.
pub(crate) fn run(load: &Load) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let work = async { tokio::time::timeout(PATIENCE, send(load)).await? };
    let (took, worked) = tasks.block_on(&runtime, work)?;
    let bytes = worked.bytes / worked.times.len();
    println!("{}", Rate::of(took, worked.times, bytes).line());
    Ok(())
}

async fn send(load: &Load) -> Result<(Duration, Worked), BoxError> {
    let client = Client::new(&load.access)?;
    let requests: Rc<[Vec<u8>]> = requests(load, &client).into();
    let mut connections = Vec::new();
    for _ in 0..load.work.in_flight {
        connections.push(client.connect().await?);
    }
    let next = Rc::new(Cell::new(0));
    let started = Instant::now();
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
    Ok((started.elapsed(), all))
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
        What::Create => post(maps, &|index| objects::config_map(index, 'x')),
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
