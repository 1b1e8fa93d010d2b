//! What a write has changed: fields that are new, that are different, that are gone.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/compare.go`.

use serde_json::Value;

use crate::fields::element;
use crate::fields::place::{Form, Place, below, vacant};
use crate::fields::set::{Node, Set, mark, put};
use crate::schema::Type;

/// The fields in which two objects differ; no field is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// In the old one only.
    pub removed: Set,
    /// In both, and different.
    pub modified: Set,
    /// In the new one only.
    pub added: Set,
}

/// Compares two objects of a type; top-level fields named by `skip` are not looked at.
///
/// # Errors
/// When a list has items that cannot be told apart as its type wants.
pub fn compare(kind: &'static Type, old: &Value, new: &Value, skip: &[&str]) -> Result<Delta, String> {
    let mut found = Found::default();
    let both = names(Some(old), Some(new)).filter(|name| !skip.contains(name));
    for name in both {
        let place = below(kind, name);
        let child = value(place, written(place, old.get(name)), written(place, new.get(name)))?;
        found.hang(|| element::field(name), child);
    }
    let set = |node: Option<Node>| Set(node.unwrap_or_default());
    Ok(Delta { removed: set(found.removed), modified: set(found.modified), added: set(found.added) })
}

/// The differences below a place.
#[derive(Default)]
struct Found {
    removed: Option<Node>,
    modified: Option<Node>,
    added: Option<Node>,
}

impl Found {
    fn hang(&mut self, element: impl Fn() -> String, child: Found) {
        put(&mut self.removed, &element, child.removed);
        put(&mut self.modified, &element, child.modified);
        put(&mut self.added, &element, child.added);
    }

    /// A place that is only in one of the two is itself new or gone.
    fn close(mut self, old: Option<&Value>, new: Option<&Value>) -> Found {
        match (old, new) {
            (None, _) => mark(&mut self.added),
            (_, None) => mark(&mut self.removed),
            _ => {}
        }
        self
    }
}

fn value(place: Place, old: Option<&Value>, new: Option<&Value>) -> Result<Found, String> {
    if old == new {
        return Ok(Found::default());
    }
    let mut found = Found::default();
    let form = place.form(new.or(old).unwrap_or(&Value::Null));
    let parts = !(vacant(old) && vacant(new));
    match form {
        Form::Struct(kind) if parts => {
            for name in names(old, new) {
                let place = below(kind, name);
                let child = value(place, written(place, field(old, name)), written(place, field(new, name)))?;
                found.hang(|| element::field(name), child);
            }
        }
        Form::Map(inside) if parts => {
            for name in names(old, new) {
                let child = value(inside, field(old, name), field(new, name))?;
                found.hang(|| element::field(name), child);
            }
        }
        Form::Set(item) if parts => items(&|value| element::of_value(value), item, old, new, &mut found)?,
        Form::Keyed(keys, item) if parts => {
            let kind = item.kind();
            items(&|value| element::keyed(keys, kind, value), item, old, new, &mut found)?;
        }
        _ => {
            let place = match (old, new) {
                (None, _) => &mut found.added,
                (_, None) => &mut found.removed,
                _ => &mut found.modified,
            };
            mark(place);
            return Ok(found);
        }
    }
    Ok(found.close(old, new))
}

/// A field's value as Go would write it: an empty list or map that is left out when empty is not there.
fn written(place: Place, value: Option<&Value>) -> Option<&Value> {
    match place {
        Place::Field(field) if field.facts.go.drops(&field.shape) => value.filter(|value| !vacant(Some(value))),
        _ => value,
    }
}

fn field<'a>(object: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    object.and_then(|object| object.get(name))
}

/// The names of both objects, each once.
fn names<'a>(old: Option<&'a Value>, new: Option<&'a Value>) -> impl Iterator<Item = &'a str> {
    let object = |value: Option<&'a Value>| value.and_then(Value::as_object);
    let (old, new) = (object(old), object(new));
    let fresh = new
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .filter(move |name| !old.is_some_and(|old| old.contains_key(*name)));
    old.into_iter().flat_map(serde_json::Map::keys).chain(fresh).map(String::as_str)
}

/// An item's name, and the items that bear it: in the old list, in the new one.
type Twins<'a> = (String, Vec<&'a Value>, Vec<&'a Value>);

