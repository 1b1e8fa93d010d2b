//! Strategic merge patches: lists merge by the keys that the schema names, and directives say the rest.
//!
//! Source: k8s.io/apimachinery `util/strategicpatch/patch.go`, `util/mergepatch/errors.go`.

use serde_json::{Map, Value};

use crate::fields::shown;
use crate::patch::rejected;
use crate::schema::{Field, Shape, Type, named};
use crate::status::Status;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

fn failed(why: String) -> Status {
    Status::new(500, "", why)
}

fn misfit(wanted: &str, got: &Value) -> Status {
    let sort = match got {
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Null => "%!s(<nil>)",
    };
    failed(format!("expected a {wanted}, but received a {sort}"))
}

fn no_key(item: &Object, key: &str) -> Status {
    failed(format!("map: {} does not contain declared merge key: {key}", shown(&item.clone().into())))
}

/// Where a value stands, as far as the schema knows it.
#[derive(Clone, Copy)]
enum At {
    Kind(&'static Type),
    /// Free names.
    Map(&'static Shape),
    Unknown,
}

impl At {
    fn of(shape: &'static Shape) -> At {
        match shape {
            Shape::Object(name) => named(name).map_or(At::Unknown, At::Kind),
            Shape::Map(inner) => At::Map(inner),
            Shape::List(item) => At::of(item),
            _ => At::Unknown,
        }
    }

    fn field(self, name: &str) -> Option<&'static Field> {
        match self {
            At::Kind(kind) => kind.fields.get(name),
            At::Map(_) | At::Unknown => None,
        }
    }

    fn below(self, name: &str) -> At {
        match self {
            At::Map(inner) => At::of(inner),
            _ => self.field(name).map_or(At::Unknown, |field| At::of(&field.shape)),
        }
    }

    /// By what items of the list of this name are merged; none: the list is replaced, empty: by value.
    fn merge_key(self, name: &str) -> Option<&'static str> {
        self.field(name)?.facts.merge.as_deref()
    }
}

/// Lays a patch over an object.
///
/// # Errors
/// 400 and 422 for directives that make no sense, 500 for a patch that does not fit, as Kubernetes answers it.
pub(super) fn merge(kind: &'static Type, target: Object, patch: Object) -> Result<Object, Status> {
    map(At::Kind(kind), target, patch)
}

fn map(at: At, mut target: Object, mut patch: Object) -> Result<Object, Status> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown(directive, &patch)),
        };
    }
    retain(&mut target, &mut patch)?;
    ordered(at, &mut target, &mut patch)?;
    for (name, value) in patch {
        if let Some(name) = name.strip_prefix(DELETE_FROM) {
            let name = name.strip_prefix('/').ok_or_else(|| bad("invalid patch format of primitive list"))?;
            if let (Some(Value::Array(held)), Value::Array(gone)) = (target.get_mut(name), &value) {
                held.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if value.is_null() {
            target.remove(&name);
            continue;
        }
        let next = match (target.remove(&name), value) {
            (Some(Value::Object(_)), value @ Value::Object(_))
                if at.field(&name).is_some_and(|field| field.facts.replace) =>
            {
                Some(value)
            }
            (Some(Value::Object(held)), Value::Object(value)) => Some(map(at.below(&name), held, value)?.into()),
            (Some(Value::Array(held)), Value::Array(value)) => Some(match at.merge_key(&name) {
                Some(key) => list(at.below(&name), key, held, value)?.into(),
                None => value.into(),
            }),
            (Some(Value::Object(_) | Value::Array(_)) | None, mut value) => {
                without_nulls(&mut value);
                plain(value)
            }
            (Some(_), value) => plain(value),
        };
        if let Some(next) = next {
            target.insert(name, next);
        }
    }
    Ok(target)
}

fn bad(why: &str) -> Status {
    Status::bad_request(why)
}

fn unknown(directive: &Value, patch: &Object) -> Status {
    failed(format!("unknown patch type: {} in map: {}", shown(directive), shown(&patch.clone().into())))
}

/// Drops what the patch does not retain; it may not set what it drops.
fn retain(target: &mut Object, patch: &mut Object) -> Result<(), Status> {
    const BAD: &str = "invalid patch format of retainKeys";
    let Some(kept) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(kept) = kept else { return Err(bad(BAD)) };
    let is_kept = |name: &str| kept.iter().any(|kept| kept == name);
    let directive = |name: &str| name.starts_with(DELETE_FROM) || name.starts_with(ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !directive(name) && !is_kept(name)) {
        return Err(bad(BAD));
    }
    target.retain(|name, _| is_kept(name));
    Ok(())
}

/// Merges the lists whose order the patch says, and puts them into it.
fn ordered(at: At, target: &mut Object, patch: &mut Object) -> Result<(), Status> {
    let names: Vec<String> = patch.keys().filter(|name| name.starts_with(ORDER)).cloned().collect();
    for directive in names {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            other => return Err(misfit("[]interface {}", &other.unwrap_or_default())),
        };
        let name = directive[ORDER.len()..]
            .strip_prefix('/')
            .ok_or_else(|| bad("invalid patch format of setElementOrder list"))?;
        let take = |object: &mut Object| match object.remove(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(misfit("[]interface {}", &other)),
        };
        let (held, given) = (take(target)?, take(patch)?);
        let key = at.merge_key(name).unwrap_or_default();
        consistent(given.as_deref().unwrap_or_default(), &order, key)?;
        let merged = match (held.clone(), given) {
            (None, None) => continue,
            (Some(held), None) => held,
            (None, Some(given)) => match plain(given.into()) {
                Some(Value::Array(given)) => given,
                _ => continue,
            },
            (Some(held), Some(given)) if at.merge_key(name).is_some() => list(at.below(name), key, held, given)?,
            (Some(_), Some(given)) => given,
        };
        let sorted = arrange(merged, &order, held.as_deref().unwrap_or_default(), key)?;
        target.insert(name.to_owned(), sorted.into());
    }
    Ok(())
}

