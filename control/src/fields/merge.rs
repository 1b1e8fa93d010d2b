//! What is applied, laid over what is there; and taking away what is no longer applied.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/{merge,remove}.go`.

use serde_json::{Map, Value};

use crate::fields::element;
use crate::fields::place::{Form, Place, below, vacant};
use crate::fields::set::{Node, Set, is_member};
use crate::schema::Type;

/// Lays a checked configuration over an object. Nothing is taken away; lists that the configuration changes come in its
/// order.
pub(crate) fn merge(kind: &'static Type, live: &Value, config: &Value) -> Value {
    value(Place::Root(kind), Some(live), Some(config)).unwrap_or_else(|| Map::new().into())
}

fn value(place: Place, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let either = config.or(live)?;
    let leaf = || Some(either.clone());
    if vacant(live) && vacant(config) {
        return leaf();
    }
    match place.form(either) {
        Form::Scalar | Form::AtomicMap | Form::AtomicList => leaf(),
        Form::Struct(kind) => map(&|name| below(kind, name), live, config),
        Form::Map(entry) => map(&|_| entry, live, config),
        Form::Set(item) => list(&element::of_value, item, live, config),
        Form::Keyed(keys, item) => list(&|held| element::keyed(keys, item.kind(), held), item, live, config),
    }
}

fn map(place: &dyn Fn(&str) -> Place, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let (live, config) = (object(live), object(config));
    let mut merged = Map::new();
    for name in live.keys().chain(config.keys().filter(|name| !live.contains_key(*name))) {
        if let Some(held) = value(place(name), live.get(name), config.get(name)) {
            merged.insert(name.clone(), held);
        }
    }
    (!merged.is_empty()).then(|| merged.into())
}

/// The items of a list by their names.
struct Items<'a> {
    all: Vec<(String, &'a Value)>,
}

impl<'a> Items<'a> {
    fn of(name: &dyn Fn(&Value) -> Result<String, String>, list: Option<&'a Value>) -> Items<'a> {
        let all = list.and_then(Value::as_array).into_iter().flatten();
        Items { all: all.filter_map(|item| Some((name(item).ok()?, item))).collect() }
    }

    fn has(&self, element: &str) -> bool {
        self.all.iter().any(|(name, _)| name == element)
    }

    /// The only item of a name; items that share theirs are not merged with others.
    fn get(&self, element: &str) -> Option<&'a Value> {
        static NULL: Value = Value::Null;
        let mut named = self.all.iter().filter(|(name, _)| name == element);
        let first = named.next()?.1;
        Some(if named.next().is_some() { &NULL } else { first })
    }
}

/// Items of the configuration in its order; items that only the object has stay where they stood among those of both.
fn list(
    name: &dyn Fn(&Value) -> Result<String, String>,
    place: Place,
    live: Option<&Value>,
    config: Option<&Value>,
) -> Option<Value> {
    let (live, config) = (Items::of(name, live), Items::of(name, config));
    let mut shared = config.all.iter().map(|(name, _)| name).filter(|name| live.has(name));
    let mut next = shared.next();
    let mut taken: Vec<&str> = Vec::new();
    let mut merged = Vec::new();
    let (mut l, mut c) = (0, 0);
    while l < live.all.len() || c < config.all.len() {
        if let (Some((left, _)), Some((right, _))) = (live.all.get(l), config.all.get(c)) {
            if left == right {
                taken.push(left);
                merged.extend(value(place, live.get(left), config.get(left)));
                (l, c, next) = (l + 1, c + 1, shared.next());
                continue;
            }
            if config.has(left) && next.is_some_and(|next| next != left) {
                // Of both, but its turn has not come.
                l += 1;
                continue;
            }
        }
        if let Some((left, item)) = live.all.get(l) {
            if !config.has(left) {
                merged.extend(value(place, Some(item), None));
                l += 1;
                continue;
            }
            if taken.contains(&left.as_str()) {
                l += 1;
            }
        }
        if let Some((right, _)) = config.all.get(c) {
            taken.push(right);
            merged.extend(value(place, live.get(right), config.get(right)));
            c += 1;
            if next == Some(right) {
                next = shared.next();
            }
        }
    }
    (!merged.is_empty()).then(|| merged.into())
}

/// An object without the fields and items of a set. What becomes empty by that is `null`.
pub(crate) fn remove(kind: &'static Type, object: &Value, set: &Set) -> Value {
    without(Place::Root(kind), object, &set.0)
}

fn without(place: Place, held: &Value, gone: &Node) -> Value {
    let child = |element: &str| gone.get(element).and_then(Value::as_object);
    let form = place.form(held);
    match (form, held) {
        (Form::Struct(_) | Form::Map(_), Value::Object(object)) => {
            let mut kept = Map::new();
            for (name, held) in object {
                let place = match form {
                    Form::Struct(kind) => below(kind, name),
                    Form::Map(entry) => entry,
                    _ => place,
                };
                match child(&element::field(name)) {
                    Some(gone) if is_member(gone) => {}
                    Some(gone) => {
                        kept.insert(name.clone(), without(place, held, gone));
                    }
                    None => {
                        kept.insert(name.clone(), held.clone());
                    }
                }
            }
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        (Form::Set(_) | Form::Keyed(..), Value::Array(all)) => {
            let mut kept = Vec::with_capacity(all.len());
            for held in all {
                let (name, item) = match form {
                    Form::Keyed(keys, item) => (element::keyed(keys, item.kind(), held), item),
                    Form::Set(item) => (element::of_value(held), item),
                    _ => continue,
                };
                match name.ok().as_deref().and_then(child) {
                    Some(gone) if is_member(gone) => {}
                    Some(gone) => kept.push(without(item, held, gone)),
                    None => kept.push(held.clone()),
                }
            }
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        (Form::Scalar, _) => held.clone(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kind, schema};
    use serde_json::json;

    fn names(live: &[&str], config: &[&str]) -> String {
        let env = |names: &[&str]| {
            let env: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
            json!({ "spec": { "containers": [{ "name": "c", "env": env }] } })
        };
        let merged = merge(schema::of(kind::core("pods")), &env(live), &env(config));
        let env = merged["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
        env.iter().filter_map(|item| item["name"].as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lists_come_in_the_applied_order() {
        assert_eq!(names(&["a", "b"], &["b", "a"]), "b a");
        assert_eq!(names(&["a", "b"], &["a", "n", "b"]), "a n b");
        assert_eq!(names(&["x", "a", "y", "b"], &["b", "a"]), "x y b a");
        assert_eq!(names(&["a", "x"], &["n"]), "a x n");
        assert_eq!(names(&["a", "a"], &["a"]), "a");
        assert_eq!(names(&[], &["a"]), "a");
    }

    #[test]
    fn what_is_removed_leaves_null_behind() {
        let kind = schema::of(kind::core("configmaps"));
        let object = json!({ "metadata": { "labels": { "a": "b" }, "finalizers": ["x", "y"] }, "data": { "k": "v" } });
        let gone = Set::parse(&json!({
            "f:metadata": { "f:labels": { "f:a": {} }, "f:finalizers": { "v:\"x\"": {} } }, "f:data": {}
        }));
        let wanted = json!({ "metadata": { "labels": null, "finalizers": ["y"] } });
        assert_eq!(remove(kind, &object, &gone.expect("a set")), wanted);
    }
}
