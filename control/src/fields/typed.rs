//! Whether what is applied has the form that its type wants, and what is said of it where it has not.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/validate.go`; values are shown as Go shows them.

use serde_json::Value;

use crate::fields::element;
use crate::fields::place::{Form, Place, below};
use crate::schema::{Shape, Type};

/// Broken rules at most: what is wrong at one place is mostly wrong at others.
const ERRORS_MAX: usize = 100;

/// Checks an object.
///
/// # Errors
/// All that is wrong, each with its path.
pub(crate) fn check(kind: &'static Type, object: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    value(Place::Root(kind), object, "", &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        all => Err(all.iter().fold("errors:".to_owned(), |text, error| format!("{text}\n  {error}"))),
    }
}

fn value(place: Place, held: &Value, path: &str, errors: &mut Vec<String>) {
    if held.is_null() || errors.len() >= ERRORS_MAX {
        return;
    }
    let mut wrong = |why: String| errors.push(if path.is_empty() { why } else { format!("{path}: {why}") });
    match (place.form(held), held) {
        (Form::Scalar, _) => {
            if let Some(why) = scalar(place.shape(), held) {
                wrong(why);
            }
        }
        (Form::Struct(kind), Value::Object(object)) => fields(kind, object, path, errors),
        (Form::AtomicMap, Value::Object(object)) => match (place.kind(), place.shape()) {
            (Some(kind), _) => fields(kind, object, path, errors),
            (None, Some(Shape::Map(inner))) => entries(Place::Inside(inner), object, path, errors),
            _ => {}
        },
        (Form::Map(entry), Value::Object(object)) => entries(entry, object, path, errors),
        (Form::Struct(_) | Form::AtomicMap | Form::Map(_), other) => {
            wrong(format!("expected map, got &{{{}}}", shown(other)));
        }
        (Form::AtomicList, Value::Array(all)) => {
            if let Some(Shape::List(item)) = place.shape() {
                for (at, held) in all.iter().enumerate() {
                    value(Place::Inside(item), held, &format!("{path}[{at}]"), errors);
                }
            }
        }
        (Form::Set(item), Value::Array(all)) => items(&element::of_value, item, all, path, errors),
        (Form::Keyed(keys, item), Value::Array(all)) => {
            items(&|held| element::keyed(keys, item.kind(), held), item, all, path, errors);
        }
        (Form::AtomicList | Form::Set(_) | Form::Keyed(..), other) => {
            wrong(format!("expected list, got &{{{}}}", shown(other)));
        }
    }
}

type Object = serde_json::Map<String, Value>;

/// The first unknown field ends the search in its object.
fn fields(kind: &'static Type, object: &Object, path: &str, errors: &mut Vec<String>) {
    for (name, held) in object {
        if !kind.fields.contains_key(name) {
            errors.push(format!("{path}.{name}: field not declared in schema"));
            return;
        }
        value(below(kind, name), held, &format!("{path}.{name}"), errors);
    }
}

fn entries(place: Place, object: &Object, path: &str, errors: &mut Vec<String>) {
    for (name, held) in object {
        value(place, held, &format!("{path}.{name}"), errors);
    }
}

fn items(
    name: &dyn Fn(&Value) -> Result<String, String>,
    place: Place,
    all: &[Value],
    path: &str,
    errors: &mut Vec<String>,
) {
    let mut seen: Vec<String> = Vec::with_capacity(all.len());
    for (at, held) in all.iter().enumerate() {
        let element = match name(held) {
            Ok(element) => element,
            Err(why) => {
                errors.push(format!("{path}: element {at}: {why}"));
                return;
            }
        };
        let shown = element::shown(&element);
        if seen.contains(&element) {
            errors.push(format!("{path}: duplicate entries for key {shown}"));
        }
        seen.push(element);
        value(place, held, &format!("{path}{shown}"), errors);
    }
}

/// What is wrong with a leaf.
fn scalar(shape: Option<&Shape>, held: &Value) -> Option<String> {
    let whole = !matches!(held, Value::Object(_) | Value::Array(_));
    match shape? {
        Shape::Integer | Shape::Number if !held.is_number() => {
            Some(format!("expected numeric (int or float), got {}", sort(held)))
        }
        Shape::Boolean if !held.is_boolean() => Some(format!("expected boolean, got &{{{}}}", shown(held))),
        // Formats but the plain one take any scalar.
        Shape::String(format) if matches!(format.as_str(), "" | "byte") && !held.is_string() => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", syntax(held)))
        }
        Shape::String(_) | Shape::IntOrString | Shape::Any if !whole => {
            Some(format!("expected any scalar, got &{{{}}}", shown(held)))
        }
        _ => None,
    }
}

/// As Go's `%v` shows it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(object) => {
            let all: Vec<String> = object.iter().map(|(name, value)| format!("{name}:{}", shown(value))).collect();
            format!("map[{}]", all.join(" "))
        }
        other => other.to_string(),
    }
}

/// As Go's `%#v` shows it.
fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(all) => {
            format!("[]interface {{}}{{{}}}", all.iter().map(syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(object) => {
            let all: Vec<String> = object.iter().map(|(name, value)| format!("{name:?}:{}", syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", all.join(", "))
        }
        other => other.to_string(),
    }
}

/// As Go's `%T` shows it.
fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kind, schema};
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_with_its_path() {
        let told = |object: Value| {
            let kind = schema::of(kind::find("apps", "v1", "deployments").expect("a row"));
            check(kind, &object).expect_err("wrong")
        };
        let pod = |spec: Value| json!({ "spec": { "template": { "spec": spec } } });
        let at = ".spec.template.spec";
        let table = [
            (json!({ "bogus": 1 }), ".bogus: field not declared in schema".to_owned()),
            (json!({ "spec": 3 }), ".spec: expected map, got &{3}".to_owned()),
            (
                json!({ "metadata": { "labels": { "a": 1 } } }),
                ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}".to_owned(),
            ),
            (
                json!({ "spec": { "replicas": "x" } }),
                ".spec.replicas: expected numeric (int or float), got string".to_owned(),
            ),
            (
                pod(json!({ "containers": { "name": "c" } })),
                format!("{at}.containers: expected list, got &{{map[name:c]}}"),
            ),
            (
                pod(json!({ "containers": [{ "name": "c", "env": [{ "name": "A" }, { "name": "A" }] }] })),
                format!("{at}.containers[name=\"c\"].env: duplicate entries for key [name=\"A\"]"),
            ),
            (
                pod(json!({ "containers": [{ "name": "c", "args": [1] }] })),
                format!(
                    "{at}.containers[name=\"c\"].args[0]: expected string, got &value.valueUnstructured{{Value:1}}"
                ),
            ),
            (pod(json!({ "hostNetwork": "x" })), format!("{at}.hostNetwork: expected boolean, got &{{x}}")),
        ];
        for (object, wanted) in table {
            assert_eq!(told(object), wanted);
        }
    }
}
