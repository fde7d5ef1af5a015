//! Values with a form of their own: quantities, times, base64. Each is checked and brought into the form that Kubernetes
//! writes; messages are Go's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use quarterdeck_core::quantity::Quantity;

/// A quantity's canonical text.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    text.trim().parse::<Quantity>().map(|quantity| quantity.to_string()).map_err(|e| e.to_string())
}

/// A quantity rounded up to thousandths; `None` if it is in thousandths already.
pub(super) fn round_up_to_milli(text: &str) -> Option<String> {
    let quantity: Quantity = text.parse().ok()?;
    let rounded = || Quantity::from_milli(quantity.milli_value()).with_format(quantity.format());
    (!quantity.is_milli()).then(|| rounded().to_string())
}

/// A time in UTC, with `digits` of a fraction: none for `Time`, six for `MicroTime`, which demands them too.
pub(super) fn time(text: &str, digits: usize) -> Result<String, String> {
    let mut parser = Clockwork { text, rest: text, digits };
    let parsed = parser.parse()?;
    let in_utc = parsed.in_utc().ok_or_else(|| parser.complain(": year outside of range [0,9999] in UTC"))?;
    Ok(format_time(in_utc, digits))
}

/// Seconds since 1970 and nanoseconds after them, of a time that [`time`] made.
pub(super) fn since_epoch(text: &str) -> Option<(i64, i32)> {
    let in_utc = Clockwork { text, rest: text, digits: 0 }.parse().ok()?.in_utc()?;
    let since = in_utc.duration_since(EPOCH);
    // Nanoseconds count from the second before, as in Go.
    Some(match since.subsec_nanos() {
        nanoseconds @ ..0 => (since.as_secs() - 1, nanoseconds + 1_000_000_000),
        nanoseconds => (since.as_secs(), nanoseconds),
    })
}

/// A time in UTC, so many seconds and nanoseconds since 1970; absent if it has no year of four digits.
pub(super) fn from_epoch(seconds: i64, nanoseconds: i32) -> Option<DateTime> {
    let since =
        SignedDuration::from_secs(seconds).checked_add(SignedDuration::from_nanos(nanoseconds.into()))?;
    EPOCH.checked_add(since).ok().filter(has_four_digits)
}

/// Times are reckoned by the calendar and not as instants: a `Timestamp` ends a day before the year 9999 does.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

fn has_four_digits(time: &DateTime) -> bool {
    (0..=9999).contains(&time.year())
}

/// Writes a time as Kubernetes does.
pub(super) fn format_time(in_utc: DateTime, digits: usize) -> String {
    let (date, time) = (in_utc.date(), in_utc.time());
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    if digits > 0 {
        text.push_str(&format!(".{:06}", time.subsec_nanosecond() / 1000));
    }
    text.push('Z');
    text
}

/// The numbers of a time that was written in full.
struct Civil {
    datetime: DateTime,
    offset_seconds: i32,
}

impl Civil {
    fn in_utc(&self) -> Option<DateTime> {
        let offset = SignedDuration::from_secs(self.offset_seconds.into());
        self.datetime.checked_sub(offset).ok().filter(has_four_digits)
    }
}

/// Reads RFC 3339 as Go's `time.Parse` does, down to what it says it could not read.
struct Clockwork<'a> {
    text: &'a str,
    rest: &'a str,
    digits: usize,
}

