//! How the server's seats are shared out: by the levels' shares, and anew every ten seconds by what they need.

use super::configuration::LimitedSpec;

/// By how much less an old demand counts in each period (upstream's constant).
const MEMORY: f64 = 0.977;

/// One level's part of the seats.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// What its share of all seats is.
    pub(super) nominal: usize,
    /// What it never lends.
    least: usize,
    demand: f64,
}

/// Shares seats out among levels.
pub(super) fn parts<'a>(seats: usize, levels: impl Iterator<Item = &'a LimitedSpec> + Clone) -> Vec<Part> {
    let all: usize = levels.clone().map(|level| level.shares).sum();
    let part = |level: &LimitedSpec| {
        let nominal = (seats * level.shares).div_ceil(all.max(1)).max(1);
        let lendable = (nominal * level.lendable_percent + 50) / 100;
        Part { nominal, least: nominal - lendable.min(nominal), demand: 0.0 }
    };
    levels.map(part).collect()
}

/// Shares the seats out anew: every level keeps what it does not lend or has used, and the rest goes to where it is needed, in
/// proportion.
pub(super) fn share_out(parts: &mut [Part], peaks: &[usize]) -> Vec<usize> {
    let all: usize = parts.iter().map(|part| part.nominal).sum();
    let mut bounds = Vec::with_capacity(parts.len());
    for (part, peak) in parts.iter_mut().zip(peaks) {
        let now = to_float(*peak);
        part.demand = now.max(MEMORY.mul_add(part.demand, (1.0 - MEMORY) * now));
        let least = to_float(part.least.max(part.nominal.min(*peak)));
        bounds.push((least, part.demand.max(least).max(1.0)));
    }
    // How much of what it wants each level gets: the sum grows with it.
    let (mut low, mut high) = (0.0, to_float(all));
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        let sum: f64 = bounds.iter().map(|(least, target)| (target * middle).max(*least)).sum();
        if sum > to_float(all) { high = middle } else { low = middle }
    }
    bounds.iter().map(|(least, target)| rounded((target * low).max(*least)).max(1)).collect()
}

#[allow(clippy::cast_precision_loss, reason = "seats are far fewer than 2^52")]
fn to_float(seats: usize) -> f64 {
    seats as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies between 0 and the sum of all seats"
)]
fn rounded(seats: f64) -> usize {
    seats.round() as usize
}

#[cfg(test)]
mod tests {
    use super::super::configuration::LEVELS;
    use super::*;

    fn all() -> Vec<Part> {
        parts(600, LEVELS.iter().filter_map(|level| level.limited.as_ref()))
    }

    #[test]
    fn seats_are_shared_as_upstream_does() {
        let nominal: Vec<_> = all().iter().map(|part| part.nominal).collect();

        assert_eq!(nominal, [13, 74, 98, 25, 98, 245, 49]);
    }

    #[test]
    fn who_needs_more_borrows_what_others_lend() {
        let mut parts = all();

        let limits = share_out(&mut parts, &[0, 0, 0, 0, 0, 0, 900]);

        assert!(limits[6] > 250, "{limits:?}");
        assert!(limits.iter().zip(&parts).all(|(limit, part)| *limit >= part.least), "{limits:?}");
        let sum: usize = limits.iter().sum();
        assert!(sum.abs_diff(602) <= 4, "{limits:?}");
    }

    #[test]
    fn what_is_needed_is_not_lent() {
        let mut parts = all();

        let limits = share_out(&mut parts, &[13, 74, 98, 25, 98, 245, 900]);

        assert_eq!(limits, [13, 74, 98, 25, 98, 245, 49]);
    }
}
