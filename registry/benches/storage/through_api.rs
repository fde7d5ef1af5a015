//! Whole creates through the API over loopback: HTTP, validation, a durable commit, and the event to a watcher.

use std::path::Path;

use quarterdeck_core::component::BoxError;

use crate::access::How;
use crate::load::Work;
use crate::metrics::{self, LOG_SYNCS};
use crate::process::Child;
use crate::report::{Report, What};
use crate::{Plan, creates};

/// Measures a server over a new store at every number of creates under way.
pub(crate) fn measure(report: &mut Report, directory: &Path, plan: &Plan) -> Result<(), BoxError> {
    if !plan.has("api") {
        return Ok(());
    }
    let server = Child::server("serve", Some(&directory.join("api")))?;
    let address = server.plain_address();
    let mut first = 0;
    for (in_flight, count) in creates(plan) {
        let syncs = || metrics::counter(address, LOG_SYNCS);
        let before = syncs()?;
        let work = Work::new(count, in_flight).from(first);
        let rate = server.load(How::Plain, "create-watched", work)?;
        report.add(What::Api, in_flight, (rate, (syncs()? - before) / count as f64));
        first += count;
    }
    report.size = server.load(How::Plain, "get", Work::new(1, 1))?.bytes;
    server.stop()
}
