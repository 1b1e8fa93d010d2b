//! Annotations that say what fields say today, and a few that mean something of their own.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::pod::containers;
use crate::validate::pod::volume::descends;
use crate::validate::read::{entries, held, text};
use crate::validate::show::quoted;

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Annotations of a pod or template. `path` leads to them.
pub(super) fn check(metadata: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(annotations) = held(metadata, "annotations") else { return };
    if held(annotations, MIRROR).is_some() && text(spec, "nodeName").is_empty() {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&path.key(MIRROR), &annotations[MIRROR], why);
    }
    let cost = text(annotations, DELETION_COST);
    if held(annotations, DELETION_COST).is_some() && !is_cost(cost) {
        errors.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
    }
    if held(annotations, SECCOMP_POD).is_some() {
        seccomp(text(annotations, SECCOMP_POD), &path.child(SECCOMP_POD), errors);
    }
    for (key, value) in entries(metadata, "annotations") {
        let value = value.as_str().unwrap_or_default();
        if key.starts_with(SECCOMP) {
            seccomp(value, &path.child(key), errors);
        }
        if let Some(container) = key.strip_prefix(APP_ARMOR) {
            let place = path.key(key);
            let known = |(held, _): (&Value, Path)| text(held, "name") == container;
            if !containers(spec, path).any(known) {
                errors.invalid(&place, container, "container not found");
            }
            if !matches!(value, "" | "runtime/default" | "unconfined") && !value.starts_with("localhost/") {
                errors.invalid(&place, value, &format!("invalid AppArmor profile name: {}", quoted(value)));
            }
        }
    }
}

fn is_cost(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical =
        text == "0" || digits.starts_with(|first: char| matches!(first, '1'..='9')) || text.starts_with('-');
    canonical && text.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, path: &Path, errors: &mut Errors) {
    if let Some(own) = profile.strip_prefix("localhost/") {
        descends(own, path, errors);
    } else if !matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        errors.invalid(path, profile, "must be a valid seccomp profile");
    }
}

/// Where an annotation and a field say both how something is confined, they must say the same.
pub(super) fn agree(metadata: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let annotations = &metadata["annotations"];
    if annotations.is_null() {
        return;
    }
    let context = path.child("securityContext");
    let whole = &spec["securityContext"];
    same("seccomp", &annotations[SECCOMP_POD], &whole["seccompProfile"], &context.child("seccompProfile"), errors);
    for (container, path) in containers(spec, path) {
        let key = format!("{SECCOMP}{}", text(container, "name"));
        let place = path.child("securityContext").child("seccompProfile");
        same("seccomp", &annotations[&key], &container["securityContext"]["seccompProfile"], &place, errors);
    }
    if text(&spec["os"], "name") == "windows" {
        return;
    }
    for (container, path) in containers(spec, path) {
        let own = held(&container["securityContext"], "appArmorProfile").unwrap_or(&whole["appArmorProfile"]);
        let key = format!("{APP_ARMOR}{}", text(container, "name"));
        same("apparmor", &annotations[&key], own, &path.child("securityContext").child("appArmorProfile"), errors);
    }
}

fn same(what: &str, annotation: &Value, field: &Value, path: &Path, errors: &mut Errors) {
    let Some(annotation) = annotation.as_str() else { return };
    let fits = match text(field, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default"),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(profile) if profile == text(field, "localhostProfile") => true,
            Some(_) => {
                let why = format!("{what} profile in annotation and field must match");
                return errors.forbidden(&path.child("localhostProfile"), &why);
            }
            None => false,
        },
        _ => true,
    };
    if !fits {
        errors.forbidden(&path.child("type"), &format!("{what} type in annotation and field must match"));
    }
}

/// Annotations that stay as they were made.
pub(super) fn kept(old: &Value, new: &Value, path: &Path, errors: &mut Errors) {
    let what = |key: &str| {
        if key.starts_with(APP_ARMOR) {
            Some("AppArmor annotations")
        } else {
            (key == MIRROR).then_some("mirror pod annotation")
        }
    };
    for (key, value) in entries(old, "annotations") {
        if let Some(what) = what(key).filter(|_| new["annotations"].get(key) != Some(value)) {
            errors.forbidden(&path.key(key), &format!("may not remove or update {what}"));
        }
    }
    for (key, _) in entries(new, "annotations") {
        if let Some(what) = what(key).filter(|_| old["annotations"].get(key).is_none()) {
            errors.forbidden(&path.key(key), &format!("may not add {what}"));
        }
    }
}

/// Whether a pod is the shadow of one that its node started by itself.
pub(super) fn is_mirror(pod: &Value) -> bool {
    held(&pod["metadata"]["annotations"], MIRROR).is_some()
}
