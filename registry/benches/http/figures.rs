//! What was measured, round by round, and how it is shown.

use std::fmt;
use std::time::Duration;

use crate::rate::Rate;
use crate::references;

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
