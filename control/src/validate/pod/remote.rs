//! Volumes of storage systems. Most are history: today such systems come with a CSI driver.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::metadata;
use crate::validate::names;
use crate::validate::pod::spec::word_if_held;
use crate::validate::pod::volume::descends;
use crate::validate::read::{entries, flag, held, list, number, text};
use crate::validate::volume::claim_spec;

/// Strings that must not be empty.
pub(super) fn need(source: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields.iter().filter(|field| text(source, field).is_empty()) {
        errors.required(&path.child(field), "");
    }
}

fn in_range(source: &Value, field: &str, (low, high): (i64, i64), path: &Path, errors: &mut Errors) {
    if let Some(value) = number(source, field) {
        errors.malformed(&path.child(field), &value, &names::in_range(value, low, high));
    }
}

pub(super) fn git_repo(source: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["repository"], path, errors);
    descends(text(source, "directory"), &path.child("directory"), errors);
}

pub(super) fn disk(source: &Value, id: &str, path: &Path, errors: &mut Errors) {
    need(source, &[id], path, errors);
    if let Some(partition) = number(source, "partition").filter(|partition| !(0..=255).contains(partition)) {
        // Zero is allowed, whatever the text says.
        errors.malformed(&path.child("partition"), &partition, &names::in_range(partition, 1, 255));
    }
}

/// Of pods and of volumes.
pub(super) fn nfs(source: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["server", "path"], path, errors);
    if !text(source, "path").starts_with('/') {
        errors.invalid(&path.child("path"), text(source, "path"), "must be an absolute path");
    }
}

pub(super) fn iscsi(source: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["targetPortal"], path, errors);
    let iqn = text(source, "iqn");
    if iqn.is_empty() {
        errors.required(&path.child("iqn"), "");
    } else if let Some(why) = initiator(iqn) {
        errors.invalid(&path.child("iqn"), iqn, why);
    }
    in_range(source, "lun", (0, 255), path, errors);
    let secret = held(source, "secretRef").is_some();
    if !secret && (flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession")) {
        errors.required(&path.child("secretRef"), "");
    }
    if held(source, "initiatorName").is_some() {
        let name = text(source, "initiatorName");
        if let Some(why) = initiator(name) {
            errors.invalid(&path.child("initiatorname"), name, why);
        }
    }
}

/// What is wrong with the name of an iSCSI initiator or target.
fn initiator(name: &str) -> Option<&'static str> {
    let fits = match name.get(..3) {
        Some("iqn") => is_iqn(name),
        Some(prefix @ ("eui" | "naa")) => {
            let length = if prefix == "eui" { 16 } else { 32 };
            let own = name.get(4..).unwrap_or_default();
            own.len() == length && own.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
        _ => return Some("must be valid format starting with iqn, eui, or naa"),
    };
    (!fits).then_some("must be valid format")
}

/// `iqn.2001-04.com.example:storage`
fn is_iqn(name: &str) -> bool {
    let Some((authority, own)) = name.strip_prefix("iqn.").and_then(|rest| rest.split_once(':')) else { return false };
    let [year, month] = [authority.get(..4), authority.get(5..7)].map(Option::unwrap_or_default);
    let dated = [year, month].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    let domain = authority.get(8..).unwrap_or_default();
    dated
        && authority.as_bytes().get(4) == Some(&b'-')
        && authority.as_bytes().get(7) == Some(&b'.')
        && !domain.is_empty()
        && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && !own.is_empty()
        && !own.contains(|letter: char| letter.is_whitespace() || ",;*&$|".contains(letter))
}

pub(super) fn iscsi_length(source: &Value, volume: &str, path: &Path, errors: &mut Errors) {
    let length = volume.len() + 1 + text(source, "targetPortal").len();
    if held(source, "initiatorName").is_some() && length > 64 {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.invalid(&path.child("name"), volume, why);
    }
}

