//! What was measured, round by round, and the tables that come of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rate::Rate;
use crate::recovery::Kind;
use crate::{IN_FLIGHT, VALUE, process};

/// What was written to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Memory,
    Embedded,
    InPlace,
    Api,
    Etcd,
    Redb,
    Sqlite,
}

impl What {
    const fn words(self) -> &'static str {
        match self {
            Self::Memory => "`MemoryStorage`, in process",
            Self::Embedded => "`EmbeddedStorage`, in process",
            Self::InPlace => "`EmbeddedStorage` that commits in place",
            Self::Api => "create through the API",
            Self::Etcd => "put in etcd",
            Self::Redb => "redb, in process",
            Self::Sqlite => "SQLite, in process",
        }
    }
}

/// kube-apiserver 1.20 before etcd 3.4, over TLS, measured earlier on the same kind of machine: it cannot be installed where
/// this runs. By how many creates are under way.
const KUBE_APISERVER: [(usize, &str); 3] = [(1, "840"), (16, "2,150"), (64, "2,300")];

/// One value for each round.
#[derive(Debug, Clone, Default)]
struct Rounds(Vec<f64>);

impl Rounds {
    fn median(&self) -> f64 {
        self.sorted().get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    /// Shows the median, and the range in brackets.
    fn show(&self, one: impl Fn(f64) -> String) -> String {
        match &self.sorted()[..] {
            [] => "–".to_owned(),
            [first, ..] if first.is_nan() => "–".to_owned(),
            [only] => one(*only),
            [least, .., most] => format!("{} ({}–{})", one(self.median()), one(*least), one(*most)),
        }
    }

    /// Divides round by round.
    fn by(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect())
    }
}

/// What was measured of one thing at one number of writes under way.
#[derive(Debug)]
struct Row {
    what: What,
    in_flight: usize,
    per_second: Rounds,
    p50: Rounds,
    p99: Rounds,
    cpu: Rounds,
    client_cpu: Rounds,
    syncs: Rounds,
}

/// All of it. Times are in microseconds.
#[derive(Debug)]
pub(crate) struct Report {
    directory: PathBuf,
    rounds: usize,
    /// How many bytes an object has.
    pub(crate) size: usize,
    disk: [Rounds; 2],
    rows: Vec<Row>,
    recoveries: Vec<(Kind, bool, u64, Rounds)>,
    snapshots: [Rounds; 3],
}

impl Report {
    pub(crate) fn new(directory: &Path, rounds: usize) -> Self {
        Self {
            directory: directory.to_owned(),
            rounds,
            size: VALUE,
            disk: Default::default(),
            rows: Vec::new(),
            recoveries: Vec::new(),
            snapshots: Default::default(),
        }
    }

    /// Takes what the disk takes for a write that is synced alone.
    pub(crate) fn disk(&mut self, p50: Duration, p99: Duration) {
        for (rounds, time) in self.disk.iter_mut().zip([p50, p99]) {
            rounds.0.push(microseconds(time));
        }
    }

