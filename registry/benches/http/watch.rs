//! The load generator's other half: watches over HTTP/2, and the writes that they see.

use std::cell::{Cell, RefCell};
use std::io::{Read as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use quarterdeck_core::component::BoxError;
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::access::Access;
use crate::connection;
use crate::http2::{Client, Watches};
use crate::objects;
use crate::rate::Rate;

/// How many watches share a connection.
const STREAMS: usize = 100;
/// Nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(200);

/// What is to be watched, and how it changes.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pace: Pace,
    access: Access,
    watches: usize,
    writes: usize,
}

/// When the next object is made.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// So often per second. Each delivery is timed.
    PerSecond(u32),
    /// Once the server has answered the last request.
    Free,
    /// Once every watch has the last object.
    Lockstep,
    /// Never: the watches are idle until standard input ends.
    Never,
}

impl Watch {
    /// Reads pace, where, how many watches and how many writes.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, BoxError> {
        let [pace, how, address, directory, watches, writes] = arguments else {
            return Err("watch needs six values".into());
        };
        let pace = match pace.as_str() {
            "free" => Pace::Free,
            "lockstep" => Pace::Lockstep,
            "never" => Pace::Never,
            rate => Pace::PerSecond(rate.parse()?),
        };
        let access = Access::parse(how, address, directory)?;
        Ok(Self { pace, access, watches: watches.parse()?, writes: writes.parse()? })
    }
}

/// What the watches of this process have seen.
#[derive(Default)]
struct Seen {
    opened: Cell<usize>,
    delivered: Cell<usize>,
    changed: Notify,
    /// When each object was asked for; only if deliveries are timed.
    sent: RefCell<Vec<Instant>>,
    times: RefCell<Vec<Duration>>,
}

impl Seen {
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            self.changed.notified().await;
        }
    }
}

/// Opens the watches, makes objects, and prints what came of it.
pub(crate) fn run(watch: &Watch) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let work = async { tokio::time::timeout(PATIENCE, follow(watch)).await? };
    tasks.block_on(&runtime, work)
}

async fn follow(watch: &Watch) -> Result<(), BoxError> {
    let seen = Rc::new(Seen::default());
    let client = Client::new(&watch.access, &format!("{}?watch=1", objects::MAPS))?;
    let mut connections = JoinSet::new();
    for first in (0..watch.watches).step_by(STREAMS) {
        let watches = client.open(STREAMS.min(watch.watches - first)).await?;
        connections.spawn_local(read(watches, seen.clone(), matches!(watch.pace, Pace::PerSecond(_))));
    }
    tokio::select! {
        biased;
        Some(ended) = connections.join_next() => ended?,
        done = write(watch, &seen) => done,
    }
}

/// Reads a connection for as long as it lasts.
async fn read(mut watches: Watches, seen: Rc<Seen>, is_timed: bool) -> Result<(), BoxError> {
    let mut parts: Vec<Vec<u8>> = vec![Vec::new(); STREAMS];
    loop {
        let mut now = None;
        let opened = watches
            .read(|number, data| {
                let now = *now.get_or_insert_with(Instant::now);
                if !is_timed {
                    seen.delivered
                        .set(seen.delivered.get() + data.iter().filter(|byte| **byte == b'\n').count());
                    return;
                }
                let part = &mut parts[number];
                part.extend_from_slice(data);
                let whole = part.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                for line in part[..whole].split_inclusive(|byte| *byte == b'\n') {
                    if let Some(sent) = index(line).and_then(|index| seen.sent.borrow().get(index).copied()) {
                        seen.times.borrow_mut().push(now.duration_since(sent));
                        seen.delivered.set(seen.delivered.get() + 1);
                    }
                }
                part.drain(..whole);
            })
            .await?;
        seen.opened.set(seen.opened.get() + opened);
        seen.changed.notify_waiters();
    }
}

/// Returns the number of the object that an event is about.
fn index(line: &[u8]) -> Option<usize> {
    const BEFORE: &[u8] = b"\"name\":\"map-";
    let start = line.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    let digits = line[start..].split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

async fn write(watch: &Watch, seen: &Seen) -> Result<(), BoxError> {
    seen.until(|seen| seen.opened.get() == watch.watches).await;
    if let Pace::Never = watch.pace {
        println!("ready");
        std::io::stdout().flush()?;
        return Ok(tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]).map(drop)).await??);
    }
    let client = connection::Client::new(&watch.access)?;
    let mut connection = client.connect().await?;
    let requests: Vec<_> = (0..watch.writes)
        .map(|index| client.request("POST", objects::MAPS, &objects::config_map(index, 'x')))
        .collect();
    let period = match watch.pace {
        Pace::PerSecond(rate) => Duration::from_secs(1) / rate,
        _ => Duration::from_secs(1),
    };
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    for (index, request) in requests.iter().enumerate() {
        if let Pace::PerSecond(_) = watch.pace {
            ticks.tick().await;
        }
        seen.sent.borrow_mut().push(Instant::now());
        connection.ask(request).await?;
        if let Pace::Lockstep = watch.pace {
            seen.until(|seen| seen.delivered.get() >= watch.watches * (index + 1)).await;
        }
    }
    seen.until(|seen| seen.delivered.get() >= watch.watches * watch.writes).await;
    let took = started.elapsed();
    let times = match watch.pace {
        Pace::PerSecond(_) => seen.times.take(),
        _ => vec![took / u32::try_from(watch.writes)?; watch.watches * watch.writes],
    };
    println!("{}", Rate::of(took, times, 0).line());
    Ok(())
}
