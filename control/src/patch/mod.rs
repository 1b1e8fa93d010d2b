//! PURE: patches: JSON Patch, JSON Merge Patch, strategic merge patch.
//!
//! Source: RFC 6902, RFC 7386, k8s.io/apiserver `endpoints/handlers/patch.go`.

mod convert;
mod json;
mod strategic;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::decode::json::{self as node, Node};
use crate::decode::{self, FieldValidation, fit};
use crate::fields;
use crate::kind::Kind;
use crate::schema;
use crate::status::{FieldError, FieldErrorKind, Status};

/// How a body says what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// A list of operations.
    Json,
    /// An object that is laid over, `null` removes.
    Merge,
    /// The same, with lists merged by the keys of the schema.
    Strategic,
    /// What its manager wants of the object.
    Apply,
}

impl PatchType {
    /// By the media type of the body.
    ///
    /// # Errors
    /// 415.
    pub fn parse(media_type: &str) -> Result<PatchType, Status> {
        match media_type {
            "application/json-patch+json" => Ok(PatchType::Json),
            "application/merge-patch+json" => Ok(PatchType::Merge),
            "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
            "application/apply-patch+yaml" => Ok(PatchType::Apply),
            _ => {
                let mut status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
                status.details = json!({});
                Err(status)
            }
        }
    }
}

/// The object after a patch, read as a body of its kind, with warnings about what was dropped.
///
/// # Errors
/// 400 for a body that is no patch, 422 for one that does not fit the object, or makes it one that does not fit its kind.
pub fn patched(
    kind: &Kind,
    how: PatchType,
    current: &Value,
    body: &[u8],
    unknown: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let Change { next, mut strict, shown } = change(kind, how, current, body)?;
    let unfit = |why: &str| {
        let shown = shown.clone().unwrap_or_else(|| schema::written(kind, &next));
        let message = format!("Invalid value: {shown:?}: {why}");
        let error = FieldError { kind: FieldErrorKind::Invalid, field: "patch".to_owned(), message };
        Status::invalid("", "", "", &[error])
    };
    if how == PatchType::Strategic {
        convert::check(schema::of(kind), &next).map_err(|why| unfit(&why))?;
    }
    let (object, more) = decode::patched(kind, &next).map_err(|why| unfit(&why))?;
    strict.extend(more);
    match unknown {
        FieldValidation::Strict if !strict.is_empty() => {
            Err(unfit(&format!("strict decoding error: {}", strict.join(", "))))
        }
        FieldValidation::Warn => Ok((object, strict)),
        FieldValidation::Strict | FieldValidation::Ignore => Ok((object, Vec::new())),
    }
}

/// What a patch makes of an object.
struct Change {
    next: Value,
    /// What a strict reader would not take of the patch.
    strict: Vec<String>,
    /// What messages show of it; none: the object that it made.
    shown: Option<String>,
}

fn change(kind: &Kind, how: PatchType, current: &Value, body: &[u8]) -> Result<Change, Status> {
    let wrong = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let node = node::parse(body).map_err(wrong)?;
    let mut strict = Vec::new();
    repeated(&node, "", &mut strict);
    let patch = fit::plain(node);
    if how == PatchType::Json {
        let (operations, unknown) = json::operations(patch)?;
        strict = strict.into_iter().map(|why| format!("json patch {why}")).chain(unknown).collect();
        return Ok(Change { next: json::apply(current, &operations)?, strict, shown: None });
    }
    let Value::Object(patch) = patch else {
        let sort = json::sort(&patch);
        let why = format!("json: cannot unmarshal {sort} into Go value of type map[string]interface {{}}");
        return Err(if how == PatchType::Merge { wrong(why) } else { Status::bad_request(why) });
    };
    if how == PatchType::Merge {
        let mut next = current.clone();
        json_patch::merge(&mut next, &patch.into());
        return Ok(Change { next, strict, shown: None });
    }
    let Value::Object(target) = current.clone() else { return Err(Status::internal("an object is not one")) };
    let shown = Some(fields::shown(&patch.clone().into()));
    let next = strategic::merge(schema::of(kind), target, patch)?.into();
    Ok(Change { next, strict, shown })
}

/// The fields that a text says twice.
fn repeated(node: &Node, path: &str, found: &mut Vec<String>) {
    match node {
        Node::Object(fields) => {
            for (at, (name, inner)) in fields.iter().enumerate() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if fields[..at].iter().any(|(other, _)| other == name) {
                    found.push(format!("duplicate field {path:?}"));
                }
                repeated(inner, &path, found);
            }
        }
        Node::List(items) => {
            for (at, item) in items.iter().enumerate() {
                repeated(item, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

/// 422: the patch does not fit the object.
fn rejected() -> Status {
    let mut status = Status::new(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = json!({});
    status
}
