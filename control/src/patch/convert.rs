//! What does not fit the type of the object that a strategic merge patch made: such objects are never written as JSON, so
//! they are told in other words than bodies.
//!
//! Source: k8s.io/apimachinery `pkg/runtime/converter.go`.

use serde_json::Value;

use crate::schema::{self, Shape, Type, go};

/// The first field whose value its type cannot hold, as Go says it.
///
/// # Errors
/// When there is one.
pub(super) fn check(kind: &Type, object: &Value) -> Result<(), String> {
    for (name, value) in object.as_object().into_iter().flatten() {
        if let Some(field) = kind.fields.get(name) {
            check_value(&field.shape, &field.facts.go.name, value)?;
        }
    }
    Ok(())
}

fn check_value(shape: &Shape, name: &str, value: &Value) -> Result<(), String> {
    let alike = match (shape, value) {
        (_, Value::Null) | (Shape::Any, _) => return Ok(()),
        (Shape::Object(type_name), Value::Object(_)) => {
            return schema::named(type_name).map_or(Ok(()), |kind| check(kind, value));
        }
        (Shape::Object(_), _) => return Err(format!("cannot restore struct from: {}", sort(value))),
        (Shape::List(item), Value::Array(items)) => {
            return items.iter().try_for_each(|value| check_value(item, go::inner(name), value));
        }
        (Shape::List(_), _) => return Err(format!("cannot restore slice from {}", sort(value))),
        (Shape::Map(inner), Value::Object(entries)) => {
            return entries.values().try_for_each(|value| check_value(inner, go::inner(name), value));
        }
        (Shape::Map(_), _) => return Err(format!("cannot restore map from {}", sort(value))),
        // These read themselves.
        (Shape::IntOrString, _) => return Ok(()),
        (Shape::String(format), _) if matches!(format.as_str(), "quantity" | "date-time") => return Ok(()),
        (Shape::String(format), value) if format == "byte" && !value.is_string() => {
            return Err(format!("cannot restore slice from {}", sort(value)));
        }
        (Shape::String(_), Value::String(_)) | (Shape::Boolean, Value::Bool(_)) | (Shape::Number, Value::Number(_)) => {
            return Ok(());
        }
        (Shape::Integer, Value::Number(number)) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            return Ok(());
        }
        (Shape::Integer, Value::Number(_)) => true,
        // Go would make it a character.
        (Shape::String(_), Value::Number(number)) => number.is_i64(),
        _ => false,
    };
    Err(if alike {
        format!("cannot convert {} to {name}", sort(value))
    } else {
        format!("unrecognized type: {}", basic(shape, name))
    })
}

/// What Go holds of a value whose type nobody said.
fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

/// The basic type behind a name.
fn basic<'a>(shape: &Shape, name: &'a str) -> &'a str {
    match shape {
        Shape::String(_) => "string",
        Shape::Boolean => "bool",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind;

    fn said(spec: &Value) -> String {
        let kind = kind::find("apps", "v1", "deployments").expect("a row of the table");
        check(schema::of(kind), &json!({ "spec": spec })).err().unwrap_or_default()
    }

    #[test]
    fn what_does_not_fit_is_said_as_the_converter_says_it() {
        assert_eq!(said(&json!({ "replicas": "x" })), "unrecognized type: int32");
        assert_eq!(said(&json!({ "replicas": 1.5 })), "cannot convert float64 to int32");
        assert_eq!(said(&json!({ "replicas": 2.0, "paused": true })), "");
        assert_eq!(said(&json!({ "paused": "true" })), "unrecognized type: bool");
        assert_eq!(said(&json!({ "strategy": { "type": 3 } })), "cannot convert int64 to v1.DeploymentStrategyType");
        assert_eq!(said(&json!({ "strategy": [] })), "cannot restore struct from: slice");
        assert_eq!(said(&json!({ "selector": { "matchLabels": "a" } })), "cannot restore map from string");
        assert_eq!(said(&json!({ "template": { "spec": { "containers": {} } } })), "cannot restore slice from map");
    }
}
