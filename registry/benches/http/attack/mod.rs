//! What a server withstands: hostile requests, clients that are slow on purpose, floods. Bounded, and on loopback.
//!
//! `make attack` runs it against the server that lets in only whom it may, each part against one of its own. A bound that breaks is
//! an error, which the program ends with when all parts have run.

mod hostile;
mod neighbour;
mod slow;

use std::thread::sleep;
use std::time::{Duration, Instant};

use quarterdeck_core::component::BoxError;

use crate::access::How;
use crate::disk;
use crate::figures::Figures;
use crate::load::Work;
use crate::process::Child;
pub(crate) use neighbour::{burn, crowd, flood};

/// How much more memory than before a server may hold when an attack is over, in KiB.
const MORE: f64 = 64.0 * 1024.0;
/// How many files more than before a server may have open once an attack is over.
const OPEN: usize = 8;
/// How long it may take after an attack until what it took is given back: memory, and connections whose clients are gone.
const END: Duration = Duration::from_secs(20);
/// How many config maps a server holds: a list of them is half a megabyte.
const MAPS: usize = 500;

/// Sends requests that no honest client sends.
pub(crate) fn hostile(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    outlasts(figures, "hostile requests", |server, figures| {
        hostile::hostile(server, figures, 10_000 / divisor)
    })
}

/// Opens connections that take their time.
pub(crate) fn slow(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    outlasts(figures, "slow connections", |server, figures| slow::slow(server, figures, 1000 / divisor))
}

/// Floods a server while an agent renews its lease.
pub(crate) fn leases(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    outlasts(figures, "a flood beside leases", |server, figures| neighbour::leases(server, figures, divisor))
}

/// Takes all places of a server while an agent renews its lease.
pub(crate) fn places(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    outlasts(figures, "a crowd beside leases", |server, figures| neighbour::places(server, figures, divisor))
}

/// Floods a server from half a core while another client asks.
pub(crate) fn half_a_core(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    outlasts(figures, "half a core", |server, figures| neighbour::half_a_core(server, figures, divisor))
}

/// Attacks a server of its own, which must still serve afterwards, and give back what the attack took.
fn outlasts(
    figures: &mut Figures,
    name: &str,
    attack: impl FnOnce(&Child, &mut Figures) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let directory = tempfile::tempdir_in(disk::parent())?;
    let server = Child::server("guarded", Some(&directory.path().join("audit.log")))?;
    server.load(How::Certificate, "create", Work::new(MAPS, 8))?;
    // The first requests make what is kept for the next: caches, and what the allocator holds back.
    hostile::hostile(&server, &mut Figures::default(), 500)?;
    let (memory, files) = (server.resident()?, server.open_files()?);

    attack(&server, figures).map_err(|error| format!("{name}: {error}"))?;

    let begin = Instant::now();
    let (more, open) = loop {
        // A thread of the server that has nothing to do does not notice what others gave back of its memory.
        server
            .load(How::Certificate, "get", Work::new(100, 4))
            .map_err(|error| format!("after {name}: {error}"))?;
        let (more, open) = (server.resident()? - memory, server.open_files()?.saturating_sub(files));
        if (more <= MORE && open <= OPEN) || begin.elapsed() > END {
            break (more, open);
        }
        sleep(Duration::from_millis(100));
    };
    figures.memory(&format!("{name}: more resident when it is over"), "attack", more.max(0.0));
    figures.time(&format!("{name}: until that is so"), "attack", begin.elapsed());
    if more > MORE || open > OPEN {
        let more = format!("the server holds {more:.0} KiB more than before, and {open} files more are open");
        return Err(format!("{name}: {more}").into());
    }
    server.stop()
}
