//! The formats of texts that schemas may state. Unknown ones hold for every text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::civil::Date;

/// Returns whether a text has the format.
pub(super) fn holds(format: &str, text: &str) -> bool {
    match format {
        "date" => text.len() == 10 && text.parse::<Date>().is_ok(),
        "date-time" | "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => {
            text.split_once('/').is_some_and(|(ip, _)| ip.parse::<IpAddr>().is_ok()) && is_network(text)
        }
        "mac" => is_mac(text),
        "uri" => is_uri(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "byte" => is_base64(text),
        "bsonobjectid" => text.len() == 24 && is_hex(text),
        "hexcolor" => is_hex_color(text),
        "rgbcolor" => is_rgb_color(text),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => is_ssn(text),
        _ => true,
    }
}

/// Looked at field by field, as upstream does: an hour of the day, and any offset from UTC.
fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else { return false };
    let Some((time, offset)) = time.split_at_checked(8) else { return false };
    let fraction = offset.find(['Z', 'z', '+', '-']).unwrap_or(offset.len());
    let (fraction, offset) = offset.split_at(fraction);
    let is_fraction = fraction.is_empty()
        || fraction.strip_prefix(['.', ',']).is_some_and(|digits| !digits.is_empty() && is_number(digits));
    holds("date", date)
        && is_fraction
        && matches!(time.as_bytes(), [h1, h2, b':', m1, m2, b':', s1, s2]
            if is_at_most([*h1, *h2], b"23") && is_at_most([*m1, *m2], b"59") && is_at_most([*s1, *s2], b"59"))
        && match offset.as_bytes() {
            [b'Z' | b'z'] => true,
            [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_at_most(digits: [u8; 2], most: &[u8; 2]) -> bool {
    digits.iter().all(u8::is_ascii_digit) && digits <= *most
}

fn is_network(text: &str) -> bool {
    text.parse::<ipnet::IpNet>().is_ok()
}

/// What Go reads as a duration (`1h30m`), and what upstream adds to it (`2 days`).
fn is_duration(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return true;
    }
    let mut rest = unsigned;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.');
        let number = &rest[..rest.len() - digits.len()];
        if number.parse::<f64>().is_err() {
            return false;
        }
        let unit_and_more = digits.trim_start_matches(' ');
        let after = unit_and_more.trim_start_matches(|char: char| char.is_alphabetic());
        let unit = &unit_and_more[..unit_and_more.len() - after.len()];
        if !is_unit(unit) {
            return false;
        }
        rest = after.trim_start_matches(' ');
    }
    !unsigned.is_empty()
}

fn is_unit(unit: &str) -> bool {
    const UNITS: [&str; 34] = [
        "ns",
        "nano",
        "nanos",
        "nanosecond",
        "nanoseconds",
        "us",
        "\u{b5}s",
        "\u{3bc}s",
        "micro",
        "micros",
        "microsecond",
        "microseconds",
        "ms",
        "milli",
        "millis",
        "millisecond",
        "milliseconds",
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "m",
        "min",
        "mins",
        "minute",
        "minutes",
        "h",
        "hr",
        "hour",
        "hours",
        "d",
        "day",
        "w",
    ];
    UNITS.contains(&unit) || matches!(unit, "hrs" | "days" | "wk" | "week" | "weeks")
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_local = !local.is_empty() && local.chars().all(|char| !char.is_whitespace() && char != '@');
    is_local && is_hostname(domain)
}

fn is_hostname(text: &str) -> bool {
    const MAX: usize = 255;
    let is_label = |label: &str| {
        let inner = |char: char| char.is_alphanumeric() || char == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= MAX && text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, width: usize| {
        let groups: Vec<&str> = text.split(separator).collect();
        let bytes = groups.len() * width / 2;
        matches!(bytes, 6 | 8 | 20) && groups.iter().all(|group| group.len() == width && is_hex(group))
    };
    groups(':', 2) || groups('-', 2) || groups('.', 4)
}

fn is_uri(text: &str) -> bool {
    if text.starts_with('/') {
        return !text.contains(|char: char| char.is_whitespace() || char.is_control());
    }
    text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some())
        || text.split_once(':').is_some_and(|(scheme, rest)| {
            let is_scheme = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
            scheme.starts_with(|char: char| char.is_ascii_alphabetic())
                && scheme.chars().all(is_scheme)
                && !rest.contains(|char: char| char.is_whitespace() || char.is_control())
        })
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let digits: String = text.chars().filter(|char| *char != '-').collect();
    let is_grouped = digits.len() == text.len() || {
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        lengths == [8, 4, 4, 4, 12]
    };
    let of_version = version.is_none_or(|version| digits.chars().nth(12) == Some(version));
    digits.len() == 32 && is_hex(&digits) && is_grouped && of_version
}

