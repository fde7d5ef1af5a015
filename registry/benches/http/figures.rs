//! What was measured, round by round, and how it is shown.

use std::fmt;
use std::time::Duration;

use quarterdeck_core::component::BoxError;

use crate::references;

/// What one run of the load generator measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// How many bytes one answer had.
    pub(crate) bytes: usize,
    /// For how long the server was on a core, per request.
    pub(crate) cpu: Duration,
}

impl Rate {
    /// Makes the rate of what took these times, all of it together `took`.
    pub(crate) fn of(took: Duration, mut times: Vec<Duration>, bytes: usize) -> Self {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let per_second = times.len() as f64 / took.as_secs_f64();
        Self { per_second, p50: at(0.5), p99: at(0.99), bytes, cpu: Duration::ZERO }
    }

    /// Writes what the load generator knows of a rate, as [`parse`](Self::parse) reads it.
    pub(crate) fn line(&self) -> String {
        format!("{} {} {} {}", self.per_second, self.p50.as_nanos(), self.p99.as_nanos(), self.bytes)
    }

    pub(crate) fn parse(line: &str) -> Result<Self, BoxError> {
        let mut numbers = line.split_whitespace();
        let mut next = || numbers.next().ok_or("the load generator said too little");
        Ok(Self {
            per_second: next()?.parse()?,
            p50: Duration::from_nanos(next()?.parse()?),
            p99: Duration::from_nanos(next()?.parse()?),
            bytes: next()?.parse()?,
            cpu: Duration::ZERO,
        })
    }
}

/// Named figures, in the order in which they were first measured; each with one value per round.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    name: String,
    how: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

impl Figures {
    /// Takes all that is known of a rate; `how` says how it was measured.
    pub(crate) fn load(&mut self, name: &str, how: &'static str, rate: Rate) {
        self.add(name, how, "per second", rate.per_second);
        self.times(name, how, rate);
        self.cpu(name, how, rate);
    }

    /// Takes the times of a rate.
    pub(crate) fn times(&mut self, name: &str, how: &'static str, rate: Rate) {
        self.time(&format!("{name}, p50"), how, rate.p50);
        self.time(&format!("{name}, p99"), how, rate.p99);
    }

    /// Takes what a rate cost the server.
    pub(crate) fn cpu(&mut self, name: &str, how: &'static str, rate: Rate) {
        self.add(&format!("{name}, server's CPU"), how, "µs each", rate.cpu.as_secs_f64() * 1e6);
    }

    pub(crate) fn time(&mut self, name: &str, how: &'static str, time: Duration) {
        self.add(name, how, "ms", time.as_secs_f64() * 1000.0);
    }

    /// Takes a number of KiB.
    pub(crate) fn memory(&mut self, name: &str, how: &'static str, kib: f64) {
        self.add(name, how, "MiB", kib / 1024.0);
    }

    pub(crate) fn add(&mut self, name: &str, how: &'static str, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|figure| figure.name == name && figure.how == how) {
            Some(figure) => figure.values.push(value),
            None => self.0.push(Figure { name: name.to_owned(), how, unit, values: vec![value] }),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, how, median, spread, goal) = ("figure", "how", "median", "[least, most] unit", "goal");
        let [kube, peer] = ["kube-apiserver 1.20*", "fastest Rust peer*"];
        writeln!(f, "{name:<58} {how:<7} {median:>9} {spread:<34} {goal:<9} {kube:<20} {peer}")?;
        for Figure { name, how, unit, values } in &self.0 {
            let mut values = values.clone();
            values.sort_by(f64::total_cmp);
            let (least, most) = (values[0], values[values.len() - 1]);
            let median = values[values.len() / 2];
            let digits = if *unit == "per second" && median >= 100.0 { 0 } else { 2 };
            let spread = format!("[{least:.digits$}, {most:.digits$}] {unit}");
            write!(f, "{name:<58} {how:<7} {median:>9.digits$} {spread:<34}")?;
            match references::of(name) {
                Some([goal, kube, peer]) => writeln!(f, " {goal:<9} {kube:<20} {peer}")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "* measured earlier, same kind of machine, over TLS and with a disk")
    }
}
