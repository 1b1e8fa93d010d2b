//! The next version of a pod: little may change while it lives.

use serde_json::{Map, Value};

use crate::kind;
use crate::validate::field::{Errors, Path};
use crate::validate::metadata;
use crate::validate::names;
use crate::validate::pod::{annotations, tolerations};
use crate::validate::read::{entries, list, number, text};
use crate::validate::root;
use crate::validate::show::{As, NODE_SELECTOR_TERM, Show};

const MUTABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                       `spec.tolerations` (only additions to existing tolerations),\
                       `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// What every update checks: the new version on its own, and the annotations that stay.
fn on_its_own(old: &Value, new: &Value, errors: &mut Errors) {
    metadata::create(kind::core("pods"), new, errors);
    super::whole(new, errors);
    let path = root().child("metadata").child("annotations");
    annotations::kept(&old["metadata"], &new["metadata"], &path, errors);
    annotations::check(&new["metadata"], &new["spec"], &path, errors);
}

/// A write of the pod itself.
pub(super) fn whole(old: &Value, new: &Value, errors: &mut Errors) {
    on_its_own(old, new, errors);
    let (old, new, path) = (&old["spec"], &new["spec"], root().child("spec"));
    for field in ["containers", "initContainers"] {
        if !images(old, new, field, &path.child(field), errors) {
            return;
        }
    }
    if !deadline(old, new, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    tolerations::only_added(old, new, &path.child("tolerations"), errors);
    no_new_gates(old, new, &path.child("schedulingGates"), errors);
    if old == new {
        return;
    }
    let mut rest = without_mutable(old, new);
    if !list(old, "schedulingGates").is_empty() {
        narrowed(old, new, &path, errors);
        restore(old, &mut rest, "nodeSelector");
        restore_node_affinity(old, &mut rest);
    }
    let changes = differences(old, &rest);
    if !changes.is_empty() {
        let why = format!("pod updates may not change fields other than {MUTABLE}\n{changes}");
        errors.forbidden(&path, &why);
    }
}

/// Whether the lists are comparable at all.
fn images(old: &Value, new: &Value, field: &str, path: &Path, errors: &mut Errors) -> bool {
    let (old, new) = (list(old, field), list(new, field));
    if old.len() != new.len() {
        errors.forbidden(path, "pod updates may not add or remove containers");
        return false;
    }
    for (at, container) in new.iter().enumerate() {
        let (image, place) = (text(container, "image"), path.index(at).child("image"));
        if image.is_empty() {
            errors.required(&place, "");
        }
        if image.trim() != image {
            errors.invalid(&place, image, "must not have leading or trailing whitespace");
        }
    }
    true
}

/// May be set, and come nearer. False ends the checks, as in Kubernetes.
fn deadline(old: &Value, new: &Value, path: &Path, errors: &mut Errors) -> bool {
    let (old, new) = (number(old, "activeDeadlineSeconds"), number(new, "activeDeadlineSeconds"));
    let Some(new) = new else {
        if old.is_some() {
            errors.invalid(path, &Value::Null, "must not update from a positive integer to nil value");
        }
        return true;
    };
    let wrong = names::in_range(new, 0, i64::from(i32::MAX));
    errors.malformed(path, &new, &wrong);
    if !wrong.is_empty() {
        return false;
    }
    let later = old.is_some_and(|old| old < new);
    if later {
        errors.invalid(path, &new, "must be less than or equal to previous value");
    }
    !later
}

fn no_new_gates(old: &Value, new: &Value, path: &Path, errors: &mut Errors) {
    let known: Vec<&str> = list(old, "schedulingGates").iter().map(|gate| text(gate, "name")).collect();
    for (at, gate) in list(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !known.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&path.index(at).child("name"), &why);
        }
    }
}

/// The new spec with everything that may change as it was.
fn without_mutable(old: &Value, new: &Value) -> Value {
    let mut rest = new.clone();
    for field in ["containers", "initContainers"] {
        let containers = rest.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, before) in containers.zip(list(old, field)) {
            restore(before, container, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(old, &mut rest, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if number(old, grace).is_some_and(|before| before < 0) && number(new, grace) == Some(1) {
        restore(old, &mut rest, grace);
    }
    rest
}

fn restore(old: &Value, new: &mut Value, field: &str) {
    let Some(fields) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => fields.insert(field.to_owned(), value.clone()),
        None => fields.remove(field),
    };
}

fn restore_node_affinity(old: &Value, new: &mut Value) {
    let Some(fields) = new.as_object_mut() else { return };
    let mut affinity = fields.remove("affinity").filter(Value::is_object).unwrap_or_else(|| Map::new().into());
    restore(&old["affinity"], &mut affinity, "nodeAffinity");
    if !is_empty(&affinity) || !old["affinity"].is_null() {
        fields.insert("affinity".to_owned(), affinity);
    }
}

/// A pod that waits at a gate may still be told to go to fewer nodes.
fn narrowed(old: &Value, new: &Value, path: &Path, errors: &mut Errors) {
    if entries(old, "nodeSelector").any(|(key, value)| new["nodeSelector"].get(key) != Some(value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&path.child("nodeSelector"), &new["nodeSelector"], why);
    }
    let terms = |spec: &'_ Value| list(&spec["affinity"]["nodeAffinity"][REQUIRED], "nodeSelectorTerms").to_vec();
    let (before, after) = (terms(old), terms(new));
    if before.is_empty() || before == after {
        return;
    }
    let place = path.child("affinity").child("nodeAffinity").child(REQUIRED).child("nodeSelectorTerms");
    if before.len() != after.len() {
        let shown = Value::Array(after);
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(&place, &As(&shown, &NODE_SELECTOR_TERM), why);
    }
    for (at, (before, after)) in before.iter().zip(&after).enumerate().filter(|(_, (a, b))| !only_adds(a, b)) {
        debug_assert!(before != after);
        let why = "only additions are allowed (no mutations or deletions)";
        errors.invalid(&place.index(at), &As(after, &NODE_SELECTOR_TERM), why);
    }
}

fn only_adds(before: &Value, after: &Value) -> bool {
    let fields = ["matchExpressions", "matchFields"];
    let empty = |term: &Value| fields.iter().all(|field| list(term, field).is_empty());
    if empty(before) {
        return empty(after);
    }
    fields.iter().all(|field| list(after, field).starts_with(list(before, field)))
}

/// Which fields differ, a line each.
fn differences(old: &Value, new: &Value) -> String {
    let mut fields: Vec<&String> = [old, new].into_iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
    fields.sort_unstable();
    fields.dedup();
    let changed = fields.into_iter().filter(|field| !same(&old[*field], &new[*field]));
    changed.map(|field| format!("  {field}: {} -> {}\n", old[field].show(), new[field].show())).collect()
}

/// An object less some of its fields.
pub(super) fn without(object: &Value, fields: &[&str]) -> Value {
    let all = object.as_object().into_iter().flatten();
    let rest = all.filter(|(field, _)| !fields.contains(&field.as_str()));
    rest.map(|(field, value)| (field.clone(), value.clone())).collect::<Map<_, _>>().into()
}

/// Equal as Kubernetes sees it: what is empty is absent.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.iter().all(|(key, value)| other.get(key).map_or(is_empty(value), |other| same(value, other)))
                && other.iter().all(|(key, value)| one.contains_key(key) || is_empty(value))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other || (is_empty(one) && is_empty(other)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Containers added for debugging are only ever added.
pub(super) fn ephemeral_containers(old: &Value, new: &Value, errors: &mut Errors) {
    if annotations::is_mirror(old) {
        errors.clear();
        return errors.forbidden(&root(), "static pods do not support ephemeral containers");
    }
    on_its_own(old, new, errors);
    let path = root().child("spec").child("ephemeralContainers");
    let after = list(&new["spec"], "ephemeralContainers");
    for before in list(&old["spec"], "ephemeralContainers") {
        let name = text(before, "name");
        match after.iter().find(|container| text(container, "name") == name) {
            None => {
                let why = format!("existing ephemeral containers {} may not be removed\n", name.show());
                errors.forbidden(&path, &why);
            }
            Some(after) if after != before => {
                let changes = differences(before, after);
                let why = format!("existing ephemeral containers {} may not be changed\n{changes}", name.show());
                errors.forbidden(&path, &why);
            }
            Some(_) => {}
        }
    }
}
