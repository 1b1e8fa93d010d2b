//! Reading objects as Go sees them: what is absent is empty.

use serde_json::Value;

/// A string, empty when absent.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A list, empty when absent.
pub fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The strings of a list.
pub fn texts<'a>(object: &'a Value, field: &str) -> impl ExactSizeIterator<Item = &'a str> {
    list(object, field).iter().map(|item| item.as_str().unwrap_or_default())
}

/// The entries of a map, by key.
pub fn entries<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    object.get(field).and_then(Value::as_object).into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// A whole number, where there is one.
pub fn number(object: &Value, field: &str) -> Option<i64> {
    object.get(field).and_then(Value::as_i64)
}

/// True only when it says so.
pub fn flag(object: &Value, field: &str) -> bool {
    object.get(field).and_then(Value::as_bool).unwrap_or(false)
}

/// A field that is there.
pub fn held<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}
