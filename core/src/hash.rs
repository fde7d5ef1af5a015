//! A hash that is the same on every machine, in every run and in every version, which std's default one is not.

/// What a hash of no bytes is.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// Returns the FNV-1a hash, of 64 bits, of some bytes. It spreads names; it does not keep secrets.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::hash::fnv1a;
///
/// assert_eq!(fnv1a(*b"a"), 0xaf63_dc4c_8601_ec8c);
/// ```
#[must_use]
pub fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
