//! Durations as people read them: `5s`, `3m20s`, `2h`, `4d`, with two or three significant digits.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Writes a duration in whole seconds the way `kubectl get` shows ages.
///
/// Clocks differ a little: up to a second of the future is `0s`, more of it is `<invalid>`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..=119 => format!("{seconds}s"),
        120..=599 => two(seconds, (MINUTE, "m"), (1, "s")),
        600..=10_799 => format!("{}m", seconds / MINUTE),
        10_800..=28_799 => two(seconds, (HOUR, "h"), (MINUTE, "m")),
        28_800..=172_799 => format!("{}h", seconds / HOUR),
        172_800..=691_199 => two(seconds, (DAY, "d"), (HOUR, "h")),
        691_200..=63_071_999 => format!("{}d", seconds / DAY),
        63_072_000..=252_287_999 => two(seconds, (YEAR, "y"), (DAY, "d")),
        252_288_000.. => format!("{}y", seconds / YEAR),
    }
}

/// Writes how long ago `time` (RFC 3339) was at `now`; `<unknown>` without a time.
#[must_use]
pub fn age(time: Option<&str>, now: Timestamp) -> String {
    time.and_then(|time| time.parse::<Timestamp>().ok())
        .map_or_else(|| "<unknown>".to_owned(), |time| human_duration(seconds_between(time, now)))
}

/// Returns the whole seconds from `start` to `end`, cut off towards zero.
pub(super) fn seconds_between(start: Timestamp, end: Timestamp) -> i64 {
    end.duration_since(start).as_secs()
}

fn two(seconds: i64, (large, large_name): (i64, &str), (small, small_name): (i64, &str)) -> String {
    match seconds % large / small {
        0 => format!("{}{large_name}", seconds / large),
        rest => format!("{}{large_name}{rest}{small_name}", seconds / large),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_keeps_two_or_three_digits() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + MINUTE, "3h1m"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (48 * HOUR - 1, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + HOUR, "2d1h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + DAY, "2y1d"),
            (6 * YEAR + 325 * DAY, "6y325d"),
            (8 * YEAR, "8y"),
            (20 * YEAR + DAY, "20y"),
        ];

        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn an_age_without_a_time_is_unknown() {
        let now: Timestamp = "2024-01-01T00:00:10Z".parse().unwrap();

        assert_eq!(age(Some("2024-01-01T00:00:03.5Z"), now), "6s");
        assert_eq!(age(None, now), "<unknown>");
        assert_eq!(age(Some("soon"), now), "<unknown>");
    }
}
