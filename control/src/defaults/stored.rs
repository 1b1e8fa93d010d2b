//! Empty lists and maps: they are there while a request is answered, and gone once its object is stored, because
//! protobuf does not know them. What compares an object with its next version must not tell them from none
//! (k8s.io/apimachinery `api/equality`).

use serde_json::{Map, Value};

use crate::defaults::{is_vacant, settle};
use crate::kind::Kind;
use crate::schema::{self, Shape, Type};

/// Makes an object what is read back of it.
pub fn stored(kind: &Kind, object: &mut Value) {
    if let Value::Object(fields) = object {
        settle_all(schema::of(kind), fields);
    }
}

fn settle_all(kind: &Type, fields: &mut Map<String, Value>) {
    settle(kind, fields, false);
    for (name, value) in fields.iter_mut() {
        if let Some(field) = kind.fields.get(name) {
            settle_below(&field.shape, value);
        }
    }
}

fn settle_below(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Object(name), Value::Object(fields)) => {
            if let Some(kind) = schema::named(name) {
                settle_all(kind, fields);
            }
        }
        (Shape::List(item), Value::Array(items)) => items.iter_mut().for_each(|value| settle_below(item, value)),
        (Shape::Map(inner), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| settle_below(inner, value));
        }
        _ => {}
    }
}

/// A stored object with the empty lists and maps of its next version, so that nobody takes them for a change.
pub fn like(kind: &Kind, old: &Value, new: &Value) -> Value {
    let mut old = old.clone();
    if let (Value::Object(old), Value::Object(new)) = (&mut old, new) {
        follow(schema::of(kind), old, new);
    }
    old
}

fn follow(kind: &Type, old: &mut Map<String, Value>, new: &Map<String, Value>) {
    for (name, value) in new {
        let Some(field) = kind.fields.get(name) else { continue };
        if old.get(name).is_some_and(|held| !held.is_null()) {
            follow_below(&field.shape, &mut old[name], value);
        } else if !field.facts.go.pointer && is_vacant(&field.shape, value) {
            old.insert(name.clone(), value.clone());
        }
    }
}

fn follow_below(shape: &Shape, old: &mut Value, new: &Value) {
    match (shape, old, new) {
        (Shape::Object(name), Value::Object(old), Value::Object(new)) => {
            if let Some(kind) = schema::named(name) {
                follow(kind, old, new);
            }
        }
        (Shape::List(item), Value::Array(old), Value::Array(new)) => {
            old.iter_mut().zip(new).for_each(|(old, new)| follow_below(item, old, new));
        }
        (Shape::Map(inner), Value::Object(old), Value::Object(new)) => {
            for (key, old) in old.iter_mut() {
                if let Some(new) = new.get(key) {
                    follow_below(inner, old, new);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind;

    #[test]
    fn empty_lists_and_maps_are_none_once_stored() {
        let kind = kind::core("pods");
        let given = |selector: Value| json!({ "metadata": { "labels": {} }, "spec": { "nodeSelector": selector, "containers": [], "volumes": [{ "emptyDir": {} }] } });
        let (mut first, next) = (given(json!({ "a": "b" })), given(json!({})));
        stored(kind, &mut first);
        assert_eq!(first["metadata"].get("labels"), None);
        assert_eq!(
            (&first["spec"]["containers"], &first["spec"]["nodeSelector"]),
            (&Value::Null, &json!({ "a": "b" }))
        );
        assert_eq!(first["spec"]["volumes"][0]["emptyDir"], json!({}));
        let seen = like(kind, &first, &next);
        assert_eq!((&seen["metadata"]["labels"], &seen["spec"]["containers"]), (&json!({}), &json!([])));
        assert_eq!(seen["spec"]["nodeSelector"], json!({ "a": "b" }));
    }
}
