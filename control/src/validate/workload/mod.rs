//! Workloads: what makes pods of a template and tells them by a selector.

pub mod controller_revision;
pub mod deployment;
pub mod replica_set;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::metadata;
use crate::validate::pod;
use crate::validate::read::{entries, held, list, number, text};
use crate::validate::show::{As, LABEL_SELECTOR};

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Numbers that count something.
fn counts(object: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        if let Some(value) = number(object, field).filter(|value| *value < 0) {
            errors.invalid(&path.child(field), &value, NOT_NEGATIVE);
        }
    }
}

/// `selector` and the `template` that it must match.
fn selected_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let (place, before) = (path.child("selector"), errors.len());
    let own = held(spec, "selector");
    match own {
        None => errors.required(&place, ""),
        Some(own) => {
            metadata::label_selector(own, &place, errors);
            if errors.len() > before {
                // What no selector can be matches nothing, so there is nothing to say of the template.
                if is_empty(own) {
                    errors.invalid(&place, &As(own, &LABEL_SELECTOR), EMPTY);
                }
                return errors.invalid(&place, &As(own, &LABEL_SELECTOR), "invalid label selector");
            }
            if is_empty(own) {
                errors.invalid(&place, &As(own, &LABEL_SELECTOR), EMPTY);
            }
        }
    }
    let (template, path) = (&spec["template"], path.child("template"));
    let labels = &template["metadata"]["labels"];
    if own.is_none_or(|own| !is_empty(own) && !matches(own, labels)) {
        let why = "`selector` does not match template `labels`";
        errors.invalid(&path.child("metadata").child("labels"), labels, why);
    }
    pod::template(template, &path, errors);
    let place = path.child("spec");
    let policy = text(&template["spec"], "restartPolicy");
    if !matches!(policy, "" | "Always") {
        errors.not_supported(&place.child("restartPolicy"), policy, &["Always"]);
    }
    if held(&template["spec"], "activeDeadlineSeconds").is_some() {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&place.child("activeDeadlineSeconds"), why);
    }
}

const EMPTY: &str = "empty selector is invalid for deployment";

fn is_empty(selector: &Value) -> bool {
    entries(selector, "matchLabels").next().is_none() && list(selector, "matchExpressions").is_empty()
}

/// Whether a label selector, known to be one, matches labels.
fn matches(selector: &Value, labels: &Value) -> bool {
    let own = |key: &str| labels.get(key).and_then(Value::as_str);
    entries(selector, "matchLabels").all(|(key, value)| own(key).is_some() && own(key) == value.as_str())
        && list(selector, "matchExpressions").iter().all(|requirement| {
            let label = own(text(requirement, "key"));
            let listed = list(requirement, "values").iter().any(|value| value.as_str() == label);
            match text(requirement, "operator") {
                "In" => label.is_some() && listed,
                "NotIn" => label.is_none() || !listed,
                "Exists" => label.is_some(),
                _ => label.is_none(),
            }
        })
}

/// What pods are told by never changes.
fn same_selector(old: &Value, new: &Value, path: &Path, errors: &mut Errors) {
    if old["spec"]["selector"] != new["spec"]["selector"] {
        let shown = As(&new["spec"]["selector"], &LABEL_SELECTOR);
        errors.invalid(&path.child("selector"), &shown, "field is immutable");
    }
}

/// The counts of a status: no part is more than the whole.
fn parts_of(status: &Value, parts: &[&str], path: &Path, errors: &mut Errors) {
    let count = |field: &str| number(status, field).unwrap_or(0);
    for field in parts {
        if count(field) > count("replicas") {
            errors.invalid(&path.child(field), &count(field), "cannot be greater than status.replicas");
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        let why = "cannot be greater than readyReplicas";
        errors.invalid(&path.child("availableReplicas"), &count("availableReplicas"), why);
    }
}
