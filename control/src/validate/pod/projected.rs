//! Volumes put together from several sources, and files that show fields of the pod.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::metadata;
use crate::validate::names;
use crate::validate::pod::env::{FILE_FIELDS, field_selector, resource_selector};
use crate::validate::pod::volume::{key_to_path, mode, stays_below};
use crate::validate::read::{held, list, number, text};
use crate::validate::show::{As, CLUSTER_TRUST_BUNDLE, LABEL_SELECTOR};

/// How long a token may live. Units: seconds.
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;

/// `projected`
pub(super) fn check(volume: &Value, path: &Path, errors: &mut Errors) {
    mode(volume, "defaultMode", path, errors);
    let mut paths = BTreeSet::new();
    for (at, source) in list(volume, "sources").iter().enumerate() {
        let place = path.child("sources").index(at);
        let mut count = 0;
        for field in ["secret", "configMap"] {
            if let Some(held) = held(source, field) {
                count += 1;
                keys(held, &mut paths, (path, &place.child(field)), errors);
            }
        }
        if let Some(held) = held(source, "downwardAPI") {
            count += 1;
            for file in list(held, "items") {
                downward_file(file, &place.child("downwardAPI"), errors);
                once(text(file, "path"), text(file, "path"), &mut paths, path, errors);
            }
        }
        if let Some(held) = held(source, "serviceAccountToken") {
            count += 1;
            token(held, path, &place.child("serviceAccountToken"), errors);
        }
        if let Some(held) = held(source, "clusterTrustBundle") {
            count += 1;
            bundle(held, &place.child("clusterTrustBundle"), errors);
            once(text(held, "path"), text(held, "path"), &mut paths, path, errors);
        }
        if count > 1 {
            errors.forbidden(&place, "may not specify more than 1 volume type per source");
        }
    }
}

/// No two files lie at one path.
fn once<'a>(file: &'a str, shown: &str, paths: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    if !file.is_empty() && !paths.insert(file) {
        errors.invalid(path, shown, "conflicting duplicate paths");
    }
}

fn keys<'a>(source: &'a Value, paths: &mut BTreeSet<&'a str>, places: (&Path, &Path), errors: &mut Errors) {
    let (volume, path) = places;
    if text(source, "name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    for (at, item) in list(source, "items").iter().enumerate() {
        key_to_path(item, &path.child("items").index(at), errors);
        once(text(item, "path"), text(source, "name"), paths, volume, errors);
    }
}

fn token(token: &Value, volume: &Path, path: &Path, errors: &mut Errors) {
    let place = path.child("expirationSeconds");
    if let Some(seconds) = number(token, "expirationSeconds") {
        if seconds < SHORTEST {
            errors.invalid(&place, &seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > LONGEST {
            errors.invalid(&place, &seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
    let file = text(token, "path");
    if file.is_empty() {
        errors.required(&volume.child("path"), "");
    } else {
        stays_below(file, &volume.child("path"), errors);
    }
}

fn bundle(bundle: &Value, path: &Path, errors: &mut Errors) {
    match ["name", "signerName"].map(|field| held(bundle, field).is_some()) {
        [true, true] => {
            let shown = As(bundle, &CLUSTER_TRUST_BUNDLE);
            errors.invalid(path, &shown, "only one of name and signerName may be used");
        }
        [true, false] => named_bundle(bundle, &path.child("name"), path, errors),
        [false, true] => {
            let signer = text(bundle, "signerName");
            if signer.is_empty() {
                errors.required(&path.child("signerName"), "must be a valid signer name");
            } else if !signer.contains('/') {
                let why = "must be a fully qualified domain and path of the form \"example.com/signer-name\"";
                errors.invalid(&path.child("signerName"), signer, why);
            }
            metadata::label_selector(&bundle["labelSelector"], &path.child("labelSelector"), errors);
        }
        [false, false] => errors.required(path, "either name or signerName must be specified"),
    }
    if text(bundle, "path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    stays_below(text(bundle, "path"), &path.child("path"), errors);
}

fn named_bundle(bundle: &Value, place: &Path, path: &Path, errors: &mut Errors) {
    let name = text(bundle, "name");
    if name.is_empty() {
        errors.required(place, "must be a valid object name");
    }
    // What stands before the last colon names a signer.
    let own = name.rsplit_once(':').map_or(name, |(_, own)| own);
    for why in names::dns1123_subdomain(own) {
        errors.invalid(place, name, &format!("not a valid clustertrustbundlename: {why}"));
    }
    if let Some(selector) = held(bundle, "labelSelector") {
        let why = "labelSelector must be unset if name is specified";
        errors.invalid(&path.child("labelSelector"), &As(selector, &LABEL_SELECTOR), why);
    }
}

/// `downwardAPI`
pub(super) fn downward(volume: &Value, path: &Path, errors: &mut Errors) {
    mode(volume, "defaultMode", path, errors);
    for file in list(volume, "items") {
        downward_file(file, path, errors);
    }
}

fn downward_file(file: &Value, path: &Path, errors: &mut Errors) {
    if text(file, "path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    stays_below(text(file, "path"), &path.child("path"), errors);
    match (held(file, "fieldRef"), held(file, "resourceFieldRef")) {
        (Some(field), resource) => {
            field_selector(field, &FILE_FIELDS, &path.child("fieldRef"), errors);
            if resource.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(path, "resource", why);
            }
        }
        (None, Some(resource)) => resource_selector(resource, true, &path.child("resourceFieldRef"), errors),
        (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file, "mode", path, errors);
}
