//! PersistentVolumes and claims on them.
//!
//! Source: k8s.io/kubernetes `pkg/apis/core/validation/validation.go`.

mod claim;
mod source;

use std::collections::BTreeMap;

use serde_json::Value;

pub use claim::{RULES as CLAIM, spec as claim_spec};

use crate::quantity;
use crate::validate::amount::Amount;
use crate::validate::field::{Errors, Path};
use crate::validate::read::{entries, held, list, text, texts};
use crate::validate::shapes::{VOLUME_NODE_AFFINITY, VOLUME_SOURCE};
use crate::validate::show::{As, Show};
use crate::validate::{LENIENT, Rules, diff, names, pod, root};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
const MODES: [&str; 2] = ["Block", "Filesystem"];
/// Labels that were renamed: volumes may follow.
const RENAMED: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
];

/// Of volumes.
pub const VOLUME: Rules = Rules { create: whole, update, ..LENIENT };

/// How a volume may be mounted.
fn access_modes(spec: &Value, why: &str, path: &Path, errors: &mut Errors) {
    let place = path.child("accessModes");
    if list(spec, "accessModes").is_empty() {
        errors.required(&place, why);
    }
}

fn known_access_modes(spec: &Value, path: &Path, errors: &mut Errors) {
    let place = path.child("accessModes");
    let (mut alone, mut shared) = (false, false);
    for mode in texts(spec, "accessModes") {
        if !ACCESS_MODES.contains(&mode) {
            errors.not_supported(&place, mode, &ACCESS_MODES);
        } else if mode == "ReadWriteOncePod" {
            alone = true;
        } else {
            shared = true;
        }
    }
    if alone && shared {
        errors.forbidden(&place, "may not use ReadWriteOncePod with other access modes");
    }
}

/// The name of a class of volumes or of their attributes.
fn class_name(spec: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let name = text(spec, field);
    if !name.is_empty() {
        errors.malformed(&path.child(field), name, &names::dns1123_subdomain(name));
    }
}

fn mode(spec: &Value, path: &Path, errors: &mut Errors) {
    if held(spec, "volumeMode").is_some() && !MODES.contains(&text(spec, "volumeMode")) {
        errors.not_supported(&path.child("volumeMode"), text(spec, "volumeMode"), &MODES);
    }
}

fn whole(volume: &Value, errors: &mut Errors) {
    let (spec, path) = (&volume["spec"], root().child("spec"));
    access_modes(spec, "", &path, errors);
    known_access_modes(spec, &path, errors);
    capacity(spec, &path, errors);
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        errors.not_supported(&path.child("persistentVolumeReclaimPolicy"), policy, &POLICIES);
    }
    if let Some(affinity) = held(spec, "nodeAffinity") {
        let place = path.child("nodeAffinity").child("required");
        match held(affinity, "required") {
            Some(required) => pod::node_selector(required, &place, errors),
            None => errors.required(&place, "must specify required node constraints"),
        }
    }
    source::one(spec, &path, errors);
    if spec["hostPath"]["path"] == "/" && policy == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), why);
    }
    class_name(spec, "storageClassName", &path, errors);
    mode(spec, &path, errors);
    if held(spec, "volumeAttributesClassName").is_some() {
        if text(spec, "volumeAttributesClassName").is_empty() {
            errors.required(&path.child("volumeAttributesClassName"), "an empty string is disallowed");
        }
        class_name(spec, "volumeAttributesClassName", &path, errors);
        if held(spec, "csi").is_none() {
            errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn capacity(spec: &Value, path: &Path, errors: &mut Errors) {
    let place = path.child("capacity");
    let given: BTreeMap<&str, &Value> = entries(spec, "capacity").collect();
    if given.is_empty() {
        errors.required(&place, "");
    }
    if !given.contains_key("storage") || given.len() > 1 {
        errors.not_supported(&place, &spec["capacity"], &["storage"]);
    }
    for (name, value) in given {
        let (amount, place) = (Amount::of(value), place.key(name));
        if amount.is_negative() {
            errors.invalid(&place, &quantity::units(value), "must be a valid resource quantity");
        }
        positive(amount, &place, errors);
    }
}

fn positive(amount: Amount, place: &Path, errors: &mut Errors) {
    if amount.is_negative() || amount.is_zero() {
        errors.invalid(place, &amount.to_string(), "must be greater than zero");
    }
}

fn update(old: &Value, new: &Value, errors: &mut Errors) {
    // Asked twice, as Kubernetes does.
    whole(new, errors);
    whole(new, errors);
    let (before, after) = (&old["spec"], &new["spec"]);
    let (held_source, mut source) = (source::of(before), source::of(after));
    let expands = "controllerExpandSecretRef";
    if held_source["csi"].is_object() && held_source["csi"][expands].is_null() {
        // It may come later.
        if let Some(csi) = source.get_mut("csi").and_then(Value::as_object_mut) {
            csi.remove(expands);
        }
    }
    if held_source != source {
        let difference = diff::unified(&As(&held_source, &VOLUME_SOURCE).show(), &As(&source, &VOLUME_SOURCE).show());
        let why = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
        errors.forbidden(&root().child("spec").child("persistentvolumesource"), &why);
    }
    same_mode(before, after, errors);
    if held(before, "nodeAffinity").is_some() && !affinity_stays(&before["nodeAffinity"], &after["nodeAffinity"]) {
        let why = "field is immutable, except for updating from beta label to GA";
        errors.invalid(&root().child("nodeAffinity"), &As(&after["nodeAffinity"], &VOLUME_NODE_AFFINITY), why);
    }
    let class = "volumeAttributesClassName";
    if held(before, class).is_some() && held(after, class).is_none() {
        errors.forbidden(&root().child("spec").child(class), "update from non-nil value to nil is forbidden");
    }
}

fn same_mode(before: &Value, after: &Value, errors: &mut Errors) {
    if held(before, "volumeMode") != held(after, "volumeMode") {
        errors.invalid(&root().child("volumeMode"), &after["volumeMode"], "field is immutable");
    }
}

/// Whether an affinity is the same, but for labels that were renamed.
fn affinity_stays(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            before.len() == after.len()
                && before.iter().all(|(field, old)| {
                    let Some(new) = after.get(field) else { return false };
                    let renamed = field == "key"
                        && RENAMED.iter().any(|(from, to)| old.as_str() == Some(from) && new.as_str() == Some(to));
                    renamed || affinity_stays(old, new)
                })
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(old, new)| affinity_stays(old, new))
        }
        (old, new) => old == new,
    }
}

#[cfg(test)]
mod tests;
