//! PURE: `status.conditions`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::removal::rfc3339;

/// A condition by its type.
pub(crate) fn find<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether a condition is there and `True`.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    find(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Sets a condition: its transition time changes with its status only. Other fields of the old one are lost.
pub(crate) fn set(conditions: &mut Vec<Value>, kind: &str, status: &str, why: (&str, &str), now: Timestamp) -> bool {
    let (reason, message) = why;
    let old = conditions.iter().position(|condition| condition["type"] == kind);
    let held = old.map(|at| &conditions[at]);
    if held.is_some_and(|held| held["status"] == status && held["reason"] == reason && held["message"] == message) {
        return false;
    }
    let moved = match held.filter(|held| held["status"] == status) {
        Some(held) => held["lastTransitionTime"].clone(),
        None => rfc3339(now).into(),
    };
    let next =
        json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": moved });
    match old {
        Some(at) => conditions[at] = next,
        None => conditions.push(next),
    }
    true
}