fn is_hex(text: &str) -> bool {
    text.chars().all(|char| char.is_ascii_hexdigit())
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && is_hex(digits)
}

fn is_rgb_color(text: &str) -> bool {
    let inner = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')'));
    inner.is_some_and(|inner| {
        let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
        parts.len() == 3 && parts.iter().all(|part| part.parse::<u8>().is_ok())
    })
}

fn digits(text: &str) -> String {
    text.chars().filter(|char| !matches!(char, '-' | ' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = digits(text);
    if digits.len() != 10 {
        return false;
    }
    let values: Option<Vec<u32>> = digits
        .chars()
        .enumerate()
        .map(|(at, char)| if at == 9 && char == 'X' { Some(10) } else { char.to_digit(10) })
        .collect();
    values.is_some_and(|values| values.iter().zip((1..=10).rev()).map(|(v, w)| v * w).sum::<u32>() % 11 == 0)
}

fn is_isbn13(text: &str) -> bool {
    let digits = digits(text);
    let values: Option<Vec<u32>> = digits.chars().map(|char| char.to_digit(10)).collect();
    values.is_some_and(|values| {
        values.len() == 13
            && values.iter().zip([1, 3].into_iter().cycle()).map(|(v, w)| v * w).sum::<u32>() % 10 == 0
    })
}

/// Luhn's sum.
fn is_credit_card(text: &str) -> bool {
    let digits = digits(text);
    let values: Option<Vec<u32>> = digits.chars().map(|char| char.to_digit(10)).collect();
    values.is_some_and(|values| {
        let doubled = |(at, value): (usize, &u32)| match at % 2 {
            0 => *value,
            _ if value * 2 > 9 => value * 2 - 9,
            _ => value * 2,
        };
        (13..=19).contains(&values.len())
            && values.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
    })
}

fn is_ssn(text: &str) -> bool {
    let lengths: Vec<usize> = text.split(['-', ' ']).map(str::len).collect();
    let is_digits = text.chars().all(|char| char.is_ascii_digit() || matches!(char, '-' | ' '));
    is_digits && (lengths == [3, 2, 4] || lengths == [9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_holds_for_what_it_names_and_for_nothing_else() {
        for (format, good, bad) in [
            ("date", "2026-11-26", "2026-13-26"),
            ("date-time", "2026-11-26T10:00:00Z", "2026-11-26"),
            ("date-time", "9999-12-31t23:59:59.5-05:00", "2026-11-26T24:00:00Z"),
            ("date-time", "0000-01-01T00:00:00z", "2026-11-26T10:00:00"),
            ("duration", "1h30m", "1x"),
            ("duration", "2 days", "days"),
            ("email", "a@example.com", "a.example.com"),
            ("hostname", "a.example.com", "a..example"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("mac", "00:11:22:33:44:55", "00:11:22"),
            ("uri", "https://example.com/x", "no uri"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
            ("byte", "aGk=", "a"),
            ("hexcolor", "#ff00aa", "#ff00a"),
            ("rgbcolor", "rgb(1, 2, 255)", "rgb(1, 2, 256)"),
            ("isbn10", "0306406152", "0306406153"),
            ("isbn13", "9780306406157", "9780306406158"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("ssn", "111-11-1111", "11-111-1111"),
        ] {
            assert!(holds(format, good), "{good} is a {format}");
            assert!(!holds(format, bad), "{bad} is no {format}");
        }
        assert!(holds("anything", "?"));
    }
}
