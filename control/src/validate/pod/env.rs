//! Environment variables of containers, and the references to fields and resources that they share with volumes.

use serde_json::Value;

use crate::validate::amount::Amount;
use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::pod::containers;
use crate::validate::read::{held, list, text};

/// What variables can show of a pod; sorted.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// What files can; sorted.
pub(super) const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// What references may name at all.
const KNOWN_FIELDS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const HUGE_PAGES: [&str; 2] = ["requests.hugepages-", "limits.hugepages-"];
const BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// `env`
pub(super) fn variables(variables: &[Value], path: &Path, errors: &mut Errors) {
    for (at, variable) in variables.iter().enumerate() {
        let (path, name) = (path.index(at), text(variable, "name"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.malformed(&path.child("name"), name, &names::env_var_name(name));
        }
        if let Some(source) = held(variable, "valueFrom") {
            value_from(source, !text(variable, "value").is_empty(), &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(source: &Value, has_value: bool, path: &Path, errors: &mut Errors) {
    let mut sources = 0;
    if let Some(field) = held(source, "fieldRef") {
        sources += 1;
        field_selector(field, &FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = held(source, "resourceFieldRef") {
        sources += 1;
        resource_selector(resource, false, &path.child("resourceFieldRef"), errors);
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(key) = held(source, field) {
            sources += 1;
            key_selector(key, &path.child(field), errors);
        }
    }
    if let Some(file) = held(source, "fileKeyRef") {
        sources += 1;
        file_selector(file, &path.child("fileKeyRef"), errors);
    }
    if sources == 0 {
        let why =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(path, "", why);
    } else if has_value {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn key_selector(key: &Value, path: &Path, errors: &mut Errors) {
    let (name, key) = (text(key, "name"), text(key, "key"));
    errors.malformed(&path.child("name"), name, &names::dns1123_subdomain(name));
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.malformed(&path.child("key"), key, &names::config_map_key(key));
    }
}

fn file_selector(file: &Value, path: &Path, errors: &mut Errors) {
    let [key, volume, place] = ["key", "volumeName", "path"].map(|field| text(file, field));
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.malformed(&path.child("key"), key, &names::env_var_name(key));
    }
    if volume.is_empty() {
        errors.required(&path.child("volumeName"), "");
    } else {
        errors.malformed(&path.child("volumeName"), volume, &names::dns1123_label(volume));
    }
    if place.is_empty() {
        errors.required(&path.child("path"), "");
    } else {
        errors.malformed(&path.child("path"), place, &names::no_backsteps(place));
    }
}

/// Files of variables lie in volumes that live no longer than their pod.
pub(super) fn file_volumes(spec: &Value, path: &Path, errors: &mut Errors) {
    let volumes = list(spec, "volumes");
    for (container, path) in containers(spec, path) {
        for (at, variable) in list(container, "env").iter().enumerate() {
            let Some(file) = held(&variable["valueFrom"], "fileKeyRef") else { continue };
            let name = text(file, "volumeName");
            let place = || path.child("env").index(at).child("valueFrom").child("fileKeyRef").child("volumeName");
            match volumes.iter().rfind(|volume| text(volume, "name") == name) {
                None => errors.not_found(&place(), name),
                Some(volume) if held(volume, "emptyDir").is_none() => {
                    errors.invalid(&place(), name, "referenced volume must be of type emptyDir");
                }
                Some(_) => {}
            }
        }
    }
}

/// A path with what may stand behind it: `metadata.labels['app']`.
fn subscripted(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(path, _)| !path.is_empty())
}

/// `fieldRef`
pub(super) fn field_selector(selector: &Value, shown: &[&str], path: &Path, errors: &mut Errors) {
    let (version, given) = (text(selector, "apiVersion"), text(selector, "fieldPath"));
    let place = path.child("fieldPath");
    if given.is_empty() {
        return errors.required(&place, "");
    }
    let unknown = match subscripted(given) {
        _ if !matches!(version, "" | "v1") => Some(format!("unsupported pod version: {version}")),
        Some(("metadata.annotations" | "metadata.labels", _)) => None,
        Some(_) => Some(format!("field label does not support subscript: {given}")),
        None if KNOWN_FIELDS.contains(&given) || given == "spec.host" => None,
        None => Some(format!("field label not supported: {given}")),
    };
    if let Some(why) = unknown {
        return errors.invalid(&place, given, &format!("error converting fieldPath: {why}"));
    }
    match subscripted(given) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            errors.malformed(path, &key, &names::qualified_name(&key));
        }
        Some((_, key)) => errors.malformed(path, key, &names::qualified_name(key)),
        None => {
            // What it was called long ago.
            let field = if given == "spec.host" { "spec.nodeName" } else { given };
            if !shown.contains(&field) {
                errors.not_supported(&place, field, shown);
            }
        }
    }
}

/// `resourceFieldRef`; files must say of which container.
pub(super) fn resource_selector(selector: &Value, is_file: bool, path: &Path, errors: &mut Errors) {
    let resource = text(selector, "resource");
    let huge = HUGE_PAGES.iter().any(|prefix| resource.starts_with(prefix));
    if is_file && text(selector, "containerName").is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !huge && !RESOURCES.contains(&resource) {
        errors.not_supported(&path.child("resource"), resource, &RESOURCES);
    }
    let divisor = Amount::of(&selector["divisor"]);
    if divisor.is_zero() {
        return;
    }
    let (allowed, words, what): (&[&str], _, _) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (&["1m", "1"], "1m and 1".to_owned(), "cpu"),
        Some("memory") => (&BYTES, BYTES.join(", "), "memory"),
        Some("ephemeral-storage") => (&BYTES, BYTES.join(", "), "local ephemeral storage"),
        _ if huge => (&BYTES, BYTES.join(", "), "hugepages"),
        _ => return,
    };
    if !allowed.contains(&divisor.to_string().as_str()) {
        let why = format!("only divisor's values {words} are supported with the {what} resource");
        errors.invalid(&path.child("divisor"), resource, &why);
    }
}

/// `envFrom`
pub(super) fn sources(sources: &[Value], path: &Path, errors: &mut Errors) {
    for (at, source) in sources.iter().enumerate() {
        let (place, prefix) = (path.index(at), text(source, "prefix"));
        if !prefix.is_empty() {
            errors.malformed(&place.child("prefix"), prefix, &names::env_var_name(prefix));
        }
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            let Some(reference) = held(source, field) else { continue };
            count += 1;
            let (place, name) = (place.child(field).child("name"), text(reference, "name"));
            if name.is_empty() {
                errors.required(&place, "");
            } else {
                // May be the beginning of a name, as for names that are generated.
                errors.malformed(&place, name, &names::dns1123_subdomain(name));
            }
        }
        if count == 0 {
            errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if count > 1 {
            errors.invalid(path, "", "may not have more than one field specified at a time");
        }
    }
}
