//! What was measured, round by round, and how it is shown.

use std::fmt;
use std::time::Duration;

/// What one run of the load generator measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// For how long the server was on a core, per request.
    pub(crate) cpu: Duration,
}

/// Named figures, in the order in which they were first measured; each with one value per round.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<(String, &'static str, Vec<f64>)>);

impl Figures {
    pub(crate) fn load(&mut self, name: &str, rate: Rate) {
        self.add(name, "per second", rate.per_second);
        self.add(&format!("{name}, p50"), "ms", milliseconds(rate.p50));
        self.add(&format!("{name}, p99"), "ms", milliseconds(rate.p99));
        self.add(&format!("{name}, server's CPU"), "µs per request", rate.cpu.as_secs_f64() * 1e6);
    }

    pub(crate) fn time(&mut self, name: &str, time: Duration) {
        self.add(name, "ms", milliseconds(time));
    }

    /// Takes a number of KiB.
    pub(crate) fn memory(&mut self, name: &str, kib: f64) {
        self.add(name, "MiB", kib / 1024.0);
    }

    fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, _, _)| known == name) {
            Some((_, _, values)) => values.push(value),
            None => self.0.push((name.to_owned(), unit, vec![value])),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit, values) in &self.0 {
            let mut values = values.clone();
            values.sort_by(f64::total_cmp);
            let (least, most) = (values[0], values[values.len() - 1]);
            let median = values[values.len() / 2];
            let digits = if *unit == "per second" && median >= 100.0 { 0 } else { 2 };
            writeln!(f, "{name:<50} {median:>9.digits$} [{least:.digits$}, {most:.digits$}] {unit}")?;
        }
        Ok(())
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