pub(super) fn flocker(source: &Value, path: &Path, errors: &mut Errors) {
    let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
    match (name.is_empty(), id.is_empty()) {
        (true, true) => errors.required(path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            errors.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
        }
        _ => {}
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

pub(super) fn rbd(source: &Value, path: &Path, errors: &mut Errors) {
    ceph_fs(source, path, errors);
    need(source, &["image"], path, errors);
}

pub(super) fn ceph_fs(source: &Value, path: &Path, errors: &mut Errors) {
    if list(source, "monitors").is_empty() {
        errors.required(&path.child("monitors"), "");
    }
}

fn secret_name(source: &Value, path: &Path, errors: &mut Errors) {
    if held(source, "secretRef").is_some_and(|secret| text(secret, "name").is_empty()) {
        errors.required(&path.child("secretRef").child("name"), "");
    }
}

pub(super) fn cinder(source: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["volumeID"], path, errors);
    secret_name(source, path, errors);
}

pub(super) fn quobyte(source: &Value, path: &Path, errors: &mut Errors) {
    let (registry, pairs) =
        (text(source, "registry"), "must be a host:port pair or multiple pairs separated by commas");
    if registry.is_empty() {
        errors.required(&path.child("registry"), pairs);
    } else if text(source, "tenant").len() >= 65 {
        errors.required(&path.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_port(pair)) {
            errors.invalid(&path.child("registry"), registry, pairs);
        }
    }
    need(source, &["volume"], path, errors);
}

/// Go's `net.SplitHostPort`.
fn is_host_port(pair: &str) -> bool {
    let Some((host, _)) = pair.rsplit_once(':') else { return false };
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|inner| !inner.contains(['[', ']'])),
        None => !host.contains([':', '[', ']']),
    }
}

pub(super) fn fibre_channel(source: &Value, path: &Path, errors: &mut Errors) {
    let (targets, wwids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let place = path.child("targetWWNs");
    match (targets.is_empty(), wwids.is_empty()) {
        (true, true) => errors.required(&place, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            let why = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(&place, &source["targetWWNs"], why);
        }
        _ => {}
    }
    if !targets.is_empty() {
        if held(source, "lun").is_none() {
            errors.required(&path.child("lun"), "lun is required if targetWWNs is specified");
        }
        in_range(source, "lun", (0, 255), path, errors);
    }
}

pub(super) fn flex(source: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["driver"], path, errors);
    for (key, _) in entries(source, "options") {
        let domain = format!(".{}", key.split_once('/').map_or(key, |(domain, _)| domain).to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&path.child("options").key(key), key, why);
        }
    }
}

pub(super) fn azure_disk(source: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["diskName", "diskURI"], path, errors);
    word_if_held(source, "cachingMode", &["None", "ReadOnly", "ReadWrite"], path, errors);
    word_if_held(source, "kind", &["Dedicated", "Managed", "Shared"], path, errors);
    let (kind, uri) = (text(source, "kind"), text(source, "diskURI"));
    if held(source, "kind").is_none() {
        return;
    }
    let (prefix, form) = if kind == "Managed" {
        let form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
        ("/subscriptions/", form)
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if !uri.starts_with(prefix) {
        errors.not_supported(&path.child("diskURI"), uri, &[form]);
    }
}

pub(super) fn storage_os(source: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["volumeName"], path, errors);
    for field in ["volumeName", "volumeNamespace"] {
        let name = text(source, field);
        if !name.is_empty() {
            errors.malformed(&path.child(field), name, &names::dns1123_label(name));
        }
    }
    secret_name(source, path, errors);
}

/// The name of a CSI driver: of pods and of volumes.
pub(super) fn csi_driver(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > names::LABEL_MAX {
        errors.too_long(path, names::LABEL_MAX);
    }
    errors.malformed(path, name, &names::dns1123_subdomain(&name.to_lowercase()));
}

pub(super) fn csi(source: &Value, path: &Path, errors: &mut Errors) {
    csi_driver(text(source, "driver"), &path.child("driver"), errors);
    if let Some(secret) = held(source, "nodePublishSecretRef") {
        let name = text(secret, "name");
        if name.is_empty() {
            errors.required(&path.child("nodePublishSecretRef").child("name"), "");
        } else {
            errors.malformed(&path.child("name"), name, &names::dns1123_subdomain(name));
        }
    }
}

/// A claim made for the pod: its metadata holds labels and annotations alone.
pub(super) fn ephemeral(source: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("volumeClaimTemplate");
    let Some(template) = held(source, "volumeClaimTemplate") else { return errors.required(&path, "") };
    let (own, place) = (&template["metadata"], path.child("metadata"));
    metadata::annotations(&own["annotations"], &place.child("annotations"), errors);
    metadata::labels(&own["labels"], &place.child("labels"), errors);
    for (field, value) in entries(template, "metadata") {
        if !matches!(field, "annotations" | "labels") && !value.is_null() {
            errors.forbidden(&place.child(field), "cannot be set");
        }
    }
    claim_spec(&template["spec"], false, &path.child("spec"), errors);
}
