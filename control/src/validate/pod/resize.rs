//! `/resize`: more or less CPU and memory for the containers of a pod that runs.

use serde_json::Value;

use crate::validate::amount::Amount;
use crate::validate::field::{Errors, Path};
use crate::validate::pod::{annotations, update as version};
use crate::validate::read::{entries, held, list, text};
use crate::validate::root;

/// A write of `/resize`.
pub(super) fn update(old: &Value, new: &Value, errors: &mut Errors) {
    let refused = if annotations::is_mirror(old) {
        Some("static pods cannot be resized")
    } else {
        (text(&old["spec"]["os"], "name") == "windows").then_some("windows pods cannot be resized")
    };
    if let Some(why) = refused {
        errors.clear();
        return errors.forbidden(&root(), why);
    }
    version::on_its_own(old, new, errors);
    let (before, after, path) = (&old["spec"], &new["spec"], root().child("spec"));
    if class(before) != class(after) {
        let held = text(&new["status"], "qosClass");
        errors.invalid(&path, held, "Pod QOS Class may not change as a result of resizing");
    }
    let stays = |container: &Value| text(container, "restartPolicy") == "Always";
    for field in ["initContainers", "containers"] {
        for (at, (old, new)) in list(before, field).iter().zip(list(after, field)).enumerate() {
            if field == "containers" || stays(old) {
                nothing_removed(old, new, &path.child(field).index(at).child("resources"), errors);
            }
        }
    }
    for field in ["containers", "initContainers"] {
        for (old, new) in list(before, field).iter().zip(list(after, field)) {
            if field == "initContainers" && !stays(old) && old != new {
                errors.forbidden(&path, "resources for non-sidecar init containers are immutable");
            } else if others(old) != others(new) {
                let which = if field == "containers" { "" } else { " for sidecar containers" };
                errors.forbidden(&path, &format!("only cpu and memory resources{which} are mutable"));
            }
        }
    }
}

fn nothing_removed(old: &Value, new: &Value, path: &Path, errors: &mut Errors) {
    for field in ["requests", "limits"] {
        let held = &new["resources"][field];
        if entries(&old["resources"], field).any(|(name, _)| held.get(name).is_none()) {
            errors.forbidden(&path.child(field), &format!("resource {field} cannot be removed"));
        }
    }
}

/// A container without what a resize may change.
fn others(container: &Value) -> Value {
    let mut rest = container.clone();
    for field in ["requests", "limits"] {
        let resources = rest.get_mut("resources").and_then(|resources| resources.get_mut(field));
        if let Some(held) = resources.and_then(Value::as_object_mut) {
            held.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        }
    }
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("resizePolicy");
        if let Some(resources) = fields.get_mut("resources").and_then(Value::as_object_mut) {
            resources.retain(|_, held| held.as_object().is_none_or(|held| !held.is_empty()));
        }
    }
    rest
}

/// The quality of service that containers' resources make. Source: k8s.io/kubernetes `pkg/apis/core/helper/qos`.
fn class(spec: &Value) -> &'static str {
    let all: Vec<&Value> = ["initContainers", "containers"]
        .iter()
        .flat_map(|field| list(spec, field))
        .map(|container| &container["resources"])
        .collect();
    let amount = |resources: &Value, field: &str, name: &str| {
        held(&resources[field], name).map(Amount::of).filter(|amount| !amount.is_zero())
    };
    let any = |resources: &&Value| {
        ["requests", "limits"]
            .iter()
            .any(|field| ["cpu", "memory"].iter().any(|name| amount(resources, field, name).is_some()))
    };
    let full = |resources: &&Value| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(resources, "limits", name);
            limit.is_some() && amount(resources, "requests", name).is_none_or(|request| Some(request) == limit)
        })
    };
    if !all.iter().any(any) {
        "BestEffort"
    } else if all.iter().all(full) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
