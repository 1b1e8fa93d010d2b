//! PURE: the form in which a `resource.Quantity` is stored: `0.5` is `500m`, `1024Mi` is `1Gi`.
//!
//! Source: k8s.io/apimachinery `api/resource/{quantity,suffix,amount}.go`.

/// What follows the number, by the power that it stands for.
const DECIMAL: &[(&str, i32)] =
    &[("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
/// The same for powers of two.
const BINARY: &[(&str, u32)] = &[("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
/// Billionths in one.
const BILLION: i128 = 1_000_000_000;
/// Of whole numbers; what is more becomes this.
const MAX: i128 = i64::MAX as i128;

const MALFORMED: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";

/// Which suffixes a quantity was written with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// How a text is stored; `milli` rounds up to thousandths, as lists of resources do.
///
/// # Errors
/// Why it is no quantity.
pub fn canonical(text: &str, milli: bool) -> Result<String, &'static str> {
    let (mut billionths, format) = parse(text)?;
    if milli {
        billionths = up(billionths, 1_000_000) * 1_000_000;
    }
    Ok(print(billionths, format))
}

/// Divides, away from zero.
fn up(number: i128, by: i128) -> i128 {
    let whole = number / by;
    if number % by == 0 { whole } else { whole + number.signum() }
}

fn parse(text: &str) -> Result<(i128, Format), &'static str> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
        None => return Err(MALFORMED),
    };
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.bytes().take_while(|byte| b"eEinumkKMGTP".contains(byte)).count();
    let (_, tail) = suffix.split_at(letters);
    let tail = tail.strip_prefix(['+', '-']).unwrap_or(tail);
    if !tail.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MALFORMED);
    }
    let scale = |power: i32| {
        // The number without its point, and the power of ten of its last digit.
        let digits = format!("{whole}{fraction}");
        let exponent = i64::from(power) - i64::try_from(fraction.len()).unwrap_or(i64::MAX) + 9;
        shifted(digits.trim_start_matches('0'), exponent)
    };
    let (amount, format) = if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        (scale(*power), Format::Decimal)
    } else if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        // Twelve digits more than what is kept decide how it is rounded.
        let limited = scale(0).min(MAX * BILLION);
        (limited.saturating_mul(1 << bits), Format::Binary)
    } else {
        let power = suffix.strip_prefix(['e', 'E']).and_then(|power| power.parse::<i32>().ok()).ok_or(SUFFIX)?;
        (scale(power), Format::Exponent)
    };
    let amount = amount.min(MAX * BILLION);
    Ok((if negative { -amount } else { amount }, format))
}

/// Digits times a power of ten, rounded up.
fn shifted(digits: &str, power: i64) -> i128 {
    const PLACES: usize = 36;
    let kept = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(power);
    if digits.is_empty() {
        return 0;
    }
    if kept <= 0 {
        return 1;
    }
    let kept = usize::try_from(kept).unwrap_or(usize::MAX);
    if kept > PLACES {
        return MAX * BILLION;
    }
    let (head, lost) = digits.split_at(kept.min(digits.len()));
    let number: i128 = format!("{head:0<kept$}").parse().unwrap_or(MAX * BILLION);
    number + i128::from(lost.bytes().any(|byte| byte != b'0'))
}

fn print(billionths: i128, format: Format) -> String {
    if billionths == 0 {
        return "0".to_owned();
    }
    let whole = billionths / BILLION;
    if format == Format::Binary && billionths % BILLION == 0 && whole.abs() >= 1024 {
        let fits = |bits: u32| whole % (1_i128 << bits) == 0;
        let (suffix, bits) = BINARY.iter().rev().find(|(_, bits)| fits(*bits)).copied().unwrap_or(("", 0));
        return format!("{}{suffix}", whole >> bits);
    }
    let (mut number, mut power) = (billionths, -9);
    while number % 1000 == 0 && power < 18 {
        number /= 1000;
        power += 3;
    }
    match format {
        Format::Exponent if power == 0 => number.to_string(),
        Format::Exponent => format!("{number}e{power}"),
        Format::Decimal | Format::Binary => {
            let suffix = DECIMAL.iter().find(|(_, held)| *held == power).map_or("", |(suffix, _)| suffix);
            format!("{number}{suffix}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_stored_in_one_form() {
        for (text, wanted) in [
            ("0.5", "500m"),
            (".5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("100", "100"),
            ("2048Ki", "2Mi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("0Gi", "0"),
            ("-1", "-1"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("1E", "1E"),
            ("9Ei", "9223372036854775807"),
            ("+3", "3"),
            ("1.0000000001", "1000000001n"),
        ] {
            assert_eq!(canonical(text, false).as_deref(), Ok(wanted), "{text}");
        }
        assert_eq!(canonical("1n", true).as_deref(), Ok("1m"));
        assert_eq!(canonical("1500u", true).as_deref(), Ok("2m"));
        for text in ["", "1 Gi", "x", "1Q", "{}"] {
            assert_eq!(canonical(text, false), Err(MALFORMED), "{text}");
        }
        for text in ["1iK", "--1"] {
            assert_eq!(canonical(text, false), Err(SUFFIX), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_form_is_its_own(text in "[+-]?[0-9]{0,20}[.]?[0-9]{0,12}([numkMGTPE]|[KMGTPE]i|e[+-]?[0-9]{1,2})?") {
            if let Ok(once) = canonical(&text, false) {
                proptest::prop_assert_eq!(canonical(&once, false), Ok(once));
            }
        }
    }
}
