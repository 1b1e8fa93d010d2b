//! Claims: what they ask for, and that only their size and class of attributes may change, once bound.

use serde_json::{Value, json};

use crate::quantity;
use crate::validate::amount::Amount;
use crate::validate::field::{Errors, Path};
use crate::validate::metadata::label_selector;
use crate::validate::read::{entries, held, list, text};
use crate::validate::shapes::CLAIM_SPEC;
use crate::validate::show::{As, Show};
use crate::validate::volume::{access_modes, class_name, known_access_modes, mode, positive, same_mode};
use crate::validate::{Rules, diff, names, root};

/// Where the class of a claim once stood.
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const RESIZES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// Of claims.
pub const RULES: Rules = Rules { create, update, status, others: &[] };

fn create(claim: &Value, errors: &mut Errors) {
    spec(&claim["spec"], false, &root().child("spec"), errors);
}

/// What a claim asks for; `lenient`: groups of data sources may be of any form, as they were before.
pub fn spec(spec: &Value, lenient: bool, path: &Path, errors: &mut Errors) {
    access_modes(spec, "at least 1 access mode is required", path, errors);
    label_selector(&spec["selector"], &path.child("selector"), errors);
    known_access_modes(spec, path, errors);
    let place = path.child("resources").key("storage");
    match held(&spec["resources"]["requests"], "storage") {
        Some(storage) => positive(Amount::of(storage), &place, errors),
        None => errors.required(&place, ""),
    }
    class_name(spec, "storageClassName", path, errors);
    mode(spec, path, errors);
    let (source, reference) = (held(spec, "dataSource"), held(spec, "dataSourceRef"));
    for (field, value) in [("dataSource", source), ("dataSourceRef", reference)] {
        if let Some(value) = value {
            data_source(value, lenient, &path.child(field), errors);
        }
    }
    if let (Some(source), Some(reference)) = (source, reference) {
        // What is shown is a path, which has no fields of its own to show.
        let shown = json!({});
        let parts = |value: &Value| ["apiGroup", "kind", "name"].map(|field| text(value, field).to_owned());
        if !text(reference, "namespace").is_empty() {
            errors.invalid(path, &shown, "may not be specified when dataSourceRef.namespace is specified");
        } else if parts(source) != parts(reference) {
            errors.invalid(path, &shown, "must match dataSourceRef");
        }
    }
    class_name(spec, "volumeAttributesClassName", path, errors);
}

fn data_source(source: &Value, lenient: bool, path: &Path, errors: &mut Errors) {
    for field in ["name", "kind"] {
        if text(source, field).is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() && !lenient {
        errors.malformed(&path.child("apiGroup"), group, &names::dns1123_subdomain(group));
    }
    let namespace = text(source, "namespace");
    if !namespace.is_empty() {
        errors.malformed(&path.child("namespace"), namespace, &names::dns1123_label(namespace));
    }
}

fn update(old: &Value, new: &Value, errors: &mut Errors) {
    let (before, after, path) = (&old["spec"], &new["spec"], root().child("spec"));
    let lenient = ["dataSource", "dataSourceRef"].iter().any(|field| held(&before[*field], "apiGroup").is_some());
    spec(after, lenient, &path, errors);
    let (mut held_spec, mut wanted) = (before.clone(), after.clone());
    if text(before, "volumeName").is_empty() {
        carry(after, &mut held_spec, "volumeName");
    }
    class_moves(old, new, &mut held_spec, &mut wanted, errors);
    let bound = text(&new["status"], "phase") == "Bound";
    if bound && wanted["resources"]["requests"].is_object() {
        wanted["resources"]["requests"]["storage"] = before["resources"]["requests"]["storage"].clone();
    }
    let attributes = "volumeAttributesClassName";
    if bound && held(after, attributes).is_some() {
        carry(before, &mut wanted, attributes);
    }
    if held_spec != wanted {
        let difference = diff::unified(&As(&held_spec, &CLAIM_SPEC).show(), &As(&wanted, &CLAIM_SPEC).show());
        let why = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
        );
        errors.forbidden(&path, &why);
    }
    let size = |of: &Value| Amount::of(&of["storage"]);
    let (was, is) = (size(&before["resources"]["requests"]), size(&after["resources"]["requests"]));
    if is < was && is <= size(&old["status"]["capacity"]) {
        let place = path.child("resources").child("requests").child("storage");
        errors.forbidden(&place, "field can not be less than status.capacity");
    }
    same_mode(before, after, errors);
}

