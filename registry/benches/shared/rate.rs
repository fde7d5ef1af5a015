//! What one run of a load generator measured.

use std::time::Duration;

use quarterdeck_core::component::BoxError;

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
    /// For how long the load generator was, per request.
    pub(crate) client_cpu: Duration,
}

impl Rate {
    /// Makes the rate of what took these times, all of it together `took`.
    pub(crate) fn of(took: Duration, mut times: Vec<Duration>, bytes: usize) -> Self {
        times.sort_unstable();
        let last = times.len().saturating_sub(1) as f64;
        let at = |share: f64| times.get((last * share) as usize).copied().unwrap_or_default();
        let per_second = times.len() as f64 / took.as_secs_f64();
        let (p50, p99) = (at(0.5), at(0.99));
        Self { per_second, p50, p99, bytes, cpu: Duration::ZERO, client_cpu: Duration::ZERO }
    }

    /// Writes what the load generator knows of a rate, as [`parse`](Self::parse) reads it.
    pub(crate) fn line(&self) -> String {
        let [p50, p99, cpu] = [self.p50, self.p99, self.client_cpu].map(|time| time.as_nanos());
        format!("{} {p50} {p99} {} {cpu}", self.per_second, self.bytes)
    }

    pub(crate) fn parse(line: &str) -> Result<Self, BoxError> {
        let mut numbers = line.split_whitespace();
        let mut next = || numbers.next().ok_or("the load generator said too little");
        Ok(Self {
            per_second: next()?.parse()?,
            p50: Duration::from_nanos(next()?.parse()?),
            p99: Duration::from_nanos(next()?.parse()?),
            bytes: next()?.parse()?,
            client_cpu: Duration::from_nanos(next()?.parse()?),
            cpu: Duration::ZERO,
        })
    }
}