/// The items of a patch must come in the order that it says itself.
fn consistent(given: &[Value], order: &[Value], key: &str) -> Result<(), Status> {
    if given.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut places = order.iter();
    for item in given.iter().filter(|item| item.get(PATCH).is_none()) {
        let mut found = false;
        for place in places.by_ref() {
            if same(item, place, key)? {
                found = true;
                break;
            }
        }
        if !found {
            let (given, order) = (shown(&given.to_vec().into()), shown(&order.to_vec().into()));
            return Err(failed(format!("The order in patch list:\n{given}\n doesn't match {ORDER} list:\n{order}\n")));
        }
    }
    Ok(())
}

fn same(a: &Value, b: &Value, key: &str) -> Result<bool, Status> {
    if key.is_empty() {
        return Ok(a == b);
    }
    let of = |value: &Value| match value {
        Value::Object(item) => item.get(key).cloned().ok_or_else(|| no_key(item, key)),
        other => Err(misfit("map[string]interface {}", other)),
    };
    Ok(of(a)? == of(b)?)
}

fn list(at: At, key: &str, held: Vec<Value>, given: Vec<Value>) -> Result<Vec<Value>, Status> {
    if held.is_empty() && given.is_empty() {
        return Ok(held);
    }
    let objects = given.iter().chain(&held).filter(|item| item.is_object()).count();
    if held.iter().chain(&given).any(Value::is_array) {
        return Err(rejected());
    }
    if objects == 0 {
        let mut merged = held.clone();
        for item in &given {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return arrange(merged, &given, &held, "");
    }
    if objects != held.len() + given.len() {
        let all = format!("[{} {}]", shown(&held.into()), shown(&given.into()));
        return Err(failed(format!("list element types are not identical: {all}")));
    }
    let (held, given) = special(key, held, given)?;
    let mut merged = held.clone();
    for item in &given {
        let Value::Object(patch) = item else { continue };
        let id = patch.get(key).ok_or_else(|| no_key(patch, key))?;
        match merged.iter().position(|held| held.get(key) == Some(id)) {
            Some(place) => {
                let Value::Object(held) = std::mem::take(&mut merged[place]) else { continue };
                merged[place] = map(at, held, patch.clone())?.into();
            }
            None => merged.push(item.clone()),
        }
    }
    arrange(merged, &given, &held, key)
}

/// Carries out the directives among the items of a patch: the list without what they delete, the patch without them.
fn special(key: &str, mut held: Vec<Value>, given: Vec<Value>) -> Result<(Vec<Value>, Vec<Value>), Status> {
    let (mut rest, mut replaces) = (Vec::with_capacity(given.len()), false);
    for item in given {
        let Some(directive) = item.get(PATCH) else {
            rest.push(item);
            continue;
        };
        let patch = item.as_object().cloned().unwrap_or_default();
        match directive.as_str() {
            Some("delete") => {
                let id = patch.get(key).ok_or_else(|| no_key(&patch, key))?;
                held.retain(|held| held.get(key) != Some(id));
            }
            Some("replace") => replaces = true,
            Some("merge") => return Err(failed("merging lists cannot yet be specified in the patch".to_owned())),
            _ => return Err(unknown(directive, &patch)),
        }
    }
    Ok(if replaces { (rest, Vec::new()) } else { (held, rest) })
}

/// Items named by `order` in that order; the others where they stood before them in `before`.
fn arrange(items: Vec<Value>, order: &[Value], before: &[Value], key: &str) -> Result<Vec<Value>, Status> {
    let id = |item: &Value| if key.is_empty() { Some(item.clone()) } else { item.get(key).cloned() };
    let place = |list: &[Value], item: &Value| list.iter().position(|other| id(other) == id(item));
    if let Some(Value::Object(item)) = items.iter().find(|item| item.is_object() && id(item).is_none()) {
        return Err(no_key(item, key));
    }
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| place(before, item));
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(left), Some(right)) = (others.peek(), named.peek()) {
        let first = matches!((place(before, left), place(before, right)), (Some(l), Some(r)) if l < r);
        arranged.extend(if first { others.next() } else { named.next() });
    }
    arranged.extend(named);
    arranged.extend(others);
    Ok(arranged)
}

/// A value as it is added: what carries a directive is not.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Object(object) if object.contains_key(PATCH) => None,
        Value::Object(object) => {
            Some(object.into_iter().filter_map(|(name, value)| Some((name, plain(value)?))).collect::<Object>().into())
        }
        Value::Array(items) => Some(items.into_iter().filter_map(plain).collect()),
        other => Some(other),
    }
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
