//! What FieldsV1 calls a child: `f:NAME` a field, `k:{…}` an item by its keys, `v:…` an item by its value, `i:N` an item by
//! its place.
//!
//! Source: sigs.k8s.io/structured-merge-diff `fieldpath/{element,serialize-pe}.go`, `typed/helpers.go`.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::fields::zero;
use crate::schema::Type;

/// Marks a node as a member that has members below it.
pub(crate) const SELF: &str = ".";

/// A field of an object.
pub(crate) fn field(name: &str) -> String {
    let mut element = String::with_capacity(name.len() + 2);
    element.push_str("f:");
    element.push_str(name);
    element
}

/// An item of a list, by the fields that tell items apart.
///
/// # Errors
/// When the item is no object, or has none of the keys.
pub(crate) fn keyed(keys: &[String], kind: Option<&Type>, item: &Value) -> Result<String, String> {
    let object = match item {
        Value::Object(object) => object,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut found: Vec<(&str, Value)> = Vec::with_capacity(keys.len());
    for key in keys {
        let held = object.get(key).filter(|value| !value.is_null()).cloned();
        if let Some(value) = held.or_else(|| zero::of_key(kind?, key)) {
            found.push((key, value));
        }
    }
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        let names = names.join(" ");
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{names}] (and doesn't have default \
             values for any key fields)"
        ));
    }
    Ok(from_keys(found))
}

fn from_keys(mut found: Vec<(&str, Value)>) -> String {
    found.sort_by(|a, b| a.0.cmp(b.0));
    let mut element = String::from("k:{");
    for (at, (name, value)) in found.iter().enumerate() {
        if at > 0 {
            element.push(',');
        }
        element.push_str(&written(&Value::from(*name)));
        element.push(':');
        element.push_str(&written(value));
    }
    element.push('}');
    element
}

/// An item of a set.
///
/// # Errors
/// When the item is no scalar.
pub(crate) fn of_value(item: &Value) -> Result<String, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        scalar => Ok(format!("v:{}", written(scalar))),
    }
}

/// JSON as Go writes it: what HTML could misread is escaped.
pub(crate) fn written(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// What a client wrote, in the one form in which elements are compared; none for kinds that nobody knows.
///
/// # Errors
/// When it is no element.
pub(crate) fn canonical(text: &str) -> Result<Option<String>, String> {
    let (Some(kind), Some(rest)) = (text.get(..2), text.get(2..)) else {
        return Err("key must be 2 characters long:".to_owned());
    };
    if !kind.ends_with(':') {
        return Err(format!("missing colon: {text}"));
    }
    let wrong = |error: serde_json::Error| format!("{text}: {error}");
    match kind {
        "f:" => Ok(Some(text.to_owned())),
        "v:" => Ok(Some(format!("v:{}", written(&serde_json::from_str(rest).map_err(wrong)?)))),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).map_err(wrong)?;
            Ok(Some(from_keys(keys.iter().map(|(name, value)| (name.as_str(), value.clone())).collect())))
        }
        "i:" => Ok(Some(format!("i:{}", rest.parse::<i64>().map_err(|error| error.to_string())?))),
        _ => Ok(None),
    }
}

/// As messages show it: `.spec`, `[name="c"]`, `[="v"]`, `[0]`.
pub(crate) fn shown(element: &str) -> String {
    let (kind, rest) = element.split_at(2.min(element.len()));
    match kind {
        "f:" => format!(".{rest}"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        "v:" => format!("[={}]", serde_json::from_str::<Value>(rest).unwrap_or_default()),
        _ => format!("[{rest}]"),
    }
}

/// Kubernetes' order: fields, then items by keys, by value, by place.
pub(crate) fn order(a: &str, b: &str) -> Ordering {
    let rank = |element: &str| match element.get(..2) {
        Some("f:") => 0,
        Some("k:") => 1,
        Some("v:") => 2,
        _ => 3,
    };
    let parsed = |element: &str| serde_json::from_str::<Value>(element.get(2..).unwrap_or_default());
    rank(a).cmp(&rank(b)).then_with(|| match (rank(a), parsed(a), parsed(b)) {
        (1, Ok(Value::Object(a)), Ok(Value::Object(b))) => a
            .iter()
            .zip(&b)
            .map(|((name, value), (other, held))| name.cmp(other).then_with(|| scalars(value, held)))
            .find(|found| found.is_ne())
            .unwrap_or_else(|| a.len().cmp(&b.len())),
        (2 | 3, Ok(a), Ok(b)) => scalars(&a, &b),
        _ => a.cmp(b),
    })
}

/// Numbers before texts before truths.
fn scalars(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        _ => 3,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::named;
    use serde_json::json;

    #[test]
    fn items_are_named_by_their_keys_and_defaults() {
        let port = named("io.k8s.api.core.v1.ContainerPort");
        let keys = ["containerPort".to_owned(), "protocol".to_owned()];
        let named = |item: Value| keyed(&keys, port, &item);
        assert_eq!(
            named(json!({ "containerPort": 80, "name": "x" })).as_deref(),
            Ok(r#"k:{"containerPort":80,"protocol":"TCP"}"#)
        );
        assert_eq!(named(json!({ "protocol": "UDP" })).as_deref(), Ok(r#"k:{"containerPort":0,"protocol":"UDP"}"#));
        assert!(named(json!(3)).is_err());
        assert!(keyed(&["ip".to_owned()], None, &json!({})).expect_err("no key").contains(r#"all key fields ["ip"]"#));
    }

    #[test]
    fn what_clients_write_becomes_one_form() {
        let form = |text: &str| canonical(text);
        assert_eq!(form(r#"k:{ "b": 1, "a":"x&y" }"#), Ok(Some(r#"k:{"a":"x\u0026y","b":1}"#.to_owned())));
        assert_eq!(form("z:1"), Ok(None));
        assert!(form("f").is_err() && form("name").is_err() && form("k:1").is_err() && form("i:x").is_err());
        assert_eq!(shown(r#"k:{"containerPort":80,"protocol":"TCP"}"#), r#"[containerPort=80,protocol="TCP"]"#);
    }

    #[test]
    fn numbers_are_ordered_as_numbers() {
        let mut elements = ["v:\"b\"", "k:{\"p\":443}", "f:z", "k:{\"p\":80}", "f:a"];
        elements.sort_by(|a, b| order(a, b));
        assert_eq!(elements, ["f:a", "f:z", "k:{\"p\":80}", "k:{\"p\":443}", "v:\"b\""]);
    }
}
