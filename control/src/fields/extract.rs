//! All that an object says, as a set of fields.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/tofieldset.go`, `fieldpath/set.go` (`EnsureNamedFieldsAreMembers`).

use serde_json::Value;

use crate::fields::element::{self, SELF};
use crate::fields::place::{Form, Place, below};
use crate::fields::set::{Node, Set, is_member, mark, put};
use crate::schema::Type;

/// The leaves of an object, its items and the entries of its maps.
pub(crate) fn extract(kind: &'static Type, object: &Value) -> Set {
    Set(inside(Place::Root(kind), object).unwrap_or_default())
}

fn inside(place: Place, value: &Value) -> Option<Node> {
    let mut found = None;
    match (place.form(value), value) {
        (Form::Scalar | Form::AtomicMap | Form::AtomicList, _) => mark(&mut found),
        (Form::Struct(kind), Value::Object(object)) => {
            for (name, value) in object {
                let mut child = inside(below(kind, name), value);
                if is_bare(value) || !kind.fields.contains_key(name) {
                    mark(&mut child);
                }
                put(&mut found, || element::field(name), child);
            }
        }
        (Form::Map(entry), Value::Object(object)) => {
            for (name, value) in object {
                let mut child = inside(entry, value);
                mark(&mut child);
                put(&mut found, || element::field(name), child);
            }
        }
        (Form::Set(item), Value::Array(all)) => items(&element::of_value, item, all, &mut found),
        (Form::Keyed(keys, item), Value::Array(all)) => {
            items(&|value| element::keyed(keys, item.kind(), value), item, all, &mut found);
        }
        _ => {}
    }
    found
}

/// Says nothing, and yet something: that there is to be nothing.
fn is_bare(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn items(name: &dyn Fn(&Value) -> Result<String, String>, place: Place, all: &[Value], found: &mut Option<Node>) {
    let named: Vec<(String, &Value)> = all.iter().filter_map(|item| Some((name(item).ok()?, item))).collect();
    for (element, item) in &named {
        let twins = named.iter().filter(|(other, _)| other == element).count() > 1;
        let mut child = if twins { None } else { inside(place, item) };
        mark(&mut child);
        put(found, || element.clone(), child);
    }
}

/// The same set with every field that has members below it, where the type names the field.
pub(crate) fn with_named(kind: &'static Type, set: &Set) -> Set {
    Set(named(Place::Root(kind), &set.0))
}

fn named(place: Place, node: &Node) -> Node {
    let form = place.form(&Value::Object(serde_json::Map::new()));
    let list = place.form(&Value::Array(Vec::new()));
    let mut all = Node::new();
    for (key, child) in node {
        let Value::Object(child) = child else { continue };
        if key == SELF || child.is_empty() {
            all.insert(key.clone(), Node::new().into());
            continue;
        }
        let (place, known) = match (form, list, key.strip_prefix("f:")) {
            (Form::Struct(kind), _, Some(name)) => (Some(below(kind, name)), kind.fields.contains_key(name)),
            (Form::Map(entry), _, Some(_)) => (Some(entry), false),
            (_, Form::Keyed(_, item), None) => (Some(item), false),
            _ => (None, false),
        };
        let mut child = match place {
            Some(place) => named(place, child),
            None => child.clone(),
        };
        if known && !is_member(&child) {
            child.insert(SELF.to_owned(), Node::new().into());
        }
        all.insert(key.clone(), child.into());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kind, schema};
    use serde_json::json;

    #[test]
    fn what_an_applied_object_says() {
        let kind = schema::of(kind::find("apps", "v1", "deployments").expect("a row"));
        let object = json!({
            "metadata": { "labels": { "a": "b" }, "annotations": {}, "finalizers": [] },
            "spec": {
                "selector": { "matchLabels": { "a": "b" } },
                "template": { "spec": { "containers": [{ "name": "c", "args": ["x"] }], "nodeSelector": null } }
            }
        });
        let wanted = json!({
            "f:metadata": { "f:annotations": {}, "f:labels": { "f:a": {} } },
            "f:spec": {
                "f:selector": {},
                "f:template": { "f:spec": {
                    "f:containers": { "k:{\"name\":\"c\"}": { ".": {}, "f:args": {}, "f:name": {} } },
                    "f:nodeSelector": {}
                } }
            }
        });
        let set = extract(kind, &object);
        assert_eq!(set.clone().into_value(), wanted);
        let all = with_named(kind, &set).paths();
        assert!(all.contains(&".spec.template.spec".to_owned()) && all.contains(&".metadata.labels".to_owned()));
        assert!(all.contains(&".spec.template.spec.containers[name=\"c\"].args".to_owned()));
    }
}
