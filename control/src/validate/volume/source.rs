//! Where a volume's bytes are: exactly one source, and what each of them needs.

use serde_json::{Map, Value};

use crate::validate::field::{Errors, Path};
use crate::validate::read::{held, list, text};
use crate::validate::{names, root};

/// All sources, in the order in which they are looked at: field, how messages call it, texts that it needs.
const SOURCES: &[(&str, &str, &[&str])] = &[
    ("hostPath", "hostPath", &[]),
    ("gcePersistentDisk", "gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", "awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", "glusterfs", &["endpoints", "path"]),
    ("flocker", "flocker", &[]),
    ("nfs", "nfs", &["server", "path"]),
    ("rbd", "rbd", &["image"]),
    ("quobyte", "quobyte", &["registry", "volume"]),
    ("cephfs", "cephFS", &[]),
    ("iscsi", "iscsi", &["targetPortal", "iqn"]),
    ("cinder", "cinder", &["volumeID"]),
    ("fc", "fc", &[]),
    ("flexVolume", "flexVolume", &["driver"]),
    ("azureFile", "azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", "vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", "photonPersistentDisk", &["pdID"]),
    ("portworxVolume", "portworxVolume", &["volumeID"]),
    ("azureDisk", "azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", "scaleIO", &["gateway", "system", "volumeName"]),
    ("local", "local", &[]),
    ("storageos", "storageos", &["volumeName"]),
    ("csi", "csi", &[]),
];
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// The name of a driver at most, bytes.
const DRIVER_MAX: usize = 63;

/// The sources of a volume, without the rest of its spec.
pub(super) fn of(spec: &Value) -> Value {
    let held: Map<String, Value> = SOURCES
        .iter()
        .filter_map(|(field, ..)| {
            Some(((*field).to_owned(), spec.get(field).filter(|source| !source.is_null())?.clone()))
        })
        .collect();
    Value::Object(held)
}

/// Exactly one source.
pub(super) fn one(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for (field, shown, needs) in SOURCES {
        let Some(source) = held(spec, field) else { continue };
        if found {
            errors.forbidden(&path.child(shown), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        let path = path.child(field);
        for need in *needs {
            if text(source, need).is_empty() {
                errors.required(&path.child(need), "");
            }
        }
        match *field {
            "hostPath" => host_path(source, &path, errors),
            "nfs" if !text(source, "path").is_empty() && !text(source, "path").starts_with('/') => {
                errors.invalid(&path.child("path"), text(source, "path"), "must be an absolute path");
            }
            "rbd" | "cephfs" if list(source, "monitors").is_empty() => errors.required(&path.child("monitors"), ""),
            "local" => {
                local(source, &path, errors);
                if held(spec, "nodeAffinity").is_none() {
                    let place = root().child("spec").child("nodeAffinity");
                    errors.required(&place, "Local volume requires node affinity");
                }
            }
            "csi" => csi(source, &path, errors),
            _ => {}
        }
    }
    if !found {
        errors.required(path, "must specify a volume type");
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    let given = text(source, "path");
    if given.is_empty() {
        return errors.required(&path.child("path"), "");
    }
    errors.malformed(&path.child("path"), given, &names::no_backsteps(given));
    let kind = text(source, "type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &HOST_PATH_TYPES);
    }
}

fn local(source: &Value, path: &Path, errors: &mut Errors) {
    let given = text(source, "path");
    if given.is_empty() {
        return errors.required(&path.child("path"), "");
    }
    errors.malformed(&path.child("path"), given, &names::no_backsteps(given));
}

fn csi(source: &Value, path: &Path, errors: &mut Errors) {
    let driver = text(source, "driver");
    if driver.is_empty() {
        errors.required(&path.child("driver"), "");
    } else {
        if driver.len() > DRIVER_MAX {
            errors.too_long(&path.child("driver"), DRIVER_MAX);
        }
        errors.malformed(&path.child("driver"), driver, &names::dns1123_subdomain(&driver.to_lowercase()));
    }
    if text(source, "volumeHandle").is_empty() {
        errors.required(&path.child("volumeHandle"), "");
    }
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let Some(secret) = held(source, field) else { continue };
        let path = path.child(field);
        let checks: [(&str, names::Check); 2] =
            [("name", names::dns1123_subdomain), ("namespace", names::dns1123_label)];
        for (field, check) in checks {
            let given = text(secret, field);
            if given.is_empty() {
                errors.required(&path.child(field), "");
            } else {
                errors.malformed(&path.child(field), given, &check(given));
            }
        }
    }
}
