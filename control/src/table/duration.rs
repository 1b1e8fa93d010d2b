//! PURE: how long ago, as short as people say it.
//!
//! Source: k8s.io/apimachinery `pkg/util/duration/duration.go`, `HumanDuration`.

use jiff::Timestamp;
use serde_json::Value;

/// The age of something; `<unknown>` when it has none.
pub(super) fn age(since: &Value, now: Timestamp) -> Value {
    match time(since) {
        Some(since) => human(now.as_second() - since.as_second()).into(),
        None => "<unknown>".into(),
    }
}

/// A time as objects write it.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Seconds in words of at most two units.
pub(super) fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let ages = ["2025-12-31T23:58:01Z", "2025-12-31T20:30:00Z", "2025-12-29T22:00:00Z", "2023-12-31T00:00:00Z"];
        let said: Vec<Value> = ages.iter().map(|since| age(&(*since).into(), now)).collect();
        assert_eq!(said, ["119s", "3h30m", "2d2h", "2y2d"]);
        assert_eq!(
            (human(3 * 60 + 5), human(400 * 86_400), human(9 * 365 * 86_400)),
            ("3m5s".into(), "400d".into(), "9y".into())
        );
        assert_eq!(age(&Value::Null, now), "<unknown>");
    }
}
