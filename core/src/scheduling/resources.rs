//! Amounts of what a node has and a pod asks for.

use super::Symbol;

/// Amounts of the resources that scheduling counts, as integers.
///
/// Sums saturate at [`Resources::UNLIMITED`]; amounts are never negative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Processor time, in thousandths of a CPU.
    pub cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
    /// Local disk, in bytes.
    pub ephemeral_storage: i64,
    /// Everything else that is counted (`nvidia.com/gpu`, `hugepages-2Mi`), ordered by name, without duplicates.
    pub extended: Vec<(Symbol, i64)>,
}

impl Resources {
    /// The amount of a resource that never runs out.
    pub const UNLIMITED: i64 = i64::MAX;

    /// Returns the amount of an extended resource, 0 if there is none.
    #[must_use]
    pub fn extended(&self, name: &Symbol) -> i64 {
        self.extended.iter().find(|(known, _)| known == name).map_or(0, |(_, amount)| *amount)
    }

    /// Sets the amount of an extended resource.
    pub fn set_extended(&mut self, name: Symbol, amount: i64) {
        *self.extended_mut(&name) = amount;
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes the greater of each amount and its counterpart in `other`.
    pub fn raise(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        // What is nothing leaves no trace, so that equal sums are equal values.
        for (name, amount) in other.extended.iter().filter(|(_, amount)| *amount != 0) {
            let mine = self.extended_mut(name);
            *mine = with(*mine, *amount);
        }
    }

    fn extended_mut(&mut self, name: &Symbol) -> &mut i64 {
        let at = match self.extended.binary_search_by(|(known, _)| known.cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.extended.insert(at, (name.clone(), 0));
                at
            }
        };
        &mut self.extended[at].1
    }

    /// Takes `other`, which was added before, away again. Returns whether the sums are still exact: those that had saturated
    /// are not, and must be computed anew.
    #[must_use]
    pub(super) fn subtract(&mut self, other: &Self) -> bool {
        let mut exact = true;
        self.combine(other, i64::wrapping_sub);
        for (left, taken) in [
            (self.cpu, other.cpu),
            (self.memory, other.memory),
            (self.ephemeral_storage, other.ephemeral_storage),
        ] {
            exact &= left.checked_add(taken).is_some_and(|before| before != Self::UNLIMITED);
        }
        for (name, taken) in &other.extended {
            let before = self.extended(name).checked_add(*taken);
            exact &= before.is_some_and(|before| before != Self::UNLIMITED);
        }
        self.extended.retain(|(_, amount)| *amount != 0);
        exact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_saturated_says_that_it_cannot_be_taken_apart() {
        let huge = Resources { memory: i64::MAX - 1, ..Resources::default() };
        let small = Resources { memory: 10, cpu: 5, ..Resources::default() };
        let mut sum = small.clone();

        sum.add(&small);
        assert!(sum.subtract(&small));
        assert_eq!(sum, small);

        sum.add(&huge);
        assert_eq!(sum.memory, Resources::UNLIMITED);
        assert!(!sum.subtract(&huge));
    }
}
