//! What a server withstands: hostile requests, clients that are slow on purpose, floods. Bounded, and on loopback.
//!
//! `make attack` runs it against the server that lets in only whom it may. Each bound that breaks is an error, and the program
//! ends with it.

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
pub(crate) use neighbour::{burn, flood};

/// How much more memory than before a server may hold once an attack is over, in KiB.
const MORE: f64 = 64.0 * 1024.0;
/// How many files more than before a server may have open once an attack is over.
const OPEN: usize = 8;
/// How long connections may take to end after their clients are gone.
const END: Duration = Duration::from_secs(20);
/// How many config maps a server holds: a list of them is half a megabyte.
const MAPS: usize = 500;

/// Attacks a server in all ways.
pub(crate) fn attack(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let directory = tempfile::tempdir_in(disk::parent())?;
    let server = Child::server("guarded", Some(&directory.path().join("audit.log")))?;
    server.load(How::Certificate, "create", Work::new(MAPS, 8))?;

    // The first of each kind makes what is kept for the next: caches, and what the allocator holds back.
    hostile::hostile(&server, &mut Figures::default(), 1000 / divisor)?;

    let outlasts =
        |name: &str, figures: &mut Figures, attack: &mut dyn FnMut(&mut Figures) -> Result<(), BoxError>| {
            let (memory, files) = (server.resident()?, server.open_files()?);
            attack(figures).map_err(|error| format!("{name}: {error}"))?;
            // It still serves, and what the attack took is given back.
            server
                .load(How::Certificate, "get", Work::new(100, 4))
                .map_err(|error| format!("after {name}: {error}"))?;
            let more = server.resident()? - memory;
            figures.memory(&format!("{name}: more resident when it is over"), "attack", more.max(0.0));
            if more > MORE {
                return Err(format!("{name}: the server holds {more:.0} KiB more than before").into());
            }
            let begin = Instant::now();
            while server.open_files()? > files + OPEN {
                if begin.elapsed() > END {
                    return Err(format!(
                        "{name}: {} files were open before, {} are",
                        files,
                        server.open_files()?
                    )
                    .into());
                }
                sleep(Duration::from_millis(100));
            }
            Ok::<_, BoxError>(())
        };
    outlasts("hostile requests", figures, &mut |figures| {
        hostile::hostile(&server, figures, 10_000 / divisor)
    })?;
    outlasts("slow connections", figures, &mut |figures| slow::slow(&server, figures, 1000 / divisor))?;
    outlasts("a flood beside leases", figures, &mut |figures| neighbour::leases(&server, figures, divisor))?;
    outlasts("half a core", figures, &mut |figures| neighbour::half_a_core(&server, figures, divisor))?;
    server.stop()
}
