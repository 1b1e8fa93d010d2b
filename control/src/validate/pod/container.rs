//! Containers: ordinary ones, those that run before them, those added for debugging.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::pod::spec::{Around, word};
use crate::validate::pod::{env, mount, probe, resources, security};
use crate::validate::read::{held, list, number, text};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const RESTART_ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
/// The most rules about restarts, and the most exit codes of one.
const RESTART_RULES: usize = 20;
const EXIT_CODES: usize = 255;
/// What a container added for debugging may not say, in the order of Go's type.
const NOT_FOR_DEBUGGING: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// All containers of a spec.
pub(super) fn check(spec: &Value, around: &Around<'_>, path: &Path, errors: &mut Errors) {
    ordinary(list(spec, "containers"), around, &path.child("containers"), errors);
    initial(spec, around, &path.child("initContainers"), errors);
    debugging(spec, around, &path.child("ephemeralContainers"), errors);
}

fn ordinary(containers: &[Value], around: &Around<'_>, path: &Path, errors: &mut Errors) {
    if containers.is_empty() {
        return errors.required(path, "");
    }
    let mut seen = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        let path = path.index(at);
        each(container, around, &path, errors);
        if !seen.insert(text(container, "name")) {
            errors.duplicate(&path.child("name"), text(container, "name"));
        }
        probe::of_container(container, around.grace, &path, errors);
        restarts(container, &path, errors);
    }
    host_ports(containers.iter().enumerate(), path, errors);
}

fn initial(spec: &Value, around: &Around<'_>, path: &Path, errors: &mut Errors) {
    let mut seen = names_of(spec, &["containers"]);
    for (at, container) in list(spec, "initContainers").iter().enumerate() {
        let (place, name) = (path.index(at), text(container, "name"));
        each(container, around, &place, errors);
        restarts(container, &place, errors);
        if seen.contains(name) {
            errors.duplicate(&place.child("name"), name);
        } else if !name.is_empty() {
            seen.insert(name);
        }
        // They run one after the other: ports of two cannot meet.
        host_ports([(0, container)].into_iter(), path, errors);
        if text(container, "restartPolicy") == "Always" {
            probe::of_container(container, around.grace, &place, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if held(container, field).is_some() {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(&place.child(field), why);
            }
        }
        for (at, policy) in list(container, "resizePolicy").iter().enumerate() {
            if text(policy, "restartPolicy") == "RestartContainer" {
                let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                let place = place.child("resizePolicy").index(at).child("restartPolicy");
                errors.invalid(&place, "RestartContainer", why);
            }
        }
    }
}

fn debugging(spec: &Value, around: &Around<'_>, path: &Path, errors: &mut Errors) {
    let others = names_of(spec, &["containers", "initContainers"]);
    let mut seen = others.clone();
    for (at, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let (path, name) = (path.index(at), text(container, "name"));
        each(container, around, &path, errors);
        image_is_trimmed(container, &path, errors);
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        let why = "cannot be set for an Ephemeral Container";
        for field in NOT_FOR_DEBUGGING.into_iter().filter(|field| is_set(&container[*field])) {
            errors.forbidden(&path.child(field), why);
        }
        for (at, mount) in list(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"].into_iter().filter(|field| !text(mount, field).is_empty()) {
                errors.forbidden(&path.child("volumeMounts").index(at).child(field), why);
            }
        }
    }
}

/// Whether a field is there and is not empty: `resources` may stand there without saying anything.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) => fields.values().any(|field| !field.is_null()),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn names_of<'a>(spec: &'a Value, fields: &[&str]) -> BTreeSet<&'a str> {
    fields.iter().flat_map(|field| list(spec, field)).map(|container| text(container, "name")).collect()
}

