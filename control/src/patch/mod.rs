//! Patches: JSON Patch, JSON Merge Patch, strategic merge patch.
//!
//! Source: RFC 6902, RFC 7386, k8s.io/apiserver `endpoints/handlers/patch.go`.

mod strategic;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::kind::Kind;
use crate::schema;
use crate::status::Status;

/// Operations of a JSON patch at most.
const OPERATIONS_MAX: usize = 10_000;

/// How a body says what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// A list of operations.
    Json,
    /// An object that is laid over, `null` removes.
    Merge,
    /// The same, with lists merged by the keys of the schema.
    Strategic,
}

impl PatchType {
    /// By the media type of the body.
    ///
    /// # Errors
    /// 415, naming the supported ones.
    pub fn parse(media_type: &str) -> Result<PatchType, Status> {
        match media_type {
            "application/json-patch+json" => Ok(PatchType::Json),
            "application/merge-patch+json" => Ok(PatchType::Merge),
            "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
            other => {
                const SUPPORTED: &str = "application/json-patch+json, application/merge-patch+json, \
                                         application/strategic-merge-patch+json";
                let text = format!(
                    "the body of the request was in an unknown format - accepted media types include: {SUPPORTED}; got {other:?}"
                );
                Err(Status::new(415, "UnsupportedMediaType", text))
            }
        }
    }
}

/// The object after a patch.
///
/// # Errors
/// 400 for a body that is no patch, 422 for one that does not fit the object.
pub fn apply(kind: &Kind, how: PatchType, current: &Value, body: &[u8]) -> Result<Value, Status> {
    let wrong = |error: serde_json::Error| Status::bad_request(format!("error decoding patch: {error}"));
    let unfit = |why: String| {
        Status::new(422, "Invalid", format!("the server rejected our request due to an error in our request: {why}"))
    };
    let mut patched = current.clone();
    match how {
        PatchType::Json => {
            let patch: json_patch::Patch = serde_json::from_slice(body).map_err(wrong)?;
            if patch.0.len() > OPERATIONS_MAX {
                let count = patch.0.len();
                let text = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
                return Err(Status::new(413, "RequestEntityTooLarge", text));
            }
            json_patch::patch(&mut patched, &patch).map_err(|error| unfit(error.to_string()))?;
        }
        PatchType::Merge => json_patch::merge(&mut patched, &object(body)?),
        PatchType::Strategic => {
            let patch = object(body)?;
            let Value::Object(patch) = &patch else { return Err(Status::bad_request("a patch is an object")) };
            let Value::Object(target) = &mut patched else { return Err(Status::internal("an object is not one")) };
            strategic::merge(Some(schema::of(kind)), target, patch).map_err(Status::bad_request)?;
        }
    }
    Ok(patched)
}

fn object(body: &[u8]) -> Result<Value, Status> {
    let patch: Value =
        serde_json::from_slice(body).map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if patch.is_object() { Ok(patch) } else { Err(Status::bad_request("a patch is an object")) }
}
