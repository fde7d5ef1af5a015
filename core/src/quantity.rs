//! Amounts of resources (`100m` of CPU, `1.5Gi` of memory), exact to a billionth.
//!
//! Start at [`Quantity`]: parse one with [`str::parse`], add, compare, and print it in the canonical form in which the
//! API stores and returns it. What a resource name means, and which quantities a field allows, is decided elsewhere.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

mod parse;
#[cfg(test)]
mod tests;

/// The finest scale that a quantity keeps: a billionth. What is finer is rounded away from zero.
const NANO: i32 = -9;

/// The family of suffixes in which a quantity was written and is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `n`, `u`, `m`, nothing, `k`, `M`, `G`, `T`, `P`, `E`: powers of 1000.
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`: powers of 1024.
    BinarySi,
    /// `e3`, `e-6` …: powers of 1000 as an exponent of ten.
    DecimalExponent,
}

/// Why a text is no quantity. The messages are those that clients of Kubernetes know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseQuantityError {
    /// The text does not have the form of a quantity.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The digits cannot be represented: more than 38 significant ones.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The suffix is none that is known, or an exponent out of range.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact decimal amount that remembers the family of suffixes it was written with.
///
/// Two quantities are equal when their amounts are, whatever they were written like. Arithmetic keeps the left side's
/// format, unless that side is zero. Printing gives the canonical form: no fraction, and the largest suffix that allows
/// that; a [`Format::BinarySi`] amount below 1024 or with a fraction is printed with decimal suffixes.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::quantity::Quantity;
///
/// let memory: Quantity = "1536Mi".parse()?;
/// assert_eq!(memory, "1.5Gi".parse()?);
/// assert_eq!(memory.value(), 1_610_612_736);
///
/// let cpu: Quantity = "0.5".parse()?;
/// assert_eq!((cpu + Quantity::from_milli(250)).to_string(), "750m");
/// # Ok::<(), quarterdeck_core::quantity::ParseQuantityError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    // The amount is `unscaled * 10^scale`. Normal form: `unscaled` has no factor of ten, and zero has scale 0.
    unscaled: i128,
    scale: i32,
    format: Format,
}

impl Quantity {
    /// Nothing of anything.
    pub const ZERO: Self = Self { unscaled: 0, scale: 0, format: Format::DecimalSi };

    /// Returns `units` whole units, printed with decimal suffixes.
    pub fn from_units(units: i64) -> Self {
        Self::normal(i128::from(units), 0, Format::DecimalSi)
    }

    /// Returns `milli` thousandths, printed with decimal suffixes.
    pub fn from_milli(milli: i64) -> Self {
        Self::normal(i128::from(milli), -3, Format::DecimalSi)
    }

    /// Returns `bytes` whole units, printed with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self::normal(i128::from(bytes), 0, Format::BinarySi)
    }

    /// Returns the same amount, to be printed in `format`.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// Returns the family of suffixes that this quantity is printed with.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns whether the amount is zero.
    pub fn is_zero(&self) -> bool {
        self.unscaled == 0
    }

    /// Returns whether the amount is below zero.
    pub fn is_negative(&self) -> bool {
        self.unscaled < 0
    }

    /// Returns the amount in whole units: a fraction is rounded up, and what exceeds an `i64` ends at its bounds.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// Returns the amount in thousandths: a fraction is rounded up, and what exceeds an `i64` ends at its bounds.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// Returns whether the amount is a whole number of units.
    pub fn is_integer(&self) -> bool {
        self.scale >= 0
    }

    /// Returns whether the amount is a whole number of thousandths.
    pub fn is_milli(&self) -> bool {
        self.scale >= -3
    }

    fn scaled_value(&self, scale: i32) -> i64 {
        let saturated = if self.unscaled < 0 { i64::MIN } else { i64::MAX };
        let shift = i64::from(self.scale) - i64::from(scale);
        if shift >= 0 {
            let scaled = power_of_ten(shift).and_then(|power| self.unscaled.checked_mul(power));
            return scaled.and_then(|scaled| i64::try_from(scaled).ok()).unwrap_or(saturated);
        }
        let power = power_of_ten(-shift).expect("no scale is below a billionth");
        let up = i128::from(self.unscaled.rem_euclid(power) != 0);
        i64::try_from(self.unscaled.div_euclid(power) + up).unwrap_or(saturated)
    }

    /// Builds the normal form of `unscaled * 10^scale`.
    fn normal(mut unscaled: i128, mut scale: i32, format: Format) -> Self {
        if unscaled == 0 {
            return Self { unscaled: 0, scale: 0, format };
        }
        while unscaled % 10 == 0 {
            unscaled /= 10;
            scale += 1;
        }
        Self { unscaled, scale, format }
    }

    /// Returns the unscaled amount at a finer `scale`, if it can be represented.
    fn at_scale(&self, scale: i32) -> Option<i128> {
        power_of_ten(i64::from(self.scale) - i64::from(scale))?.checked_mul(self.unscaled)
    }

    fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        if self.is_zero() || other.is_zero() {
            let amount = if self.is_zero() { other } else { self };
            return Self { format, ..amount };
        }
        let (mut fine, mut coarse) = if self.scale < other.scale { (self, other) } else { (other, self) };
        // Where some 38 digits do not hold the sum, the last digits of the finer one go first.
        loop {
            let sum = coarse.at_scale(fine.scale).and_then(|coarse| coarse.checked_add(fine.unscaled));
            if let Some(sum) = sum {
                return Self::normal(sum, fine.scale, format);
            }
            if fine.scale == coarse.scale {
                coarse = Self { unscaled: coarse.unscaled / 10, scale: coarse.scale + 1, ..coarse };
            }
            fine = Self { unscaled: fine.unscaled / 10, scale: fine.scale + 1, ..fine };
            if fine.unscaled == 0 {
                return Self { format, ..coarse };
            }
        }
    }
}

/// Returns `10^exponent` if an `i128` holds it.
fn power_of_ten(exponent: i64) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.unscaled.signum().cmp(&other.unscaled.signum());
        if signs.is_ne() || self.is_zero() {
            return signs;
        }
        let digits = |q: &Self| i64::from(q.unscaled.unsigned_abs().ilog10()) + i64::from(q.scale);
        let magnitude = digits(self).cmp(&digits(other)).then_with(|| {
            // As many digits before the point: the one with fewer behind it can be widened, or is the greater one.
            let (a, b) = (self.unscaled.unsigned_abs(), other.unscaled.unsigned_abs());
            let widen = |n: u128, by: u32| n.checked_mul(10_u128.pow(by));
            match self.scale.cmp(&other.scale) {
                Ordering::Equal => a.cmp(&b),
                Ordering::Greater => {
                    widen(a, self.scale.abs_diff(other.scale)).map_or(Ordering::Greater, |a| a.cmp(&b))
                }
                Ordering::Less => {
                    widen(b, self.scale.abs_diff(other.scale)).map_or(Ordering::Less, |b| a.cmp(&b))
                }
            }
        });
        if self.unscaled < 0 { magnitude.reverse() } else { magnitude }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        (self.unscaled, self.scale) == (other.unscaled, other.scale)
    }
}

impl Eq for Quantity {}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.unscaled, self.scale).hash(state);
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.plus(other)
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.plus(-other)
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { unscaled: self.unscaled.saturating_neg(), ..self }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        quantities.fold(Self::ZERO, Add::add)
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse::quantity(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.pad("0");
        }
        if self.format == Format::BinarySi
            && let Some(whole) = self.at_scale(0)
            && whole.unsigned_abs() >= 1024
        {
            return f.pad(&binary(whole));
        }
        f.pad(&self.decimal())
    }
}

impl Quantity {
    fn decimal(&self) -> String {
        const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let largest = if self.format == Format::DecimalExponent { i32::MAX / 3 * 3 } else { 18 };
        let exponent = self.scale.div_euclid(3).saturating_mul(3).min(largest);
        // A power of ten that no suffix names, and digits that cannot be written out, leave the exponent's form.
        let Some(number) = self.at_scale(exponent) else {
            return format!("{}e{}", self.unscaled, self.scale);
        };
        match self.format {
            Format::DecimalExponent if exponent == 0 => number.to_string(),
            Format::DecimalExponent => format!("{number}e{exponent}"),
            Format::DecimalSi | Format::BinarySi => {
                let suffix = usize::try_from((exponent - NANO) / 3).ok().and_then(|i| SUFFIXES.get(i));
                format!("{number}{}", suffix.expect("exponents are between -9 and 18"))
            }
        }
    }
}

fn binary(mut number: i128) -> String {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut power = 0;
    while number % 1024 == 0 && power + 1 < SUFFIXES.len() {
        number /= 1024;
        power += 1;
    }
    format!("{number}{}", SUFFIXES[power])
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity, as a string or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.trim().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity::from_units(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity::normal(i128::from(number), 0, Format::DecimalSi))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Text)
    }
}
