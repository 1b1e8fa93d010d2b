//! PURE: `resource.Quantity`: `100m`, `1.5`, `64Mi`, `2e3`. Source: k8s.io/apimachinery `api/resource/quantity.go`.

pub mod canonical;

use serde_json::Value;

/// In thousandths, rounded up; none when it is no quantity. Units: thousandths.
pub fn milli(value: &Value) -> Option<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    parse(&text, 1000.0)
}

/// As a whole number, rounded up; 0 when it is none. Units: those of the resource, e.g. bytes.
pub fn units(value: &Value) -> i64 {
    milli(value).map_or_else(
        || value.as_str().and_then(|text| parse(text, 1.0)).unwrap_or(0),
        |thousandths| thousandths.saturating_add(999) / 1000,
    )
}

fn parse(text: &str, times: f64) -> Option<i64> {
    let at = text.find(|letter: char| !letter.is_ascii_digit() && !"+-.".contains(letter)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(at);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024_f64,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        other => 10_f64.powi(other.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let scaled = (number * factor * times - 1e-9).ceil();
    #[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
    (scaled.abs() < 9.2e18).then_some(scaled as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, wanted) in [
            ("100m", Some(100)),
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("1Ki", Some(1_024_000)),
            ("2e3", Some(2_000_000)),
            ("1n", Some(1)),
            ("x", None),
            ("1Q", None),
        ] {
            assert_eq!(milli(&text.into()), wanted, "{text}");
        }
        assert_eq!((units(&"64Mi".into()), units(&2.into()), units(&"1500m".into())), (64 << 20, 2, 2));
    }
}