    /// Takes a rate, and how many syncs there were for each write.
    pub(crate) fn add(&mut self, what: What, in_flight: usize, (rate, syncs): (Rate, f64)) {
        let at = self.rows.iter().position(|row| (row.what, row.in_flight) == (what, in_flight));
        let at = at.unwrap_or_else(|| {
            let [per_second, p50, p99, cpu, client_cpu, syncs] = Default::default();
            self.rows.push(Row { what, in_flight, per_second, p50, p99, cpu, client_cpu, syncs });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.per_second.0.push(rate.per_second);
        row.p50.0.push(microseconds(rate.p50));
        row.p99.0.push(microseconds(rate.p99));
        row.cpu.0.push(microseconds(rate.cpu));
        row.client_cpu.0.push(if rate.client_cpu.is_zero() {
            f64::NAN
        } else {
            microseconds(rate.client_cpu)
        });
        row.syncs.0.push(syncs);
    }

    /// Takes how long it took to open a store with so much log.
    pub(crate) fn recovery(&mut self, kind: Kind, is_cached: bool, bytes: u64, took: Duration) {
        let known = self.recoveries.iter_mut().find(|known| (known.0, known.1) == (kind, is_cached));
        match known {
            Some((.., rounds)) => rounds.0.push(microseconds(took)),
            None => self.recoveries.push((kind, is_cached, bytes, Rounds(vec![microseconds(took)]))),
        }
    }

    /// Takes how many snapshots there were, and what writes took without one and beside one.
    pub(crate) fn snapshots(&mut self, count: usize, alone: Duration, beside: Duration) {
        let values = [count as f64, microseconds(alone), microseconds(beside)];
        for (rounds, value) in self.snapshots.iter_mut().zip(values) {
            rounds.0.push(value);
        }
    }

    fn row(&self, what: What, in_flight: usize) -> Option<&Row> {
        self.rows.iter().find(|row| (row.what, row.in_flight) == (what, in_flight))
    }

    /// Writes a table of some of the rows, by the number of writes under way.
    fn table(&self, f: &mut fmt::Formatter<'_>, of: &[What]) -> fmt::Result {
        writeln!(f, "| in flight | what | per second | p50 | p99 | CPU | client's CPU | syncs per 1,000 |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for (in_flight, _) in IN_FLIGHT {
            for row in of.iter().filter_map(|what| self.row(*what, in_flight)) {
                writeln!(
                    f,
                    "| {in_flight} | {} | {} | {} | {} | {} | {} | {} |",
                    row.what.words(),
                    row.per_second.show(whole),
                    row.p50.show(time),
                    row.p99.show(time),
                    row.cpu.show(time),
                    row.client_cpu.show(time),
                    row.syncs.show(|syncs| whole(syncs * 1000.0)),
                )?;
            }
            let kube = KUBE_APISERVER.iter().find(|(known, _)| *known == in_flight);
            if let Some((_, per_second)) =
                kube.filter(|_| of.contains(&What::Api) && self.row(What::Api, in_flight).is_some())
            {
                writeln!(
                    f,
                    "| {in_flight} | kube-apiserver 1.20, measured earlier | {per_second} | – | – | – | – | – |"
                )?;
            }
        }
        Ok(())
    }

    /// Writes what is to be reached beside what was.
    fn goals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| goal | measured |")?;
        writeln!(f, "| --- | --- |")?;
        if let Some(row) = self.row(What::Embedded, 256) {
            writeln!(
                f,
                "| 200,000 durable commits/s in process, 256 in flight | {} |",
                row.per_second.show(whole)
            )?;
        }
        for (what, how) in [(What::InPlace, "in place"), (What::Embedded, "by the store's thread")] {
            if let Some(row) = self.row(what, 1) {
                let ratio = row.p50.by(&self.disk[0]).show(times);
                writeln!(f, "| p50 of one client 1.3 times that of the disk's sync, {how} | {ratio} |")?;
            }
        }
        for in_flight in [16, 64] {
            if let (Some(api), Some(etcd)) = (self.row(What::Api, in_flight), self.row(What::Etcd, in_flight))
            {
                let ratio = api.per_second.by(&etcd.per_second).show(times);
                writeln!(f, "| as many creates as puts in etcd, {in_flight} in flight | {ratio} as many |")?;
            }
        }
        for (kind, is_cached, bytes, took) in &self.recoveries {
            let kind = match kind {
                Kind::Creates => "creates",
                Kind::Updates => "updates of 10,000 keys",
            };
            let cache = if *is_cached { "in the page cache" } else { "on the disk alone" };
            let (size, took) = (*bytes as f64 / 1e9, took.show(time));
            writeln!(f, "| 2 s to open a log of {size:.2} GB, {kind}, {cache} | {took} |")?;
        }
        let [count, alone, beside] = &self.snapshots;
        if count.0.is_empty() {
            return Ok(());
        }
        let (ratio, count) = (beside.by(alone).show(times), count.show(whole));
        let (alone, beside) = (alone.show(time), beside.show(time));
        writeln!(
            f,
            "| p99 beside a snapshot 2 times that without | {ratio}: {beside}, {alone}; {count} snapshots a round |"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cores, rounds) = (process::cores(), self.rounds);
        writeln!(
            f,
            "Durable writes, {cores} cores, load included; medians of {rounds} rounds, and their range"
        )?;
        writeln!(f, "All files are in {}", self.directory.display())?;
        let [p50, p99] = [&self.disk[0], &self.disk[1]].map(|rounds| rounds.show(time));
        writeln!(f, "fdatasync of an append of 1 KiB to an allocated file: p50 {p50}, p99 {p99}")?;
        writeln!(
            f,
            "An object of the API, and so a value in etcd, has {} bytes; all others have 1,024\n",
            self.size
        )?;
        self.table(f, &[What::Memory, What::Embedded, What::InPlace, What::Api, What::Etcd])?;
        writeln!(f)?;
        self.table(f, &[What::Embedded, What::InPlace, What::Redb, What::Sqlite])?;
        writeln!(f)?;
        self.goals(f)
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn time(microseconds: f64) -> String {
    match microseconds {
        few if few < 10.0 => format!("{few:.1} µs"),
        some if some < 1000.0 => format!("{some:.0} µs"),
        many if many < 1e6 => format!("{:.2} ms", many / 1e3),
        all => format!("{:.2} s", all / 1e6),
    }
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// Writes a number with a comma before each three digits.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
