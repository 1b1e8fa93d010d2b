//! Affinity of pods to nodes and to each other, and how they spread.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::metadata;
use crate::validate::names;
use crate::validate::pod::spec::word_if_held;
use crate::validate::read::{entries, held, list, number, text, texts};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The key of a label.
pub fn label_name(name: &str, path: &Path, errors: &mut Errors) {
    errors.malformed(path, name, &names::qualified_name(name));
}

/// `affinity`
pub(super) fn check(affinity: &Value, path: &Path, errors: &mut Errors) {
    if let Some(nodes) = held(affinity, "nodeAffinity") {
        let path = path.child("nodeAffinity");
        if let Some(selector) = held(nodes, REQUIRED) {
            node_selector(selector, &path.child(REQUIRED), errors);
        }
        for (at, preferred) in list(nodes, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(at);
            weight(preferred, &path, errors);
            // Whatever no label can be may still be preferred: it never matches.
            node_term(&preferred["preference"], false, &path.child("preference"), errors);
        }
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        let (path, pods) = (path.child(field), &affinity[field]);
        for (at, term) in list(pods, REQUIRED).iter().enumerate() {
            pod_term(term, &path.child(REQUIRED).index(at), errors);
        }
        for (at, weighted) in list(pods, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(at);
            weight(weighted, &path, errors);
            pod_term(&weighted["podAffinityTerm"], &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(held: &Value, path: &Path, errors: &mut Errors) {
    let weight = number(held, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), &weight, "must be in the range 1-100");
    }
}

/// A `NodeSelector`: of pods, and of volumes.
pub fn node_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let (terms, path) = (list(selector, "nodeSelectorTerms"), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (at, term) in terms.iter().enumerate() {
        node_term(term, true, &path.index(at), errors);
    }
}

fn node_term(term: &Value, strict: bool, path: &Path, errors: &mut Errors) {
    for (at, requirement) in list(term, "matchExpressions").iter().enumerate() {
        on_labels(requirement, strict, &path.child("matchExpressions").index(at), errors);
    }
    for (at, requirement) in list(term, "matchFields").iter().enumerate() {
        on_fields(requirement, &path.child("matchFields").index(at), errors);
    }
}

fn on_labels(requirement: &Value, strict: bool, path: &Path, errors: &mut Errors) {
    let (operator, values, place) = (text(requirement, "operator"), list(requirement, "values"), path.child("values"));
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&place, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&place, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&place, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    label_name(text(requirement, "key"), &path.child("key"), errors);
    if strict {
        for (at, value) in texts(requirement, "values").enumerate() {
            errors.malformed(&place.index(at), value, &names::label_value(value));
        }
    }
}

fn on_fields(requirement: &Value, path: &Path, errors: &mut Errors) {
    let (operator, place) = (text(requirement, "operator"), path.child("values"));
    if !matches!(operator, "In" | "NotIn") {
        errors.invalid(&path.child("operator"), operator, "not a valid selector operator");
    } else if list(requirement, "values").len() != 1 {
        let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.required(&place, why);
    }
    let key = text(requirement, "key");
    if key != "metadata.name" {
        errors.invalid(&path.child("key"), key, "not a valid field selector key");
        return;
    }
    for (at, value) in texts(requirement, "values").enumerate() {
        errors.malformed(&place.index(at), value, &names::dns1123_subdomain(value));
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut Errors) {
    for selector in ["labelSelector", "namespaceSelector"] {
        metadata::label_selector(&term[selector], &path.child(selector), errors);
    }
    for namespace in texts(term, "namespaces") {
        errors.malformed(&path.child("namespace"), namespace, &names::dns1123_label(namespace));
    }
    label_keys(term, path, errors);
    let topology = text(term, "topologyKey");
    if topology.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    label_name(topology, &path.child("topologyKey"), errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys`: a new pod's values of these labels are added to the selector.
fn label_keys(term: &Value, path: &Path, errors: &mut Errors) {
    let selector = held(term, "labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let place = path.child(field);
        if selector.is_none() && !list(term, field).is_empty() {
            errors.forbidden(&place, "must not be specified when labelSelector is not set");
            continue;
        }
        for (at, key) in texts(term, field).enumerate() {
            label_name(key, &place.index(at), errors);
        }
    }
    if let Some(selector) = selector {
        let keys: BTreeMap<&str, usize> =
            texts(term, "matchLabelKeys").enumerate().map(|(at, key)| (key, at)).collect();
        let mut selected: Vec<&str> = entries(selector, "matchLabels").map(|(key, _)| key).collect();
        for requirement in list(selector, "matchExpressions") {
            let key = text(requirement, "key");
            // The server itself has added one requirement for each of the keys.
            if let Some(at) = keys.get(key).filter(|_| selected.contains(&key)) {
                errors.invalid(&path.index(*at), key, "exists in both matchLabelKeys and labelSelector");
            }
            selected.push(key);
        }
    }
    let mismatched: Vec<&str> = texts(term, "mismatchLabelKeys").collect();
    for (at, key) in texts(term, "matchLabelKeys").enumerate().filter(|(_, key)| mismatched.contains(key)) {
        let place = path.child("matchLabelKeys").index(at);
        errors.invalid(&place, key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// `topologySpreadConstraints`
pub(super) fn spread(constraints: &[Value], path: &Path, errors: &mut Errors) {
    for (at, constraint) in constraints.iter().enumerate() {
        let path = path.index(at);
        let skew = number(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), &skew, "must be greater than zero");
        }
        let (topology, action) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if topology.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            errors.not_supported(&path.child("whenUnsatisfiable"), action, &actions);
        }
        let same = |other: &Value| text(other, "topologyKey") == topology && text(other, "whenUnsatisfiable") == action;
        if constraints[at + 1..].iter().any(same) {
            let place = path.child("{topologyKey, whenUnsatisfiable}");
            errors.duplicate(&place, &format!("{{{topology}, {action}}}"));
        }
        if let Some(domains) = number(constraint, "minDomains") {
            min_domains(domains, action, &path.child("minDomains"), errors);
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            word_if_held(constraint, policy, &["Honor", "Ignore"], &path, errors);
        }
        label_keys(constraint, &path, errors);
        metadata::label_selector(&constraint["labelSelector"], &path.child("labelSelector"), errors);
    }
}

fn min_domains(domains: i64, action: &str, path: &Path, errors: &mut Errors) {
    if domains <= 0 {
        errors.invalid(path, &domains, "must be greater than zero");
    }
    if action != "DoNotSchedule" {
        let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.invalid(path, &domains, &why);
    }
}
