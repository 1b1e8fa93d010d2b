//! Volumes of a pod: what each is made from. `remote` holds those of storage systems, `projected` those put together.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::validate::amount::Amount;
use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::pod::spec::word;
use crate::validate::pod::{Owner, projected, remote};
use crate::validate::read::{held, list, number, text};
use crate::validate::show::Show;

/// A source of volumes.
struct Source {
    /// Its field.
    field: &'static str,
    /// How it is named where it is one too many, and where it is checked: Kubernetes is not always right here.
    named: (&'static str, &'static str),
    check: fn(&Value, &Path, &mut Errors),
}

const fn source(field: &'static str, check: fn(&Value, &Path, &mut Errors)) -> Source {
    Source { field, named: (field, field), check }
}

/// In the order in which Kubernetes looks for them.
const SOURCES: [Source; 30] = [
    source("emptyDir", empty_dir),
    source("hostPath", host_path),
    source("gitRepo", remote::git_repo),
    Source {
        field: "gcePersistentDisk",
        named: ("gcePersistentDisk", "persistentDisk"),
        check: |disk, path, errors| remote::disk(disk, "pdName", path, errors),
    },
    source("awsElasticBlockStore", |disk, path, errors| remote::disk(disk, "volumeID", path, errors)),
    source("secret", |source, path, errors| keys(source, "secretName", path, errors)),
    source("nfs", remote::nfs),
    source("iscsi", remote::iscsi),
    source("glusterfs", |source, path, errors| remote::need(source, &["endpoints", "path"], path, errors)),
    source("flocker", remote::flocker),
    source("persistentVolumeClaim", |source, path, errors| remote::need(source, &["claimName"], path, errors)),
    source("rbd", remote::rbd),
    source("cinder", remote::cinder),
    Source { field: "cephfs", named: ("cephFS", "cephfs"), check: remote::ceph_fs },
    source("quobyte", remote::quobyte),
    Source { field: "downwardAPI", named: ("downwarAPI", "downwardAPI"), check: projected::downward },
    source("fc", remote::fibre_channel),
    source("flexVolume", remote::flex),
    source("configMap", |source, path, errors| keys(source, "name", path, errors)),
    source("azureFile", |source, path, errors| remote::need(source, &["secretName", "shareName"], path, errors)),
    source("vsphereVolume", |source, path, errors| remote::need(source, &["volumePath"], path, errors)),
    source("photonPersistentDisk", |source, path, errors| remote::need(source, &["pdID"], path, errors)),
    source("portworxVolume", |source, path, errors| remote::need(source, &["volumeID"], path, errors)),
    source("azureDisk", remote::azure_disk),
    source("storageos", remote::storage_os),
    source("projected", projected::check),
    source("scaleIO", |source, path, errors| remote::need(source, &["gateway", "system", "volumeName"], path, errors)),
    source("csi", remote::csi),
    source("ephemeral", remote::ephemeral),
    source("image", |image, path, errors| {
        remote::need(image, &["reference"], path, errors);
        word(image, "pullPolicy", &["Always", "IfNotPresent", "Never"], path, errors);
    }),
];

/// `volumes`; returns those without fault, by name.
pub(super) fn check<'a>(
    spec: &'a Value,
    owner: Owner<'_>,
    path: &Path,
    errors: &mut Errors,
) -> BTreeMap<&'a str, &'a Value> {
    let (volumes, mut good) = (list(spec, "volumes"), BTreeMap::new());
    for (at, volume) in volumes.iter().enumerate() {
        let (place, name, before) = (path.index(at), text(volume, "name"), errors.len());
        sources(volume, owner, &place, errors);
        if name.is_empty() {
            errors.required(&place.child("name"), "");
        } else {
            errors.malformed(&place.child("name"), name, &names::dns1123_label(name));
        }
        if good.contains_key(name) {
            errors.duplicate(&place.child("name"), name);
        }
        if errors.len() == before {
            good.insert(name, volume);
        }
        let claim = text(&volume["persistentVolumeClaim"], "claimName");
        if let Owner::Pod(pod) = owner
            && is_made_for(claim, pod, volumes)
        {
            let place = place.child("persistentVolumeClaim").child("claimName");
            errors.invalid(&place, claim, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    good
}

/// Whether a claim is one that the pod's own ephemeral volumes get.
fn is_made_for(claim: &str, pod: &str, volumes: &[Value]) -> bool {
    !claim.is_empty()
        && !pod.is_empty()
        && volumes
            .iter()
            .any(|volume| held(volume, "ephemeral").is_some() && claim == format!("{pod}-{}", text(volume, "name")))
}

fn sources(volume: &Value, owner: Owner<'_>, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for Source { field, named: (extra, checked), check } in &SOURCES {
        let Some(source) = held(volume, field) else { continue };
        let first = !std::mem::replace(&mut found, true);
        if first {
            let place = path.child(checked);
            check(source, &place, errors);
            if let (Owner::Pod(pod), "ephemeral") = (owner, *field) {
                claim_name(pod, text(volume, "name"), path, errors);
            }
        } else {
            errors.forbidden(&path.child(extra), "may not specify more than 1 volume type");
        }
        if *field == "iscsi" {
            remote::iscsi_length(source, text(volume, "name"), path, errors);
        }
    }
}

/// The claim of an ephemeral volume is named by its pod and itself.
fn claim_name(pod: &str, volume: &str, path: &Path, errors: &mut Errors) {
    if pod.is_empty() || volume.is_empty() {
        return;
    }
    let claim = format!("{pod}-{volume}");
    for why in names::dns1123_subdomain(&claim) {
        errors.invalid(&path.child("name"), volume, &format!("PVC name {}: {why}", claim.show()));
    }
}

fn empty_dir(source: &Value, path: &Path, errors: &mut Errors) {
    if held(source, "sizeLimit").is_some_and(|limit| Amount::of(limit).is_negative()) {
        errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

/// A directory or file of the node: of pods and of volumes.
pub(super) fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    let own = text(source, "path");
    if own.is_empty() {
        return errors.required(&path.child("path"), "");
    }
    errors.malformed(&path.child("path"), own, &names::no_backsteps(own));
    let kinds = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    word(source, "type", &kinds, path, errors);
}

/// Files from the keys of a Secret or ConfigMap.
fn keys(source: &Value, name: &str, path: &Path, errors: &mut Errors) {
    if text(source, name).is_empty() {
        errors.required(&path.child(name), "");
    }
    mode(source, "defaultMode", path, errors);
    for (at, item) in list(source, "items").iter().enumerate() {
        key_to_path(item, &path.child("items").index(at), errors);
    }
}

/// Where a key becomes a file.
pub(super) fn key_to_path(item: &Value, path: &Path, errors: &mut Errors) {
    for field in ["key", "path"] {
        if text(item, field).is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    stays_below(text(item, "path"), &path.child("path"), errors);
    mode(item, "mode", path, errors);
}

/// Who may do what with a file.
pub(super) fn mode(object: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(mode) = number(object, field).filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(&path.child(field), &mode, why);
    }
}

/// A path that leads downwards from somewhere.
pub(super) fn descends(target: &str, path: &Path, errors: &mut Errors) {
    if target.starts_with('/') {
        errors.invalid(path, target, "must be a relative path");
    }
    errors.malformed(path, target, &names::no_backsteps(target));
}

/// The same, and clear of names that the node uses itself.
pub(super) fn stays_below(target: &str, path: &Path, errors: &mut Errors) {
    descends(target, path, errors);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.invalid(path, target, "must not start with '..'");
    }
}
