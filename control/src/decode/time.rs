//! PURE: times as `metav1.Time` and `metav1.MicroTime` read them, with the texts of Go's `time.Parse`.
//!
//! Source: Go's `time/format.go`; k8s.io/apimachinery `apis/meta/v1/{time,micro_time}.go`.

use jiff::Timestamp;
use jiff::civil::DateTime;

/// `time.RFC3339`
const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
/// `metav1.RFC3339Micro`
const MICROSECONDS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// The form in which a time is stored: UTC, whole seconds or microseconds.
///
/// # Errors
/// Why it is none, as Go says it.
pub fn canonical(text: &str, micro: bool) -> Result<String, String> {
    let layout = if micro { MICROSECONDS } else { SECONDS };
    let moment = read(text, micro).map_err(|wrong| match wrong {
        Wrong::Element { rest, wanted } => {
            format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {wanted:?}")
        }
        Wrong::Range(what) => format!("parsing time {text:?}: {what} out of range"),
        Wrong::Extra(rest) => format!("parsing time {text:?}: extra text: {rest:?}"),
    })?;
    Ok(moment.strftime(if micro { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string())
}

enum Wrong<'a> {
    Element { rest: &'a str, wanted: &'static str },
    Range(&'static str),
    Extra(&'a str),
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn wrong<T>(&self, wanted: &'static str) -> Result<T, Wrong<'a>> {
        Err(Wrong::Element { rest: self.rest, wanted })
    }

    /// So many digits.
    fn number(&mut self, digits: usize, wanted: &'static str) -> Result<i16, Wrong<'a>> {
        let Some(text) = self.rest.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())) else {
            return self.wrong(wanted);
        };
        self.rest = &self.rest[digits..];
        Ok(text.parse().unwrap_or(i16::MAX))
    }

    fn skip(&mut self, word: &'static str) -> Result<(), Wrong<'a>> {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => self.wrong(word),
        }
    }

    /// Digits after the point, in nanoseconds; further ones are dropped.
    fn fraction(&mut self, digits: usize) -> i32 {
        let text = &self.rest[1..=digits];
        self.rest = &self.rest[digits + 1..];
        format!("{text:0<9}").get(..9).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn zone(&mut self) -> Result<i64, Wrong<'a>> {
        const WANTED: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        if bytes.len() < 6 || !self.rest.is_char_boundary(6) || bytes[3] != b':' || !matches!(bytes[0], b'+' | b'-') {
            return self.wrong(WANTED);
        }
        let two = |at: usize| {
            self.rest.get(at..at + 2).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<i64>().ok()
        };
        let (Some(hours), Some(minutes)) = (two(1), two(4)) else { return self.wrong(WANTED) };
        if hours > 24 {
            return Err(Wrong::Range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(Wrong::Range("time zone offset minute"));
        }
        let seconds = (hours * 60 + minutes) * 60;
        self.rest = &self.rest[6..];
        Ok(if bytes[0] == b'-' { -seconds } else { seconds })
    }
}

fn read(text: &str, micro: bool) -> Result<Timestamp, Wrong<'_>> {
    let mut reader = Reader { rest: text };
    let within = |value: i16, low: i16, high: i16, what: &'static str| {
        if (low..=high).contains(&value) { Ok(i8::try_from(value).unwrap_or(0)) } else { Err(Wrong::Range(what)) }
    };
    let year = reader.number(4, "2006")?;
    reader.skip("-")?;
    let month = within(reader.number(2, "01")?, 1, 12, "month")?;
    reader.skip("-")?;
    let day = reader.number(2, "02")?;
    reader.skip("T")?;
    let hour = within(reader.number(2, "15")?, 0, 23, "hour")?;
    reader.skip(":")?;
    let minute = within(reader.number(2, "04")?, 0, 59, "minute")?;
    reader.skip(":")?;
    let second = within(reader.number(2, "05")?, 0, 59, "second")?;
    let point = matches!(reader.rest.as_bytes().first(), Some(b'.' | b','));
    let digits = reader.rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let nanoseconds = match (micro, point) {
        (true, true) if digits >= 6 => reader.fraction(6),
        (true, _) => return reader.wrong(".000000"),
        (false, true) if digits > 0 => reader.fraction(digits),
        (false, _) => 0,
    };
    let offset = reader.zone()?;
    if !reader.rest.is_empty() {
        return Err(Wrong::Extra(reader.rest));
    }
    let day = i8::try_from(day).unwrap_or(0);
    DateTime::new(year, month, day, hour, minute, second, nanoseconds)
        .and_then(|local| local.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|_| Wrong::Range("day"))?
        .timestamp()
        .checked_sub(jiff::SignedDuration::from_secs(offset))
        .map_err(|_| Wrong::Range("day"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, micro, wanted) in [
            ("2024-01-01T01:00:00+01:00", false, Ok("2024-01-01T00:00:00Z")),
            ("2024-01-01T00:00:00.5Z", false, Ok("2024-01-01T00:00:00Z")),
            ("2024-01-01T00:00:00.500000Z", true, Ok("2024-01-01T00:00:00.500000Z")),
            (
                "2024-01-01",
                false,
                Err("parsing time \"2024-01-01\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\""),
            ),
            (
                "2024-01-01t00:00:00z",
                false,
                Err(
                    "parsing time \"2024-01-01t00:00:00z\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"t00:00:00z\" as \"T\"",
                ),
            ),
            ("", true, Err("parsing time \"\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"\" as \"2006\"")),
            (
                "2024-01-01T00:00:00.5Z",
                true,
                Err(
                    "parsing time \"2024-01-01T00:00:00.5Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \".5Z\" as \".000000\"",
                ),
            ),
            ("2024-13-01T00:00:00Z", false, Err("parsing time \"2024-13-01T00:00:00Z\": month out of range")),
            ("2024-02-30T00:00:00Z", false, Err("parsing time \"2024-02-30T00:00:00Z\": day out of range")),
            ("2024-01-01T00:00:00Zx", false, Err("parsing time \"2024-01-01T00:00:00Zx\": extra text: \"x\"")),
            (
                "2024-01-01T00:00:00",
                false,
                Err(
                    "parsing time \"2024-01-01T00:00:00\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\"",
                ),
            ),
        ] {
            assert_eq!(canonical(text, micro), wanted.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
