//! `/resize`: more or less CPU and memory for the containers of a pod that runs.

use serde_json::Value;

use crate::kind;
use crate::validate::amount::Amount;
use crate::validate::field::{Errors, Path};
use crate::validate::metadata;
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
    metadata::create(kind::core("pods"), new, errors);
    super::whole(new, errors);
    let (before, after, path) = (&old["spec"], &new["spec"], root().child("spec"));
    if class(before) != class(after) {
        let held = text(&new["status"], "qosClass");
        errors.invalid(&path, held, "Pod QOS Class may not change as a result of resizing");
    }
    let running = list(&old["status"], "containerStatuses").iter().find(|status| !status["state"]["running"].is_null());
    if running.is_some_and(|status| held(status, "resources").is_none()) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    of_pod(before, after, &path, errors);
    if !in_order(before, after, &path, errors) {
        return;
    }
    for field in ["initContainers", "containers"] {
        for (at, (old, new)) in list(before, field).iter().zip(list(after, field)).enumerate() {
            let place = path.child(field).index(at).child("resources");
            nothing_removed(&old["resources"], &new["resources"], "resource", &place, errors);
        }
    }
    only_resources(before, after, &path, errors);
    if errors.is_empty() && !version::same(&beside_containers(before), &beside_containers(after)) {
        errors.forbidden(&path, OTHERS);
    }
}

const OTHERS: &str = "only cpu and memory resources are mutable";

/// What a resize may do with the resources of the pod as a whole.
fn of_pod(before: &Value, after: &Value, path: &Path, errors: &mut Errors) {
    let (old, new, place) = (&before["resources"], &after["resources"], path.child("resources"));
    if !old.is_null() && new.is_null() {
        return errors.forbidden(&place, "pod-level resources cannot be removed");
    }
    nothing_removed(old, new, "pod-level resource", &place, errors);
    if others(before) != others(after) {
        errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
    }
}

/// Whether containers are those of before.
fn in_order(before: &Value, after: &Value, path: &Path, errors: &mut Errors) -> bool {
    let count = errors.len();
    for field in ["containers", "initContainers"] {
        let (old, new, path) = (list(before, field), list(after, field), path.child(field));
        if old.len() != new.len() {
            errors.forbidden(&path, &format!("{field} may not be added or removed on resize"));
            continue;
        }
        for at in (0..old.len()).filter(|at| text(&old[*at], "name") != text(&new[*at], "name")) {
            let why = format!("{field} may not be renamed or reordered on resize");
            errors.forbidden(&path.index(at).child("name"), &why);
        }
    }
    errors.len() == count
}

fn only_resources(before: &Value, after: &Value, path: &Path, errors: &mut Errors) {
    let changed = |old: &Value, new: &Value| {
        let rest = |container| version::without(container, &["resources"]);
        !version::same(&rest(old), &rest(new)) || others(old) != others(new)
    };
    for (old, new) in list(before, "containers").iter().zip(list(after, "containers")) {
        if changed(old, new) {
            errors.forbidden(path, OTHERS);
        }
    }
    for (at, (old, new)) in list(before, "initContainers").iter().zip(list(after, "initContainers")).enumerate() {
        let place = path.child("initContainers").index(at);
        if changed(old, new) {
            errors.forbidden(&place, "only cpu and memory resources for init or sidecar containers are mutable");
        }
        if text(new, "restartPolicy") != "Always" && !version::same(old, new) {
            let restarts = |policy: &&Value| text(policy, "restartPolicy") == "RestartContainer";
            for _ in list(new, "resizePolicy").iter().filter(restarts) {
                let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.forbidden(&place, why);
            }
        }
    }
}

/// A spec without what the rules for containers and for the pod's own resources look at.
fn beside_containers(spec: &Value) -> Value {
    version::without(spec, &["containers", "initContainers", "resources"])
}

fn nothing_removed(old: &Value, new: &Value, what: &str, path: &Path, errors: &mut Errors) {
    for field in ["requests", "limits"] {
        let held = &new[field];
        if entries(old, field).any(|(name, _)| held.get(name).is_none()) {
            errors.forbidden(&path.child(field), &format!("{what} {field} cannot be removed"));
        }
    }
}

/// The resources of a container or pod that a resize may not change.
fn others(object: &Value) -> Vec<(&str, &str, &Value)> {
    let fields = ["requests", "limits"].into_iter();
    fields
        .flat_map(|field| entries(&object["resources"], field).map(move |(name, value)| (field, name, value)))
        .filter(|(_, name, _)| !matches!(*name, "cpu" | "memory"))
        .collect()
}

/// The quality of service that resources make. Source: k8s.io/kubernetes `pkg/apis/core/helper/qos`.
fn class(spec: &Value) -> &'static str {
    let of_containers = || {
        let containers = ["initContainers", "containers"].into_iter().flat_map(|field| list(spec, field));
        containers.map(|container| &container["resources"]).collect()
    };
    // What the pod says as a whole goes before what its containers say.
    let all: Vec<&Value> = held(spec, "resources").map_or_else(of_containers, |own| vec![own]);
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