fn carry(from: &Value, to: &mut Value, field: &str) {
    match (from.get(field), to.as_object_mut()) {
        (Some(value), Some(to)) => drop(to.insert(field.to_owned(), value.clone())),
        (None, Some(to)) => drop(to.remove(field)),
        (_, None) => {}
    }
}

/// A class may be given to a claim that had none, and may move from the annotation into the spec.
fn class_moves(old: &Value, new: &Value, held_spec: &mut Value, wanted: &mut Value, errors: &mut Errors) {
    let annotation = |claim: &'_ Value| -> Option<String> {
        held(&claim["metadata"]["annotations"], BETA_CLASS).and_then(Value::as_str).map(str::to_owned)
    };
    let (was, is) = (annotation(old), annotation(new));
    let (held_class, class) = (held(&old["spec"], "storageClassName"), held(&new["spec"], "storageClassName"));
    let (Some(class), None) = (class, held_class) else {
        return annotation_stays(was.as_deref(), is.as_deref(), errors);
    };
    let fits = was.as_deref().is_none_or(|was| class == was);
    if was.is_some() && fits && (is.is_none() || is == was) {
        // It moved out of the annotation.
        wanted.as_object_mut().map(|spec| spec.remove("storageClassName"));
        return;
    }
    annotation_stays(was.as_deref(), is.as_deref(), errors);
    if fits {
        held_spec["storageClassName"] = class.clone();
        wanted["storageClassName"] = class.clone();
    }
}

fn annotation_stays(was: Option<&str>, is: Option<&str>, errors: &mut Errors) {
    let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
    if was != is {
        let place = root().child("metadata").child("annotations").key(BETA_CLASS);
        errors.invalid(&place, is, "field is immutable");
    }
}

fn status(_: &Value, new: &Value, errors: &mut Errors) {
    if list(&new["spec"], "accessModes").is_empty() {
        errors.required(&root().child("Spec").child("accessModes"), "");
    }
    let path = root().child("status");
    for (name, value) in entries(&new["status"], "capacity") {
        valid_quantity(value, &path.child("capacity").key(name), errors);
    }
    let place = path.child("allocatedResourceStatus");
    for (name, value) in entries(&new["status"], "allocatedResourceStatuses") {
        resource_key(name, &place, errors);
        if !RESIZES.contains(&value.as_str().unwrap_or_default()) {
            errors.not_supported(&place, name, &RESIZES);
        }
    }
    let place = path.child("allocatedResources");
    for (name, value) in entries(&new["status"], "allocatedResources") {
        let before = errors.len();
        resource_key(name, &place, errors);
        if errors.len() == before {
            valid_quantity(value, &place.key(name), errors);
        }
    }
}

fn valid_quantity(value: &Value, place: &Path, errors: &mut Errors) {
    let amount = Amount::of(value);
    if amount.is_negative() {
        errors.invalid(place, &quantity::units(value), "must be a valid resource quantity");
    }
}

/// Of Kubernetes' own resources a claim knows only storage.
fn resource_key(name: &str, place: &Path, errors: &mut Errors) {
    let wrong = names::qualified_name(name);
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    errors.malformed(place, name, &wrong);
    if wrong.is_empty() && native && name != "storage" {
        errors.not_supported(place, name, &["storage"]);
    }
}
