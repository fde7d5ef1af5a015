//! From text to [`Quantity`]: upstream's grammar, which is laxer than its own regular expression.

use super::{Format, NANO, ParseQuantityError, Quantity};

/// Exponents beyond this are refused: no amount of anything needs them.
const LARGEST_EXPONENT: i32 = 1_000_000;

/// What a quantity with a binary suffix is capped at.
const LARGEST_BINARY: i128 = i64::MAX as i128;

pub(super) fn quantity(text: &str) -> Result<Quantity, ParseQuantityError> {
    if text.is_empty() {
        return Err(ParseQuantityError::Format);
    }
    let (negative, unsigned) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, rest) = split_digits(unsigned);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    check_form(suffix)?;
    let sign = if negative { -1 } else { 1 };
    let (unscaled, scale, format) = match meaning(suffix)? {
        Suffix::Decimal(exponent, format) => {
            let (unscaled, scale) = decimal(whole, fraction, exponent)?;
            (unscaled, scale, format)
        }
        Suffix::Binary(power) => {
            let (unscaled, scale) = binary(whole, fraction, power);
            // Below one, binary suffixes would have to round.
            let below_one = unscaled != 0 && scale < 0 && unscaled < 10_i128.pow(scale.unsigned_abs());
            (unscaled, scale, if below_one { Format::DecimalSi } else { Format::BinarySi })
        }
    };
    Ok(Quantity::normal(sign * unscaled, scale, format))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Checks that a suffix is letters of the alphabet of suffixes, then a sign, then digits; each may be missing.
fn check_form(suffix: &str) -> Result<(), ParseQuantityError> {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let (_, rest) = split_digits(rest);
    if rest.is_empty() { Ok(()) } else { Err(ParseQuantityError::Format) }
}

enum Suffix {
    /// A power of ten.
    Decimal(i32, Format),
    /// A power of two.
    Binary(u32),
}

fn meaning(suffix: &str) -> Result<Suffix, ParseQuantityError> {
    let si = |exponent| Ok(Suffix::Decimal(exponent, Format::DecimalSi));
    match suffix {
        "n" => si(-9),
        "u" => si(-6),
        "m" => si(-3),
        "" => si(0),
        "k" => si(3),
        "M" => si(6),
        "G" => si(9),
        "T" => si(12),
        "P" => si(15),
        "E" => si(18),
        "Ki" => Ok(Suffix::Binary(10)),
        "Mi" => Ok(Suffix::Binary(20)),
        "Gi" => Ok(Suffix::Binary(30)),
        "Ti" => Ok(Suffix::Binary(40)),
        "Pi" => Ok(Suffix::Binary(50)),
        "Ei" => Ok(Suffix::Binary(60)),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).and_then(|digits| digits.parse::<i32>().ok());
            match exponent {
                Some(exponent) if exponent.abs() <= LARGEST_EXPONENT => {
                    Ok(Suffix::Decimal(exponent, Format::DecimalExponent))
                }
                _ => Err(ParseQuantityError::Suffix),
            }
        }
    }
}

/// Returns the digits as an integer and its scale, rounded up at a billionth.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> Result<(i128, i32), ParseQuantityError> {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let scale = i64::from(exponent) - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let digits = || whole.bytes().chain(fraction.bytes());
    let too_fine = usize::try_from(i64::from(NANO) - scale).unwrap_or(0);
    let kept = (whole.len() + fraction.len()).saturating_sub(too_fine);
    let mut unscaled = digits()
        .take(kept)
        .try_fold(0_i128, |number, digit| number.checked_mul(10)?.checked_add(i128::from(digit - b'0')));
    if digits().skip(kept).any(|digit| digit != b'0') {
        unscaled = unscaled.and_then(|number| number.checked_add(1));
    }
    let scale = i32::try_from(scale.max(i64::from(NANO))).map_err(|_| ParseQuantityError::Number)?;
    Ok((unscaled.ok_or(ParseQuantityError::Number)?, scale))
}

/// Returns the amount of `whole.fraction * 2^power`, rounded up at a billionth and capped.
fn binary(whole: &str, fraction: &str, power: u32) -> (i128, i32) {
    // Times the largest power, what is behind these digits is still far below a billionth: it only rounds up.
    const DIGITS: usize = 40;
    let fraction = fraction.trim_end_matches('0');
    let (leading, rest) = fraction.split_at(fraction.len().min(DIGITS));
    let mut digits: Vec<u8> = leading.bytes().map(|digit| digit - b'0').collect();
    let mut carried = 0_i128;
    for _ in 0..power {
        carried = 2 * carried + i128::from(double(&mut digits));
    }
    let whole = integer(whole).and_then(|whole| whole.checked_mul(1 << power)?.checked_add(carried));
    let Some(whole) = whole.filter(|whole| *whole < LARGEST_BINARY) else {
        return (LARGEST_BINARY, 0);
    };
    let nanos = digits.iter().copied().chain(std::iter::repeat(0)).take(NANO.unsigned_abs() as usize);
    let amount = nanos.fold(whole, |amount, digit| 10 * amount + i128::from(digit));
    let finer = digits.iter().skip(NANO.unsigned_abs() as usize).any(|digit| *digit != 0);
    (amount + i128::from(finer || !rest.is_empty()), NANO)
}

/// Doubles the fraction that `digits` spell and returns the one that is carried out of it, if any.
fn double(digits: &mut [u8]) -> u8 {
    digits.iter_mut().rev().fold(0, |carry, digit| {
        let doubled = *digit * 2 + carry;
        *digit = doubled % 10;
        doubled / 10
    })
}

fn integer(digits: &str) -> Option<i128> {
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}
