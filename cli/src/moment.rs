//! PURE: times as people say them, and as they and programs read them.

use jiff::{SignedDuration, SpanRelativeTo, Timestamp};

/// A time: RFC 3339, or so long ago: `-2h`, `-90s`, `-1d 2h`. A second that is named whole is meant whole. Units:
/// milliseconds since 1970.
///
/// # Errors
/// When it is none; the text says what one looks like.
pub(crate) fn time(word: &str, now: Timestamp) -> Result<i64, String> {
    let none = |why: &dyn std::fmt::Display| {
        format!("{word:?} is no time: {why}; write 2026-01-31T12:00:00Z, or how long ago: -2h")
    };
    let Some(ago) = word.strip_prefix('-') else {
        let then: Timestamp = word.parse().map_err(|error: jiff::Error| none(&error))?;
        let rest = if then.subsec_nanosecond() == 0 { 999 } else { 0 };
        return Ok(then.as_millisecond() + rest);
    };
    let ago: jiff::Span = ago.parse().map_err(|error: jiff::Error| none(&error))?;
    let ago: SignedDuration =
        ago.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error: jiff::Error| none(&error))?;
    if ago.is_negative() {
        return Err(none(&"it is still to come"));
    }
    let then = now.checked_sub(ago).map_err(|error: jiff::Error| none(&error))?;
    Ok(then.as_millisecond())
}

/// Milliseconds since 1970 as they are read.
pub(crate) fn shown(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms).map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_so_long_ago() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let ago = |word: &str| time(word, now).map(|ms| now.as_millisecond() - ms);
        assert_eq!((ago("-2h"), ago("-90s"), ago("-1d")), (Ok(7_200_000), Ok(90_000), Ok(86_400_000)));
        assert_eq!(ago("-1d 2h"), Ok(93_600_000));
        assert_eq!(ago("2026-01-02T04:04:00.5+01:00"), Ok(4500));
        assert_eq!(time("1970-01-01T00:00:02Z", now), Ok(2999), "the whole second");
        assert_eq!(time("1970-01-01T00:00:02.5Z", now), Ok(2500));
        for wrong in ["", "soon", "-", "-soon", "2026-01-02", "-17", "--2h", "yesterday"] {
            assert!(time(wrong, now).is_err_and(|error| error.contains("no time")), "{wrong:?}");
        }
        assert_eq!((shown(2500).as_str(), shown(i64::MAX).as_str()), ("1970-01-01T00:00:02.5Z", "an unknown time"));
    }
}
