//! Numbers in text, and what is wrong with them in the words of Go's `strconv`, which clients know.

use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use quarterdeck_core::labels::quote;

/// Reads a number that is not below zero.
///
/// # Errors
///
/// Why it is none.
pub(crate) fn parse_uint(text: &str) -> Result<u64, String> {
    let parsed = if text.starts_with('+') { "+".parse() } else { text.parse() };
    parsed.map_err(|error| problem("ParseUint", text, &error))
}

/// Reads a whole number.
///
/// # Errors
///
/// Why it is none.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error| problem("ParseInt", text, &error))
}

/// Reads a length of time as Go writes it, such as `1m30s`; `None` if it lies below zero.
///
/// # Errors
///
/// Why it is none.
pub(crate) fn go_duration(text: &str) -> Result<Option<Duration>, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Some(Duration::ZERO));
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, others) = unit.split_at(end);
        seconds += number
            * match unit {
                "" => return Err(format!("time: missing unit in duration {}", quote(text))),
                "ns" => 1e-9,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
            };
        rest = others;
    }
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
    Ok((!is_negative).then_some(duration))
}

fn problem(function: &str, text: &str, error: &ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {}: {why}", quote(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_go_does() {
        let millis = |text: &str| go_duration(text).map(|read| read.map(|read| read.as_millis()));
        assert_eq!(millis("1m30s"), Ok(Some(90_000)));
        assert_eq!(millis("1.5s"), Ok(Some(1_500)));
        assert_eq!(millis("0"), Ok(Some(0)));
        assert_eq!(millis("-1s"), Ok(None));
        assert_eq!(millis(""), Err("time: invalid duration \"\"".into()));
        assert_eq!(millis("soon"), Err("time: invalid duration \"soon\"".into()));
        assert_eq!(millis("30"), Err("time: missing unit in duration \"30\"".into()));
        assert_eq!(millis("1d"), Err("time: unknown unit \"d\" in duration \"1d\"".into()));
    }

    #[test]
    fn what_is_no_number_is_told_in_gos_words() {
        assert_eq!(parse_uint("12"), Ok(12));
        assert_eq!(parse_int("-12"), Ok(-12));
        assert_eq!(parse_uint("-1").unwrap_err(), "strconv.ParseUint: parsing \"-1\": invalid syntax");
        assert_eq!(parse_uint("+1").unwrap_err(), "strconv.ParseUint: parsing \"+1\": invalid syntax");
        assert_eq!(
            parse_int("99999999999999999999").unwrap_err(),
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"
        );
    }
}
