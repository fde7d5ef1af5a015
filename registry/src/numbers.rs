//! Numbers in text, and what is wrong with them in the words of Go's `strconv`, which clients know.

use std::num::{IntErrorKind, ParseIntError};

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
