//! Quantities, exactly: compared, added and written as Kubernetes does.
//!
//! Source: k8s.io/apimachinery `pkg/api/resource/quantity.go`.

use serde_json::Value;

/// A part of a billion of one: the smallest difference between quantities.
const ONE: i128 = 1_000_000_000;
/// What more than that is read as. Source: `maxAllowed`.
const MOST: i128 = i64::MAX as i128 * ONE;
/// Suffixes from 10^-9 in steps of a thousand.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Suffixes from 1024^1.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// A quantity. Units: billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    billionths: i128,
    /// Written with suffixes of 1024.
    binary: bool,
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.billionths.cmp(&other.billionths)
    }
}

impl Amount {
    /// Reads a quantity; zero for what is none, which decoding has refused.
    pub fn of(value: &Value) -> Amount {
        match value {
            Value::String(text) => parse(text).unwrap_or_default(),
            Value::Number(number) => parse(&number.to_string()).unwrap_or_default(),
            _ => Amount::default(),
        }
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.billionths < 0
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.billionths == 0
    }

    /// Whether it is whole, thousandths rounded up.
    pub fn is_whole(self) -> bool {
        let thousandths =
            self.billionths.div_euclid(1_000_000) + i128::from(self.billionths.rem_euclid(1_000_000) != 0);
        thousandths % 1000 == 0
    }

    /// Whether it holds another one some whole number of times.
    pub fn is_multiple_of(self, other: Amount) -> bool {
        other.billionths > 0 && self.billionths % other.billionths == 0
    }

    /// Both together, written as the first is.
    pub fn plus(self, other: Amount) -> Amount {
        Amount { billionths: self.billionths.saturating_add(other.billionths), binary: self.binary }
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.billionths % ONE == 0;
        let units = self.billionths / ONE;
        if self.binary && whole && units.abs() >= 1024 {
            let (mut number, mut suffix) = (units, "");
            for next in BINARY {
                if number % 1024 != 0 {
                    break;
                }
                (number, suffix) = (number / 1024, next);
            }
            return write!(f, "{number}{suffix}");
        }
        if self.billionths == 0 {
            return f.write_str("0");
        }
        let (mut number, mut at) = (self.billionths, 0);
        while number % 1000 == 0 && at + 1 < DECIMAL.len() {
            (number, at) = (number / 1000, at + 1);
        }
        write!(f, "{number}{}", DECIMAL[at])
    }
}

fn parse(text: &str) -> Option<Amount> {
    let at = text.find(|letter: char| !letter.is_ascii_digit() && !"+-.".contains(letter)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(at);
    let negative = number.starts_with('-');
    let (whole, fraction) =
        number.trim_start_matches(['+', '-']).split_once('.').unwrap_or((number.trim_start_matches(['+', '-']), ""));
    let binary = BINARY.iter().position(|known| *known == suffix);
    let exponent = if binary.is_some() { 0 } else { decimal_exponent(suffix)? };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let nothing = whole.chars().chain(fraction.chars()).all(|digit| digit == '0');
    let out_of_reach = if nothing {
        0
    } else if exponent < 0 {
        1
    } else {
        MOST
    };
    let billionths = billionths(whole, fraction, binary, exponent).unwrap_or(out_of_reach);
    Some(Amount { billionths: if negative { -billionths } else { billionths }, binary: binary.is_some() })
}

/// What digits with a suffix are worth; none where numbers on the way are larger than can be held.
fn billionths(whole: &str, fraction: &str, binary: Option<usize>, exponent: i32) -> Option<i128> {
    // What one in the last place is worth, as a fraction.
    let (times, over) = match binary {
        Some(power) => (ONE.checked_mul(1024_i128.checked_pow(u32::try_from(power + 1).ok()?)?)?, 1),
        None => ten_to(exponent.checked_add(9)?)?,
    };
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let over = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(over)?;
    let scaled = digits.checked_mul(times)?;
    // Away from zero, as Kubernetes rounds.
    Some(scaled / over + i128::from(scaled % over != 0))
}

fn decimal_exponent(suffix: &str) -> Option<i32> {
    if let Some(at) = DECIMAL.iter().position(|known| *known == suffix) {
        return Some(i32::try_from(at).ok()? * 3 - 9);
    }
    suffix.strip_prefix(['e', 'E'])?.parse().ok()
}

/// Ten to a power, as a fraction.
fn ten_to(power: i32) -> Option<(i128, i128)> {
    let ten = 10_i128.checked_pow(power.unsigned_abs())?;
    Some(if power < 0 { (1, ten) } else { (ten, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        Amount::of(&text.into())
    }

    #[test]
    fn quantities_are_read_and_written_exactly() {
        for (text, wanted) in [
            ("0.5Gi", "512Mi"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("2", "2"),
            ("1024", "1024"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("1536Mi", "1536Mi"),
            ("1e3", "1k"),
            ("-1", "-1"),
            ("0", "0"),
            ("0.1", "100m"),
            (".5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("9223372036854775807", "9223372036854775807"),
            ("1e-60", "1n"),
            ("0e60", "0"),
            ("-99999999999999999999999999999999999999999", "-9223372036854775807"),
        ] {
            assert_eq!(amount(text).to_string(), wanted, "{text}");
        }
        assert!(amount("1") > amount("999m") && amount("1Gi") < amount("1.1G"));
        assert!(amount("2").is_whole() && !amount("500m").is_whole());
        assert!(amount("4Mi").is_multiple_of(amount("2Mi")) && !amount("3Mi").is_multiple_of(amount("2Mi")));
        assert_eq!(amount("1500m").plus(amount("500m")).to_string(), "2");
    }
}
