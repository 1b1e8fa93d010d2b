//! The status of a pod, as its node reports it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::pod::{annotations, security};
use crate::validate::read::{held, list, number, text};
use crate::validate::root;
use crate::validate::show::{As, IP};

/// The longest word on how a device fares. Units: bytes.
const MESSAGE: usize = 1024;
const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// A write of `/status`.
pub(super) fn update(old: &Value, new: &Value, errors: &mut Errors) {
    let metadata = root().child("metadata");
    annotations::kept(&old["metadata"], &new["metadata"], &metadata.child("annotations"), errors);
    annotations::check(&new["metadata"], &new["spec"], &metadata.child("annotations"), errors);
    let (before, after, path) = (&old["status"], &new["status"], root().child("status"));
    conditions(after, &path.child("conditions"), errors);
    if text(&old["spec"], "nodeName") != text(&new["spec"], "nodeName") {
        errors.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let nominated = text(after, "nominatedNodeName");
    if !nominated.is_empty() && nominated != text(before, "nominatedNodeName") {
        errors.malformed(&path.child("nominatedNodeName"), nominated, &names::dns1123_subdomain(nominated));
        if !text(&old["spec"], "nodeName").is_empty() {
            let why = "may not be set on pods that are already bound to a node";
            errors.forbidden(&path.child("nominatedNodeName"), why);
        }
    }
    generation(after, &path, errors);
    if text(before, "qosClass") != text(after, "qosClass") {
        errors.invalid(&path.child("qosClass"), text(after, "qosClass"), "field is immutable");
    }
    for (field, containers) in STATUSES {
        stay_ended((before, after), field, &old["spec"], containers, &path.child(field), errors);
    }
    claims(after, &new["spec"], &path.child("resourceClaimStatuses"), errors);
    addresses(after, "podIPs", &path.child("podIPs"), errors);
    if let [first, ..] = list(after, "hostIPs")
        && text(first, "ip") != text(after, "hostIP")
    {
        let place = path.child("hostIPs").index(0).child("ip");
        errors.invalid(&place, text(first, "ip"), "must be equal to `hostIP`");
    }
    addresses(after, "hostIPs", &path.child("hostIPs"), errors);
    for (field, _) in STATUSES {
        users(after, field, text(&new["spec"]["os"], "name"), &path.child(field), errors);
    }
    for (field, containers) in STATUSES {
        health(after, field, list(&new["spec"], containers), &path.child(field), errors);
    }
}

/// `observedGeneration`
fn generation(object: &Value, path: &Path, errors: &mut Errors) {
    if let Some(seen) = number(object, "observedGeneration").filter(|seen| *seen < 0) {
        errors.invalid(&path.child("observedGeneration"), &seen, "must be a non-negative integer");
    }
}

fn conditions(status: &Value, path: &Path, errors: &mut Errors) {
    for (at, condition) in list(status, "conditions").iter().enumerate() {
        let name = text(condition, "type");
        generation(condition, &path.index(at), errors);
        if !matches!(name, "PodScheduled" | "Ready" | "Initialized") {
            errors.malformed(&path.index(at).child("Type"), name, &names::qualified_name(name));
        }
    }
}

/// A container that has ended for good does not run again.
fn stay_ended(
    (before, after): (&Value, &Value),
    field: &str,
    spec: &Value,
    containers: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let ephemeral = containers == "ephemeralContainers";
    if !ephemeral && all_may_restart(spec) {
        return;
    }
    for (at, status) in list(before, field).iter().enumerate() {
        let Some(end) = held(&status["state"], "terminated") else { continue };
        let name = text(status, "name");
        let own = list(spec, containers).iter().find(|container| text(container, "name") == name);
        let code = number(end, "exitCode").unwrap_or(0);
        if !ephemeral && own.is_some_and(|own| restarts(own, text(spec, "restartPolicy"), code)) {
            continue;
        }
        let runs = |status: &&Value| text(status, "name") == name && held(&status["state"], "terminated").is_none();
        let most = if ephemeral { usize::MAX } else { 1 };
        for _ in list(after, field).iter().filter(runs).take(most) {
            errors.forbidden(&path.index(at).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

/// Whether the end of some container can start all of them again.
fn all_may_restart(spec: &Value) -> bool {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|field| list(spec, field))
        .flat_map(|container| list(container, "restartPolicyRules"))
        .any(|rule| text(rule, "action") == "RestartAllContainers")
}

/// Whether a container that has ended so starts again. `whole`: the policy of its pod.
fn restarts(container: &Value, whole: &str, code: i64) -> bool {
    let own = text(container, "restartPolicy");
    let fits = |rule: &Value| {
        let codes = &rule["exitCodes"];
        let listed = list(codes, "values").iter().any(|value| value.as_i64() == Some(code));
        match text(codes, "operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    if !own.is_empty() && list(container, "restartPolicyRules").iter().any(fits) {
        return true;
    }
    match if own.is_empty() { whole } else { own } {
        "OnFailure" => code != 0,
        policy => policy != "Never",
    }
}

fn claims(status: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let known: Vec<&str> = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name")).collect();
    let mut seen = BTreeSet::new();
    for (at, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let (place, name) = (path.index(at).child("name"), text(claim, "name"));
        if !known.contains(&name) {
            errors.invalid(&place, name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name) {
            errors.duplicate(&place, name);
        }
        if held(claim, "resourceClaimName").is_some() {
            let own = text(claim, "resourceClaimName");
            errors.malformed(&path.index(at).child("resourceClaimName"), own, &names::dns1123_subdomain(own));
        }
    }
}

/// At most one address of each family.
fn addresses(status: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let held = list(status, field);
    for (at, entry) in held.iter().enumerate() {
        errors.malformed(&path.index(at), text(entry, "ip"), &names::ip(text(entry, "ip")));
    }
    if held.len() < 2 {
        return;
    }
    let families: Vec<bool> =
        held.iter().filter_map(|entry| text(entry, "ip").parse::<IpAddr>().ok()).map(|ip| ip.is_ipv4()).collect();
    if held.len() > 2 || !(families.contains(&true) && families.contains(&false)) {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid(path, &As(&status[field], &IP), why);
    }
}

fn users(status: &Value, field: &str, system: &str, path: &Path, errors: &mut Errors) {
    for (at, container) in list(status, field).iter().enumerate() {
        let Some(user) = held(&container["user"], "linux") else { continue };
        let path = path.index(at).child("user").child("linux");
        if system == "windows" {
            errors.forbidden(&path, "cannot be set for a windows pod");
            continue;
        }
        for field in ["uid", "gid"] {
            security::id(user, field, &path, errors);
        }
        security::groups(user, &path, errors);
    }
}

/// How devices of a container fare.
fn health(status: &Value, field: &str, containers: &[Value], path: &Path, errors: &mut Errors) {
    for (at, status) in list(status, field).iter().enumerate() {
        let (held, path) = (list(status, "allocatedResourcesStatus"), path.index(at).child("allocatedResourcesStatus"));
        if field == "ephemeralContainerStatuses" {
            if !held.is_empty() {
                errors.forbidden(&path, "must not be specified in container status");
            }
            continue;
        }
        let container = containers.iter().find(|container| text(container, "name") == text(status, "name"));
        for (at, resource) in held.iter().enumerate() {
            let (path, name) = (path.index(at), text(resource, "name"));
            if let Some(why) = container.and_then(|container| unknown_resource(container, name)) {
                errors.invalid(&path.child("name"), name, why);
            }
            let mut seen = BTreeSet::new();
            for (at, unit) in list(resource, "resources").iter().enumerate() {
                let (path, id) = (path.child("resources").index(at), text(unit, "resourceID"));
                let words = ["Healthy", "Unhealthy", "Unknown"];
                if !words.contains(&text(unit, "health")) {
                    errors.not_supported(&path.child("health"), text(unit, "health"), &words);
                }
                if !unit["message"].is_null() {
                    message(text(unit, "message"), &path.child("message"), errors);
                }
                if !seen.insert(id) {
                    errors.duplicate(&path.child("resourceID"), id);
                }
            }
        }
    }
}

fn message(message: &str, path: &Path, errors: &mut Errors) {
    if message.is_empty() {
        errors.required(path, "must be non-empty if specified");
    } else if message.len() > MESSAGE {
        errors.too_long(path, MESSAGE);
    }
}

/// Why a resource is none of a container's.
fn unknown_resource(container: &Value, name: &str) -> Option<&'static str> {
    if !name.starts_with("claim:") {
        let known = held(&container["resources"]["requests"], name).is_some();
        return (!known).then_some("must match one of the container's resource requests");
    }
    let fits = |claim: &Value| {
        let request = Some(text(claim, "request")).filter(|request| !request.is_empty());
        let named = format!("claim:{}", text(claim, "name"));
        request.map_or(named.clone(), |request| format!("{named}/{request}")) == name
    };
    let known = list(&container["resources"], "claims").iter().any(fits);
    (!known).then_some(
        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
         'claim:<claimName>' if request is empty",
    )
}
