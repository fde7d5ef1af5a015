//! Randomness from one seed, handed in at assembly.
//!
//! [`Random`] names objects, makes uids and breaks ties. Secrets (keys, tokens, serial numbers) never come from here.

use std::sync::{Arc, Mutex};

use fastrand::Rng;

use crate::hash::fnv1a;

/// The characters of generated names: no vowels and no look-alikes, so that no words arise (Kubernetes'
/// `k8s.io/apimachinery/pkg/util/rand`).
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A seeded source of random values. Clones share one sequence; [`Random::fork`] starts an independent one.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::random::Random;
///
/// let (first, second) = (Random::seeded(7), Random::seeded(7));
///
/// assert_eq!(first.suffix(5), second.suffix(5));
/// ```
#[derive(Debug, Clone)]
pub struct Random(Arc<Mutex<Rng>>);

impl Random {
    /// Yields the same values for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Rng::with_seed(seed))))
    }

    /// Takes a seed from the operating system.
    ///
    /// # Panics
    ///
    /// Panics if the operating system has no randomness to give.
    #[must_use]
    pub fn from_os() -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the operating system gives randomness");
        Self::seeded(u64::from_le_bytes(seed))
    }

    /// Returns a source of its own for the part called `name`, so that what one part draws changes nothing for another.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        Self::seeded(self.with(|rng| rng.u64(..)) ^ fnv1a(name.bytes()))
    }

    /// Returns any number.
    #[must_use]
    pub fn u64(&self) -> u64 {
        self.with(|rng| rng.u64(..))
    }

    /// Returns a number below `bound`.
    ///
    /// # Panics
    ///
    /// Panics if `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: usize) -> usize {
        assert!(bound > 0, "there is no number below 0");
        self.with(|rng| rng.usize(..bound))
    }

    /// Returns `length` characters that may end a Kubernetes name, as `generateName` appends them.
    #[must_use]
    pub fn suffix(&self, length: usize) -> String {
        self.with(|rng| (0..length).map(|_| char::from(SAFE[rng.usize(..SAFE.len())])).collect())
    }

    /// Returns a version 4 UUID in its usual text form.
    #[must_use]
    pub fn uuid(&self) -> String {
        let bits = self.with(|rng| rng.u128(..));
        let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let mut text = String::with_capacity(36);
        for (index, byte) in bits.to_be_bytes().into_iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.extend(
                [byte >> 4, byte & 0xf].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
            );
        }
        text
    }

    fn with<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.0.lock().expect("no draw panics while it holds the lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let uuid = Random::seeded(1).uuid();

        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }

    #[test]
    fn a_fork_draws_apart_from_its_source() {
        let (one, other) = (Random::seeded(3), Random::seeded(3));
        let (fork, same) = (one.fork("scheduler"), other.fork("scheduler"));

        let _ = fork.u64();
        let _ = same.u64();

        assert_eq!(one.u64(), other.u64());
        assert_eq!(fork.u64(), same.u64());
    }
}
