//! JSON patches as Kubernetes applies them: a `replace` may add, `copy` of nothing copies null, indices count from the
//! end when negative.
//!
//! Source: RFC 6902, gopkg.in/evanphx/json-patch.v4 `patch.go`.

use serde_json::{Map, Value};

use crate::patch::rejected;
use crate::status::Status;

/// Operations at most.
const OPERATIONS_MAX: usize = 10_000;
/// What `copy` may add altogether, bytes of JSON.
const COPIED_BYTES_MAX: usize = 3 << 20;

/// What a client may say of an operation.
const MEMBERS: [&str; 4] = ["op", "path", "from", "value"];

/// Operations, as they were sent.
type Operations = Vec<Map<String, Value>>;

/// The operations of a patch, and what nobody reads in them.
///
/// # Errors
/// 400 for what is no list of operations, 413 for too many.
pub(super) fn operations(patch: Value) -> Result<(Operations, Vec<String>), Status> {
    let wrong = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let Value::Array(list) = patch else {
        let why = format!("json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp", sort(&patch));
        return Err(wrong(why));
    };
    if list.len() > OPERATIONS_MAX {
        let text = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", list.len());
        return Err(Status::new(413, "RequestEntityTooLarge", text));
    }
    let (mut operations, mut strict) = (Vec::with_capacity(list.len()), Vec::new());
    for (at, item) in list.into_iter().enumerate() {
        let Value::Object(operation) = item else {
            let why = format!("json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp", sort(&item));
            return Err(wrong(why));
        };
        for (name, value) in &operation {
            if !MEMBERS.contains(&name.as_str()) {
                strict.push(format!("json patch unknown field \"[{at}].{name}\""));
            } else if name != "value" && !(value.is_string() || value.is_null()) {
                let sort = sort(value);
                let why =
                    format!("json: cannot unmarshal {sort} into Go struct field jsonPatchOp.{name} of type string");
                return Err(wrong(why));
            }
        }
        operations.push(operation);
    }
    Ok((operations, strict))
}

/// What Go's error texts call a value.
pub(super) fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The document after all operations.
///
/// # Errors
/// 422 when one does not fit.
pub(super) fn apply(current: &Value, operations: &[Map<String, Value>]) -> Result<Value, Status> {
    let mut next = current.clone();
    let mut copied = 0;
    for operation in operations {
        step(&mut next, operation, &mut copied).ok_or_else(rejected)?;
    }
    Ok(next)
}

/// None when the operation does not fit.
fn step(document: &mut Value, operation: &Map<String, Value>, copied: &mut usize) -> Option<()> {
    let word = |name: &str| operation.get(name).and_then(Value::as_str);
    let value = || operation.get("value").cloned().unwrap_or_default();
    let path = word("path");
    match word("op")? {
        "add" => Spot::find(document, path?)?.add(value()),
        "remove" => Spot::find(document, path?)?.remove().map(|_| ()),
        "replace" if path?.is_empty() => {
            let value = value();
            (value.is_object() || value.is_array()).then(|| *document = value)
        }
        "replace" => {
            let mut spot = Spot::find(document, path?)?;
            spot.get()?;
            spot.set(value())
        }
        "move" => {
            let from = word("from")?;
            let mut spot = Spot::find(document, from)?;
            spot.get()?;
            let moved = spot.remove()?;
            Spot::find(document, path?)?.add(moved)
        }
        "copy" => {
            let held = Spot::find(document, word("from")?)?.get()?;
            *copied += held.to_string().len();
            (*copied <= COPIED_BYTES_MAX).then_some(())?;
            Spot::find(document, path?)?.add(held)
        }
        "test" if path?.is_empty() => (*document == value()).then_some(()),
        "test" => (Spot::find(document, path?)?.get()? == value()).then_some(()),
        _ => None,
    }
}

/// A key in an object, or an index of a list.
struct Spot<'a> {
    container: &'a mut Value,
    key: String,
}

impl<'a> Spot<'a> {
    fn find(document: &'a mut Value, path: &str) -> Option<Spot<'a>> {
        let mut parts = path.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
        let mut key = parts.next()?;
        let mut container = document;
        for next in parts {
            container = match container {
                Value::Object(object) => object.get_mut(&key)?,
                Value::Array(list) => {
                    let at = index(&key, list.len())?;
                    list.get_mut(at)?
                }
                _ => return None,
            };
            key = next;
        }
        (container.is_object() || container.is_array()).then_some(Spot { container, key })
    }

    /// In an object, what is absent is null.
    fn get(&self) -> Option<Value> {
        match &*self.container {
            Value::Object(object) => Some(object.get(&self.key).cloned().unwrap_or_default()),
            Value::Array(list) => list.get(index(&self.key, list.len())?).cloned(),
            _ => None,
        }
    }

    fn set(&mut self, value: Value) -> Option<()> {
        match self.container {
            Value::Object(object) => {
                object.insert(std::mem::take(&mut self.key), value);
            }
            Value::Array(list) => {
                let at = index(&self.key, list.len())?;
                *list.get_mut(at)? = value;
            }
            _ => return None,
        }
        Some(())
    }

    fn add(&mut self, value: Value) -> Option<()> {
        let Value::Array(list) = &mut *self.container else { return self.set(value) };
        let at = if self.key == "-" { list.len() } else { index(&self.key, list.len() + 1)? };
        (at <= list.len()).then(|| list.insert(at, value))
    }

    fn remove(&mut self) -> Option<Value> {
        match self.container {
            Value::Object(object) => object.remove(&self.key),
            Value::Array(list) => {
                let at = index(&self.key, list.len())?;
                (at < list.len()).then(|| list.remove(at))
            }
            _ => None,
        }
    }
}

/// Negative ones count from the end.
fn index(key: &str, length: usize) -> Option<usize> {
    let at: i64 = key.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    usize::try_from(if at < 0 { at + length } else { at }).ok()
}