fn items(
    name: &dyn Fn(&Value) -> Result<String, String>,
    place: Place,
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Found,
) -> Result<(), String> {
    let length = |value: Option<&Value>| value.and_then(Value::as_array).map_or(0, Vec::len);
    let mut all: Vec<Twins<'_>> = Vec::with_capacity(length(old).max(length(new)));
    for (held, is_new) in [(old, false), (new, true)] {
        for item in held.and_then(Value::as_array).into_iter().flatten() {
            let element = name(item)?;
            let at = all.iter().position(|twins| twins.0 == element).unwrap_or_else(|| {
                all.push((element, Vec::new(), Vec::new()));
                all.len() - 1
            });
            if is_new { all[at].2.push(item) } else { all[at].1.push(item) }
        }
    }
    for (element, old, new) in all {
        let hung = match (old.as_slice(), new.as_slice()) {
            ([], [only]) => value(place, None, Some(only))?,
            ([only], []) => value(place, Some(only), None)?,
            ([one], [other]) => value(place, Some(one), Some(other))?,
            // Items that share a name are owned together.
            ([_, _, ..], [_, _, ..]) if old == new => Found::default(),
            ([_, _, ..], [_, _, ..]) => Found { modified: Some(Node::new()), ..Found::default() },
            ([_, _, ..], rest) => {
                let mut hung = rest.first().map(|only| value(place, None, Some(only))).transpose()?.unwrap_or_default();
                mark(&mut hung.removed);
                hung
            }
            (rest, _) => {
                let mut hung = rest.first().map(|only| value(place, Some(only), None)).transpose()?.unwrap_or_default();
                mark(&mut hung.added);
                hung
            }
        };
        found.hang(|| element.clone(), hung);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;
    use crate::schema;
    use serde_json::json;

    fn told(old: Value, new: Value) -> Value {
        let delta = compare(schema::of(kind::core("pods")), &old, &new, &[]).expect("items have names");
        json!([delta.removed.into_value(), delta.modified.into_value(), delta.added.into_value()])
    }

    fn pod(containers: Value) -> Value {
        json!({ "spec": { "containers": containers } })
    }

    #[test]
    fn scalars_lists_and_maps() {
        let old = pod(json!([{ "name": "a", "image": "1", "args": ["x"] }]));
        let new = pod(json!([{ "name": "a", "image": "2", "args": ["x", "y"], "ports": [{ "containerPort": 80 }] }]));
        let port = json!({ "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } });
        let mut ports = port;
        ports["."] = json!({});
        let at = |inner: Value| json!({ "f:spec": { "f:containers": { "k:{\"name\":\"a\"}": inner } } });
        let wanted = json!([{}, at(json!({ "f:args": {}, "f:image": {} })), at(json!({ "f:ports": ports }))]);
        assert_eq!(told(old, new), wanted);
        let labels = |labels: Value| json!({ "metadata": { "labels": labels } });
        let label = |inner: Value| json!({ "f:metadata": { "f:labels": inner } });
        assert_eq!(
            told(labels(json!({ "a": "1", "b": "1" })), labels(json!({ "b": "2", "c": "1" }))),
            json!([label(json!({ "f:a": {} })), label(json!({ "f:b": {} })), label(json!({ "f:c": {} }))])
        );
    }

    #[test]
    fn a_part_that_is_new_as_a_whole_is_a_member() {
        let wanted = json!({ "f:metadata": { ".": {}, "f:finalizers": { ".": {}, "v:\"x\"": {} } } });
        assert_eq!(told(json!({}), json!({ "metadata": { "finalizers": ["x"] } }))[2], wanted);
    }

    #[test]
    fn an_empty_list_is_not_null_where_either_is_written() {
        let containers = json!({ "f:spec": { "f:containers": {} } });
        assert_eq!(told(pod(Value::Null), pod(json!([]))), json!([{}, containers, {}]));
        let volumes = |volumes: Value| json!({ "spec": { "containers": null, "volumes": volumes } });
        assert_eq!(told(pod(Value::Null), volumes(json!([]))), json!([{}, {}, {}]));
    }

    #[test]
    fn twins_are_owned_together() {
        let one = pod(json!([{ "name": "a", "image": "1" }]));
        let two = pod(json!([{ "name": "a", "image": "1" }, { "name": "a", "image": "2" }]));
        let at = |inner: Value| json!({ "f:spec": { "f:containers": { "k:{\"name\":\"a\"}": inner } } });
        let whole = json!({ ".": {}, "f:image": {}, "f:name": {} });
        assert_eq!(told(one.clone(), two.clone()), json!([at(whole.clone()), {}, at(json!({}))]));
        assert_eq!(told(two.clone(), one), json!([at(json!({})), {}, at(whole)]));
        assert_eq!(told(two.clone(), two), json!([{}, {}, {}]));
    }
}