/// What all containers must keep.
fn each(container: &Value, around: &Around<'_>, path: &Path, errors: &mut Errors) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.malformed(&path.child("name"), name, &names::dns1123_label(name));
    }
    if text(container, "image").is_empty() {
        errors.required(&path.child("image"), "");
    }
    word(container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], path, errors);
    ports(list(container, "ports"), &path.child("ports"), errors);
    env::variables(list(container, "env"), &path.child("env"), errors);
    env::sources(list(container, "envFrom"), &path.child("envFrom"), errors);
    mount::mounts(container, &around.volumes, &path.child("volumeMounts"), errors);
    mount::devices(container, &around.volumes, &path.child("volumeDevices"), errors);
    word(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path, errors);
    resources::of_container(&container["resources"], &around.claims, &path.child("resources"), errors);
    resize_policies(list(container, "resizePolicy"), around.restart_policy, &path.child("resizePolicy"), errors);
    if let Some(context) = held(container, "securityContext") {
        security::of_container(context, around.host_users, &path.child("securityContext"), errors);
    }
}

/// Of a pod, not of a template: there a program may fill the image in later.
pub(super) fn image_is_trimmed(container: &Value, path: &Path, errors: &mut Errors) {
    let image = text(container, "image");
    if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn ports(ports: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(at), text(port, "name"));
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if wrong.is_empty() && !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            errors.malformed(&path.child("name"), name, &wrong);
        }
        match number(port, "containerPort").unwrap_or(0) {
            0 => errors.required(&path.child("containerPort"), ""),
            own => errors.malformed(&path.child("containerPort"), &own, &names::port_number(own)),
        }
        if let Some(host) = number(port, "hostPort").filter(|host| *host != 0) {
            errors.malformed(&path.child("hostPort"), &host, &names::port_number(host));
        }
        word(port, "protocol", &PROTOCOLS, &path, errors);
    }
}

/// A port of the node's address can be had once.
fn host_ports<'a>(containers: impl Iterator<Item = (usize, &'a Value)>, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, container) in containers {
        for (port_at, port) in list(container, "ports").iter().enumerate() {
            let Some(host) = number(port, "hostPort").filter(|host| *host != 0) else { continue };
            let protocol = Some(text(port, "protocol")).filter(|given| !given.is_empty()).unwrap_or("TCP");
            let taken = format!("{protocol}/{}/{host}", text(port, "hostIP"));
            if !seen.insert(taken.clone()) {
                errors.duplicate(&path.index(at).child("ports").index(port_at).child("hostPort"), &taken);
            }
        }
    }
}

fn resize_policies(policies: &[Value], restart_policy: &str, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, policy) in policies.iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !seen.insert(resource) {
            errors.duplicate(&path.index(at), resource);
        }
        for (given, words) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])] {
            if given.is_empty() {
                errors.required(path, "");
            } else if !words.contains(&given) {
                errors.not_supported(path, given, &words);
            }
        }
        if restart_policy == "Never" && restart != "NotRequired" {
            errors.invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

/// `restartPolicy` of a container, and its rules.
fn restarts(container: &Value, path: &Path, errors: &mut Errors) {
    let (rules, place) = (list(container, "restartPolicyRules"), path.child("restartPolicy"));
    match held(container, "restartPolicy") {
        None if !rules.is_empty() => errors.required(&place, "must specify restartPolicy when restart rules are used"),
        Some(policy) if !RESTART_POLICIES.contains(&policy.as_str().unwrap_or_default()) => {
            errors.not_supported(&place, policy, &RESTART_POLICIES);
        }
        _ => {}
    }
    if rules.len() > RESTART_RULES {
        errors.too_many(&path.child("restartPolicyRules"), rules.len(), RESTART_RULES);
    }
    for (at, rule) in rules.iter().enumerate() {
        let path = path.child("restartPolicyRules").index(at);
        if !RESTART_ACTIONS.contains(&text(rule, "action")) {
            errors.not_supported(&path.child("action"), text(rule, "action"), &RESTART_ACTIONS);
        }
        let place = path.child("exitCodes");
        let Some(codes) = held(rule, "exitCodes") else {
            errors.required(&place, "must be specified");
            continue;
        };
        let operators = ["In", "NotIn"];
        if !operators.contains(&text(codes, "operator")) {
            errors.not_supported(&place.child("operator"), text(codes, "operator"), &operators);
        }
        let count = list(codes, "values").len();
        if count > EXIT_CODES {
            errors.too_many(&place.child("values"), count, EXIT_CODES);
        }
    }
}
