//! The spec of a pod or of a template. Source: k8s.io/kubernetes `ValidatePodSpec`, whose order the errors keep.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::pod::{
    Owner, affinity, container, env, network, resources, security, tolerations, volume, windows,
};
use crate::validate::read::{flag, held, list, number, text};
use crate::validate::show::{As, POD_RESOURCE_CLAIM};
use crate::validate::{metadata, names};

/// What containers must know of the pod around them.
pub(super) struct Around<'a> {
    /// Volumes without fault, by name.
    pub(super) volumes: BTreeMap<&'a str, &'a Value>,
    /// Names of its resource claims.
    pub(super) claims: BTreeSet<&'a str>,
    /// `terminationGracePeriodSeconds`
    pub(super) grace: Option<i64>,
    /// `restartPolicy`
    pub(super) restart_policy: &'a str,
    /// Whether its users are those of the node.
    pub(super) host_users: bool,
}

pub(super) fn check(spec: &Value, owner: Owner<'_>, path: &Path, errors: &mut Errors) {
    let around = Around {
        volumes: volume::check(spec, owner, &path.child("volumes"), errors),
        claims: resource_claims(list(spec, "resourceClaims"), &path.child("resourceClaims"), errors),
        grace: number(spec, "terminationGracePeriodSeconds"),
        restart_policy: text(spec, "restartPolicy"),
        host_users: held(spec, "hostUsers").is_none_or(|own| own != false),
    };
    container::check(spec, &around, path, errors);
    if let Some(held) = held(spec, "resources") {
        resources::of_pod(spec, held, &around.claims, &path.child("resources"), errors);
    }
    if flag(spec, "hostNetwork") {
        network::host_ports(spec, matches!(owner, Owner::Pod(_)), &path.child("containers"), errors);
    }
    word(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path, errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    word(spec, "dnsPolicy", &policies, path, errors);
    metadata::labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    security::of_pod(spec, &path.child("securityContext"), errors);
    affinity::check(&spec["affinity"], &path.child("affinity"), errors);
    network::dns(spec, &path.child("dnsConfig"), errors);
    gates(spec, path, errors);
    affinity::spread(list(spec, "topologySpreadConstraints"), &path.child("topologySpreadConstraints"), errors);
    windows::host_process(spec, path, errors);
    if !around.host_users {
        security::own_users(spec, path, errors);
    }
    network::host_name_override(spec, path, errors);
    names_of_others(spec, path, errors);
    network::host_name(spec, path, errors);
    tolerations::check(list(spec, "tolerations"), &path.child("tolerations"), errors);
    network::host_aliases(list(spec, "hostAliases"), &path.child("hostAliases"), errors);
    classes(spec, path, errors);
    windows::system(spec, path, errors);
    env::file_volumes(spec, path, errors);
}

/// A word out of a few; empty is what defaults fill.
pub(super) fn word(object: &Value, field: &str, words: &[&str], path: &Path, errors: &mut Errors) {
    let given = text(object, field);
    if !given.is_empty() && !words.contains(&given) {
        errors.not_supported(&path.child(field), given, words);
    }
}

/// A word out of a few; one that is there but empty is none of them.
pub(super) fn word_if_held(object: &Value, field: &str, words: &[&str], path: &Path, errors: &mut Errors) {
    if held(object, field).is_some() && !words.contains(&text(object, field)) {
        errors.not_supported(&path.child(field), text(object, field), words);
    }
}

fn resource_claims<'a>(claims: &'a [Value], path: &Path, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (at, claim) in claims.iter().enumerate() {
        let (path, name) = (path.index(at), text(claim, "name"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if seen.insert(name) {
            errors.malformed(&path.child("name"), name, &names::dns1123_label(name));
        } else {
            errors.duplicate(&path.child("name"), name);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.map(|field| held(claim, field)) {
            [Some(_), Some(_)] => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&path, &As(claim, &POD_RESOURCE_CLAIM), why);
            }
            [None, None] => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&path, &As(claim, &POD_RESOURCE_CLAIM), why);
            }
            _ => {}
        }
        for source in sources.into_iter().filter(|source| held(claim, source).is_some()) {
            let name = text(claim, source);
            errors.malformed(&path.child(source), name, &names::dns1123_subdomain(name));
        }
    }
    seen
}

fn gates(spec: &Value, path: &Path, errors: &mut Errors) {
    for (at, gate) in list(spec, "readinessGates").iter().enumerate() {
        let path = path.child("readinessGates").index(at).child("conditionType");
        let condition = text(gate, "conditionType");
        errors.malformed(&path, condition, &names::qualified_name(condition));
    }
    let mut seen = BTreeSet::new();
    for (at, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (path, name) = (path.child("schedulingGates").index(at), text(gate, "name"));
        errors.malformed(&path, name, &names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

fn names_of_others(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["serviceAccountName", "nodeName"] {
        let name = text(spec, field);
        if !name.is_empty() {
            errors.malformed(&path.child(field), name, &names::dns1123_subdomain(name));
        }
    }
    if let Some(seconds) = number(spec, "activeDeadlineSeconds") {
        let wrong = names::in_range(seconds, 1, i64::from(i32::MAX));
        errors.malformed(&path.child("activeDeadlineSeconds"), &seconds, &wrong);
    }
}

fn classes(spec: &Value, path: &Path, errors: &mut Errors) {
    let priority = text(spec, "priorityClassName");
    if !priority.is_empty() {
        errors.malformed(&path.child("priorityClassName"), priority, &names::dns1123_subdomain(priority));
    }
    if held(spec, "runtimeClassName").is_some() {
        let runtime = text(spec, "runtimeClassName");
        errors.malformed(&path.child("runtimeClassName"), runtime, &names::dns1123_subdomain(runtime));
    }
    if held(spec, "preemptionPolicy").is_some() {
        if text(spec, "preemptionPolicy").is_empty() {
            errors.required(&path.child("preemptionPolicy"), "");
        }
        word(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path, errors);
    }
    if let Some(overhead) = held(spec, "overhead") {
        resources::overhead(overhead, &path.child("overhead"), errors);
    }
}