impl Clockwork<'_> {
    fn layout(&self) -> &'static str {
        if self.digits == 0 { "2006-01-02T15:04:05Z07:00" } else { "2006-01-02T15:04:05.000000Z07:00" }
    }

    fn complain(&self, what: &str) -> String {
        format!("parsing time {:?}{what}", self.text)
    }

    fn cannot(&self, element: &str) -> String {
        self.complain(&format!(" as {:?}: cannot parse {:?} as {element:?}", self.layout(), self.rest))
    }

    fn parse(&mut self) -> Result<Civil, String> {
        let year = self.number(4, "2006")?;
        self.literal("-")?;
        let month = self.number(2, "01")?;
        if !(1..=12).contains(&month) {
            return Err(self.complain(": month out of range"));
        }
        self.literal("-")?;
        let day = self.number(2, "02")?;
        self.literal("T")?;
        let hour = self.limited("15", 23, "hour")?;
        self.literal(":")?;
        let minute = self.limited("04", 59, "minute")?;
        self.literal(":")?;
        let second = self.limited("05", 59, "second")?;
        let nanosecond = self.fraction()?;
        let offset_seconds = self.offset()?;
        if !self.rest.is_empty() {
            return Err(self.complain(&format!(": extra text: {:?}", self.rest)));
        }
        // The ranges checked above fit these types.
        let narrow = |number: i32| i8::try_from(number).unwrap_or(-1);
        let datetime = DateTime::new(
            i16::try_from(year).unwrap_or(-1),
            narrow(month),
            narrow(day),
            narrow(hour),
            narrow(minute),
            narrow(second),
            nanosecond,
        )
        .map_err(|_| self.complain(": day out of range"))?;
        Ok(Civil { datetime, offset_seconds })
    }

    fn take(&mut self, length: usize) -> Option<i32> {
        let digits = self.rest.get(..length)?;
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        self.rest = &self.rest[length..];
        Some(number)
    }

    fn number(&mut self, length: usize, element: &str) -> Result<i32, String> {
        self.take(length).ok_or_else(|| self.cannot(element))
    }

    fn limited(&mut self, element: &str, most: i32, name: &str) -> Result<i32, String> {
        let number = self.number(2, element)?;
        if number > most { Err(self.complain(&format!(": {name} out of range"))) } else { Ok(number) }
    }

    fn literal(&mut self, expected: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(expected).ok_or_else(|| self.cannot(expected))?;
        Ok(())
    }

    /// Nanoseconds. Go takes a fraction after the seconds even where the layout has none.
    fn fraction(&mut self) -> Result<i32, String> {
        let length = self
            .rest
            .strip_prefix(['.', ','])
            .map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        if self.digits > 0 && length != self.digits {
            return Err(self.cannot(".000000"));
        }
        if length == 0 {
            return Ok(0);
        }
        let digits = &self.rest[1..=length];
        self.rest = &self.rest[length + 1..];
        Ok(format!("{digits:0<9}")[..9].parse().unwrap_or(0))
    }

    fn offset(&mut self) -> Result<i32, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.cannot("Z07:00")),
        };
        let pair = |at: usize| {
            let digits = bytes.get(at..at + 2)?;
            digits
                .iter()
                .all(u8::is_ascii_digit)
                .then(|| i32::from(digits[0] - b'0') * 10 + i32::from(digits[1] - b'0'))
        };
        match (pair(1), bytes.get(3), pair(4)) {
            (Some(hours), Some(b':'), Some(minutes)) => {
                if hours > 24 {
                    return Err(self.complain(": time zone offset hour out of range"));
                }
                if minutes > 60 {
                    return Err(self.complain(": time zone offset minute out of range"));
                }
                self.rest = &self.rest[6..];
                Ok(sign * (hours * 3600 + minutes * 60))
            }
            _ => Err(self.cannot("Z07:00")),
        }
    }
}

/// Bytes in canonical base64.
pub(super) fn base64(text: &str) -> Result<String, String> {
    if let Ok(bytes) = STANDARD.decode(text) {
        return Ok(STANDARD.encode(bytes));
    }
    if let Some(at) = corrupt_byte(text.as_bytes()) {
        return Err(format!("illegal base64 data at input byte {at}"));
    }
    // Line breaks are skipped, and bits that do not count may be set: Go allows both.
    let lenient = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    let plain: String = text.chars().filter(|character| !matches!(character, '\n' | '\r')).collect();
    lenient.decode(plain).map(|bytes| STANDARD.encode(bytes)).map_err(|e| e.to_string())
}

/// Writes bytes as base64.
pub(super) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64 that [`base64`] made.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The offset that Go names for base64 that is none.
fn corrupt_byte(source: &[u8]) -> Option<usize> {
    let is_break = |byte: u8| matches!(byte, b'\n' | b'\r');
    let mut at = 0;
    loop {
        let mut filled = 0;
        while filled < 4 {
            let Some(&byte) = source.get(at) else {
                return (filled != 0).then(|| at - filled);
            };
            at += 1;
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => filled += 1,
                byte if is_break(byte) => {}
                b'=' if filled >= 2 => {
                    let skip =
                        |at: usize| at + source[at..].iter().take_while(|byte| is_break(**byte)).count();
                    if filled == 2 {
                        at = skip(at);
                        match source.get(at) {
                            None => return Some(source.len()),
                            Some(b'=') => at += 1,
                            Some(_) => return Some(at - 1),
                        }
                    }
                    at = skip(at);
                    return (at < source.len()).then_some(at);
                }
                _ => return Some(at - 1),
            }
        }
    }
}
