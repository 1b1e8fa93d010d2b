//! Strategic merge patches: lists merge by the keys that the schema names, and directives say the rest.
//!
//! Source: k8s.io/apimachinery `util/strategicpatch/patch.go`.

use serde_json::{Map, Value};

use crate::schema::{Field, Shape, Type, named};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Lays a patch over an object. Without a type, lists are replaced.
///
/// # Errors
/// When the patch contradicts itself.
pub(super) fn merge(
    kind: Option<&Type>,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    match patch.get(PATCH).and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            *target = plain(patch);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(format!("Unknown patch type found: {other}")),
    }
    if let Some(kept) = patch.get(RETAIN_KEYS).and_then(Value::as_array) {
        target.retain(|key, _| kept.iter().any(|kept| kept == key));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let field = kind.and_then(|kind| kind.fields.get(key));
        match value {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(inner) if !field.is_some_and(|field| field.facts.replace) => {
                let held = target.entry(key.clone()).or_insert_with(|| Map::new().into());
                if !held.is_object() {
                    *held = Map::new().into();
                }
                let held = held.as_object_mut().expect("was just made an object");
                deeper(field.map(|field| &field.shape), held, inner)?;
            }
            Value::Array(items) => {
                let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
                merge_list(field, target, key, items, order)?;
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
    directives(kind, target, patch)
}

/// Objects with free names merge name by name.
fn deeper(shape: Option<&Shape>, target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    match shape {
        Some(Shape::Object(name)) => merge(named(name), target, patch),
        _ => merge(None, target, patch),
    }
}

/// What concerns lists that the patch does not name otherwise: removals and mere reordering.
fn directives(kind: Option<&Type>, target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix(DELETE_FROM) {
            let gone = value.as_array().ok_or_else(|| format!("{key} is not a list"))?;
            if let Some(Value::Array(held)) = target.get_mut(name) {
                held.retain(|item| !gone.contains(item));
            }
        } else if let Some(name) = key.strip_prefix(ORDER) {
            let wanted = value.as_array().ok_or_else(|| format!("{key} is not a list"))?;
            let merge_key = kind.and_then(|kind| kind.fields.get(name)).and_then(|field| field.facts.merge.clone());
            if let Some(Value::Array(held)) = target.get_mut(name).filter(|_| !patch.contains_key(name)) {
                reorder(held, wanted, &merge_key.unwrap_or_default());
            }
        }
    }
    Ok(())
}

fn merge_list(
    field: Option<&Field>,
    target: &mut Map<String, Value>,
    name: &str,
    items: &[Value],
    order: Option<&Vec<Value>>,
) -> Result<(), String> {
    let Some(key) = field.and_then(|field| field.facts.merge.as_deref()) else {
        target.insert(name.to_owned(), items.iter().map(plain_value).collect());
        return Ok(());
    };
    let replaces = |item: &Value| item[PATCH] == "replace" && item.as_object().is_some_and(|item| item.len() == 1);
    if items.iter().any(replaces) {
        let rest = items.iter().filter(|item| !replaces(item)).map(plain_value).collect();
        target.insert(name.to_owned(), rest);
        return Ok(());
    }
    let mut held = match target.remove(name) {
        Some(Value::Array(held)) => held,
        _ => Vec::new(),
    };
    for item in items {
        if key.is_empty() {
            if !held.contains(item) {
                held.push(item.clone());
            }
            continue;
        }
        let Value::Object(patch) = item else { return Err(format!("an item of {name} is not an object")) };
        let id = patch.get(key).ok_or_else(|| format!("map: {item} does not contain declared merge key: {key}"))?;
        let at = held.iter().position(|held| held[key] == *id);
        match (patch.get(PATCH).and_then(Value::as_str), at) {
            (Some("delete"), _) => held.retain(|held| held[key] != *id),
            (_, Some(at)) => {
                let object = held[at].as_object_mut().ok_or_else(|| format!("an item of {name} is not an object"))?;
                item_merge(field, object, patch)?;
            }
            (_, None) => held.push(plain_value(item)),
        }
    }
    if let Some(order) = order {
        reorder(&mut held, order, key);
    }
    target.insert(name.to_owned(), held.into());
    Ok(())
}

fn item_merge(
    field: Option<&Field>,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    match field.map(|field| &field.shape) {
        Some(Shape::List(item)) => deeper(Some(item), target, patch),
        _ => merge(None, target, patch),
    }
}

/// Items named by `order` come in that order; others stay where they stood among them.
fn reorder(items: &mut Vec<Value>, order: &[Value], key: &str) {
    let id = |value: &Value| if key.is_empty() { value.clone() } else { value[key].clone() };
    let rank = |item: &Value| order.iter().position(|wanted| id(wanted) == id(item));
    let all: Vec<(usize, Value)> = std::mem::take(items).into_iter().enumerate().collect();
    let (mut named, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, item)| rank(item).is_some());
    named.sort_by_key(|(_, item)| rank(item));
    let mut others = others.into_iter().peekable();
    for (place, item) in named {
        while let Some((_, other)) = others.next_if(|(other, _)| *other < place) {
            items.push(other);
        }
        items.push(item);
    }
    items.extend(others.map(|(_, item)| item));
}

/// A value as it is added: without directives, and without what it says is absent.
fn plain_value(value: &Value) -> Value {
    match value {
        Value::Object(object) => plain(object).into(),
        Value::Array(items) => items.iter().map(plain_value).collect(),
        other => other.clone(),
    }
}

fn plain(object: &Map<String, Value>) -> Map<String, Value> {
    let kept = object.iter().filter(|(key, value)| !key.starts_with('$') && !value.is_null());
    kept.map(|(key, value)| (key.clone(), plain_value(value))).collect()
}
