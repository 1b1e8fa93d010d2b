//! Where containers see volumes: as directories and as block devices.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::pod::spec::word_if_held;
use crate::validate::pod::volume;
use crate::validate::read::{flag, held, list, text};

type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// `volumeMounts`
pub(super) fn mounts(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let (mounts, devices) = (list(container, "volumeMounts"), list(container, "volumeDevices"));
    for (at, mount) in mounts.iter().enumerate() {
        let (place, name, target) = (path.index(at), text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.required(&place.child("name"), "");
        }
        if !volumes.contains_key(name) {
            errors.not_found(&place.child("name"), name);
        }
        if target.is_empty() {
            errors.required(&place.child("mountPath"), "");
        }
        if mounts[..at].iter().any(|other| text(other, "mountPath") == target) {
            errors.invalid(&place.child("mountPath"), target, "must be unique");
        }
        if devices.iter().any(|device| text(device, "name") == name) {
            errors.invalid(&place.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| text(device, "devicePath") == target) {
            errors.invalid(&place.child("mountPath"), target, "must not already exist as a path in volumeDevices");
        }
        sub_path(mount, &place, path, errors);
        propagation(mount, container, path, errors);
        recursively_read_only(mount, &path.child("recursiveReadOnly"), errors);
    }
}

/// A part of a volume; Kubernetes names the list, not the mount, where the path is wrong.
fn sub_path(mount: &Value, place: &Path, list: &Path, errors: &mut Errors) {
    let (fixed, expanded) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    if !fixed.is_empty() {
        volume::descends(fixed, &list.child("subPath"), errors);
    }
    if !expanded.is_empty() {
        if !fixed.is_empty() {
            errors.invalid(&place.child("subPathExpr"), expanded, "subPathExpr and subPath are mutually exclusive");
        }
        volume::descends(expanded, &list.child("subPathExpr"), errors);
    }
}

fn propagation(mount: &Value, container: &Value, list: &Path, errors: &mut Errors) {
    word_if_held(mount, "mountPropagation", &["Bidirectional", "HostToContainer", "None"], list, errors);
    let privileged = flag(&container["securityContext"], "privileged");
    if text(mount, "mountPropagation") == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(&list.child("mountPropagation"), why);
    }
}

fn recursively_read_only(mount: &Value, path: &Path, errors: &mut Errors) {
    let Some(wish) = held(mount, "recursiveReadOnly") else { return };
    match wish.as_str().unwrap_or_default() {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !flag(mount, "readOnly") {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if !matches!(text(mount, "mountPropagation"), "" | "None") {
                errors.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => errors.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// `volumeDevices`
pub(super) fn devices(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let (devices, mounts) = (list(container, "volumeDevices"), list(container, "volumeMounts"));
    for (at, device) in devices.iter().enumerate() {
        let (place, name, target) = (path.index(at), text(device, "name"), text(device, "devicePath"));
        let before = &devices[..at];
        if name.is_empty() {
            errors.required(&place.child("name"), "");
        } else if before.iter().any(|other| text(other, "name") == name) {
            errors.invalid(&place.child("name"), name, "must be unique");
        }
        match volumes.get(name) {
            None => errors.not_found(&place.child("name"), name),
            Some(volume) if ["persistentVolumeClaim", "ephemeral"].iter().all(|of| volume[*of].is_null()) => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&place.child("name"), name, why);
            }
            Some(_) => {}
        }
        if target.is_empty() {
            errors.required(&place.child("devicePath"), "");
        }
        if before.iter().any(|other| text(other, "devicePath") == target && !steps_back(target)) {
            errors.invalid(&place.child("devicePath"), target, "must be unique");
        }
        if steps_back(target) {
            errors.invalid(&place.child("devicePath"), target, "can not contain backsteps ('..')");
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            errors.invalid(&place.child("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == target) {
            errors.invalid(&place.child("devicePath"), target, "must not already exist as a path in volumeMounts");
        }
    }
}

fn steps_back(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}
