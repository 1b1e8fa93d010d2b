//! Kubernetes quantities (`250m`, `1.5Gi`, `2e3`) as numbers, and what containers ask for in them.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::spec;

/// A quantity in thousandths, rounded up. None when it is no quantity or beyond the range of i128.
pub fn milli(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (mantissa, scale) = decimal(number)?;
    let (multiplier, exponent) = factor(suffix)?;
    let exponent = exponent + 3 - i32::try_from(scale).ok()?;
    let value = mantissa.checked_mul(multiplier)?;
    if exponent >= 0 {
        return value.checked_mul(10i128.checked_pow(exponent.unsigned_abs())?);
    }
    let divisor = 10i128.checked_pow(exponent.unsigned_abs())?;
    Some(value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0))
}

/// A quantity in whole units, rounded up.
pub fn value(text: &str) -> Option<i64> {
    let milli = milli(text)?;
    let units = milli.div_euclid(1000) + i128::from(milli.rem_euclid(1000) != 0);
    i64::try_from(units).ok()
}

/// `(digits, digits after the point)` of a decimal number.
fn decimal(text: &str) -> Option<(i128, usize)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((digits, fraction.len()))
}

/// `(multiplier, power of ten)` of a suffix.
fn factor(suffix: &str) -> Option<(i128, i32)> {
    let ten = |exponent| Some((1, exponent));
    match suffix {
        "" => ten(0),
        "n" => ten(-9),
        "u" => ten(-6),
        "m" => ten(-3),
        "k" => ten(3),
        "M" => ten(6),
        "G" => ten(9),
        "T" => ten(12),
        "P" => ten(15),
        "E" => ten(18),
        "Ki" => Some((1 << 10, 0)),
        "Mi" => Some((1 << 20, 0)),
        "Gi" => Some((1 << 30, 0)),
        "Ti" => Some((1 << 40, 0)),
        "Pi" => Some((1 << 50, 0)),
        "Ei" => Some((1 << 60, 0)),
        other => ten(other.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

/// A container's limit or request of one resource in thousandths.
pub fn limit_milli(container: &Container, resource: &str) -> Option<i128> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    milli(&limits.get(resource)?.0)
}

/// A container's request of one resource in thousandths; its limit when it states none.
pub fn request_milli(container: &Container, resource: &str) -> Option<i128> {
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    match requests.and_then(|r| r.get(resource)) {
        Some(Quantity(text)) => milli(text),
        None => limit_milli(container, resource),
    }
}

/// The pod's quality-of-service class.
pub fn qos_class(pod: &Pod) -> &'static str {
    let resources = ["cpu", "memory"];
    let positive = |q: Option<i128>| q.filter(|v| *v > 0);
    let mut any = false;
    let mut guaranteed = true;
    for container in spec::all(pod) {
        for resource in resources {
            let limit = positive(limit_milli(container, resource));
            let request = positive(request_milli(container, resource));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::{milli, value};

    #[test]
    fn reads_every_form() {
        for (text, expected) in [
            ("1", 1000),
            ("250m", 250),
            ("0.1", 100),
            ("1.5Gi", 1_610_612_736_000),
            ("2e3", 2_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("100n", 1),
            ("-2", -2000),
        ] {
            assert_eq!(milli(text), Some(expected), "{text}");
        }
        assert_eq!(value("1500m"), Some(2));
        for text in ["", "x", "1x", "1.2.3", "--1"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }
}
