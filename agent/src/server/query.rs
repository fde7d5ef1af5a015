//! The parameters of a request for logs.

use jiff::{SignedDuration, Timestamp};
use quarterdeck_core::runtime::LogOptions;

/// Which part of which attempt's log is wanted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogQuery {
    pub(super) options: LogOptions,
    /// The attempt before the present one.
    pub(super) previous: bool,
    /// No more than so many bytes.
    pub(super) limit: Option<u64>,
}

impl LogQuery {
    /// Reads the parameters of a URL.
    ///
    /// # Errors
    ///
    /// What is wrong, for the user.
    pub(super) fn parse(query: &str, now: Timestamp) -> Result<Self, String> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).ok_or_else(|| format!("invalid value of {key}"))?;
            if value.is_empty() {
                continue;
            }
            let number = || value.parse::<u64>().map_err(|_| format!("invalid value {value:?} of {key}"));
            let flag = || match value.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(format!("invalid value {value:?} of {key}")),
            };
            match key {
                "follow" => parsed.options.follow = flag()?,
                "previous" => parsed.previous = flag()?,
                "timestamps" => parsed.options.timestamps = flag()?,
                "tailLines" => parsed.options.tail = Some(number()?),
                "limitBytes" => parsed.limit = Some(number()?),
                "sinceSeconds" => {
                    let seconds = i64::try_from(number()?).map_err(|_| format!("{key} is out of range"))?;
                    parsed.options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
                }
                "sinceTime" => {
                    let at = value.parse().map_err(|_| format!("invalid value {value:?} of {key}"))?;
                    parsed.options.since = Some(at);
                }
                _ => return Err(format!("unknown parameter {key}")),
            }
        }
        Ok(parsed)
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_what_is_wrong_is_named() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();

        let parsed =
            LogQuery::parse("follow=true&tailLines=5&sinceTime=2026%2D01%2D01T00%3A00%3A00Z", now).unwrap();
        let relative = LogQuery::parse("sinceSeconds=60&limitBytes=9", now).unwrap();

        assert!(parsed.options.follow);
        assert_eq!(parsed.options.tail, Some(5));
        assert_eq!(parsed.options.since, relative.options.since);
        assert_eq!(relative.limit, Some(9));
        assert!(LogQuery::parse("tailLines=-1", now).unwrap_err().contains("tailLines"));
    }
}
