//! The load generator.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use quarterdeck_core::component::BoxError;
use tokio::task::{JoinSet, LocalSet};

use crate::connection::{Connection, request};

/// No load takes longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// How many requests.
    pub(crate) count: usize,
    /// How many of them at a time, each on a connection of its own.
    pub(crate) in_flight: usize,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    what: What,
    address: SocketAddr,
    work: Work,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Get,
    Create,
    Put,
    CreatePod,
    List,
    ListFirst,
    ListNode,
}

impl Load {
    /// Reads what, where, how often and how many at a time.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, BoxError> {
        let [what, address, count, in_flight] = arguments else {
            return Err("load needs four values".into());
        };
        let what = match what.as_str() {
            "get" => What::Get,
            "create" => What::Create,
            "put" => What::Put,
            "create-pod" => What::CreatePod,
            "list" => What::List,
            "list-500" => What::ListFirst,
            "list-node" => What::ListNode,
            other => return Err(format!("nothing is called {other}").into()),
        };
        let work = Work { count: count.parse()?, in_flight: in_flight.parse()? };
        Ok(Self { what, address: address.parse()?, work })
    }
}

/// Sends the requests and prints how many there were per second, and the median and 99th percentile of their times in
/// nanoseconds.
pub(crate) fn run(load: &Load) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let work = async { tokio::time::timeout(PATIENCE, send(load)).await? };
    let (took, mut times) = tasks.block_on(&runtime, work)?;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_nanos();
    println!("{} {} {}", times.len() as f64 / took.as_secs_f64(), at(0.5), at(0.99));
    Ok(())
}

async fn send(load: &Load) -> Result<(Duration, Vec<Duration>), BoxError> {
    prepare(load).await?;
    let requests: Rc<[Vec<u8>]> = requests(load).into();
    let mut connections = Vec::new();
    for _ in 0..load.work.in_flight {
        connections.push(Connection::open(load.address).await?);
    }
    let next = Rc::new(Cell::new(0));
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for connection in connections {
        workers.spawn_local(work(connection, requests.clone(), next.clone(), load.work.count));
    }
    let mut times = Vec::with_capacity(load.work.count);
    while let Some(worked) = workers.join_next().await {
        times.extend(worked??);
    }
    Ok((started.elapsed(), times))
}

async fn work(
    mut connection: Connection,
    requests: Rc<[Vec<u8>]>,
    next: Rc<Cell<usize>>,
    count: usize,
) -> Result<Vec<Duration>, BoxError> {
    let mut times = Vec::new();
    loop {
        let index = next.replace(next.get() + 1);
        if index >= count {
            return Ok(times);
        }
        let sent = Instant::now();
        connection.ask(&requests[index % requests.len()]).await?;
        times.push(sent.elapsed());
    }
}

/// Makes what the requests need to succeed.
async fn prepare(load: &Load) -> Result<(), BoxError> {
    if let What::CreatePod = load.what {
        let account = r#"{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"name":"default"}}"#;
        let request = request("POST", "/api/v1/namespaces/default/serviceaccounts", account);
        Connection::open(load.address).await?.ask(&request).await?;
    }
    Ok(())
}

/// The requests, made before the clock runs; they are sent again and again as often as it takes.
fn requests(load: &Load) -> Vec<Vec<u8>> {
    let maps = "/api/v1/namespaces/default/configmaps";
    let pods = "/api/v1/namespaces/default/pods";
    let count = load.work.count;
    let get = |path: &str| vec![request("GET", path, "")];
    match load.what {
        What::Get => (0..100).map(|index| request("GET", &format!("{maps}/map-{index}"), "")).collect(),
        What::Create => (0..count).map(|index| request("POST", maps, &config_map(index, 'x'))).collect(),
        What::Put => (0..count)
            .map(|index| request("PUT", &format!("{maps}/map-{index}"), &config_map(index, 'y')))
            .collect(),
        What::CreatePod => (0..count).map(|index| request("POST", pods, &pod(index))).collect(),
        What::List => get(pods),
        What::ListFirst => get(&format!("{pods}?limit=500")),
        What::ListNode => get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnowhere"),
    }
}

/// A config map of a KiB.
fn config_map(index: usize, filling: char) -> String {
    let filling: String = std::iter::repeat_n(filling, 900).collect();
    format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"map-{index}","labels":{{"app":"bench"}}}},"data":{{"key":"{filling}"}}}}"#
    )
}

fn pod(index: usize) -> String {
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"pod-{index}","labels":{{"app":"bench"}}}},"spec":{{"containers":[{{"name":"web","image":"nginx:1"}}]}}}}"#
    )
}
