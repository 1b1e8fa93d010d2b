//! Tolerations of a pod.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::pod::affinity::label_name;
use crate::validate::read::{held, list, text};

/// The effects of taints.
pub(super) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Each on its own.
pub(super) fn check(tolerations: &[Value], path: &Path, errors: &mut Errors) {
    for (at, toleration) in tolerations.iter().enumerate() {
        one(toleration, &path.index(at), errors);
    }
}

fn one(toleration: &Value, path: &Path, errors: &mut Errors) {
    let [key, operator, value, effect] = ["key", "operator", "value", "effect"].map(|field| text(toleration, field));
    if !key.is_empty() {
        label_name(key, &path.child("key"), errors);
    } else if operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&path.child("operator"), operator, why);
    }
    if held(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
        errors.invalid(&path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    match operator {
        "" | "Equal" => {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                errors.invalid(&path.child("operator"), value, &wrong.join(";"));
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => errors.invalid(&path.child("operator"), value, "value must be empty when `operator` is 'Exists'"),
        // Known, but only where a feature that is off by default allows them; that is how Kubernetes says so.
        "Lt" | "Gt" => errors.not_supported(&path.child("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]),
        other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.not_supported(&path.child("effect"), effect, &EFFECTS);
    }
}

/// A pod that lives may tolerate more, and what it tolerates for another time.
pub(super) fn only_added(old: &Value, new: &Value, path: &Path, errors: &mut Errors) {
    let kept = |old: &Value| {
        list(new, "tolerations")
            .iter()
            .any(|new| ["key", "operator", "value", "effect"].iter().all(|field| text(old, field) == text(new, field)))
    };
    if list(old, "tolerations").iter().all(kept) {
        check(list(new, "tolerations"), path, errors);
    } else {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}
