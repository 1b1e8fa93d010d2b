//! PodSecurity: the levels that a namespace's labels ask for, enforced on pods and warned of on what makes pods.
//!
//! Source: k8s.io/pod-security-admission `admission/admission.go`, `api/helpers.go`.

mod baseline;
mod policy;
mod restricted;
mod verdict;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Cluster, Operation, Request};
use crate::kind;
use crate::registry::prepare::meta_str;
use crate::status::Status;
use policy::{Level, Leveled, Policy};
use verdict::{Pod, Violation};

/// Pods of a namespace looked at when its level changes.
const PODS_MAX: usize = 3000;

/// Kinds that make pods, and where in them the pod is.
const MAKERS: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

pub(super) fn validate(request: &Request<'_>, cluster: &dyn Cluster, object: &Value) -> Result<Vec<String>, Status> {
    if request.operation == Operation::Delete || !request.subresource.is_empty() {
        return Ok(Vec::new());
    }
    match (request.kind.group, request.kind.resource) {
        ("", "namespaces") => namespace(request, cluster, object),
        ("", "pods") => pod(request, cluster, object),
        (group, resource) => {
            let maker = MAKERS.iter().find(|row| (row.0, row.1) == (group, resource));
            let template = maker.and_then(|(.., place)| object.pointer(place));
            Ok(template.map_or_else(Vec::new, |template| warn(&policy_of(request, cluster), template)))
        }
    }
}

fn policy_of(request: &Request<'_>, cluster: &dyn Cluster) -> Policy {
    let namespace = cluster.get(kind::core("namespaces"), "", request.namespace);
    namespace.map_or_else(Policy::default, |namespace| policy::of(&namespace["metadata"]["labels"]).0)
}

/// What a pod would break at a level.
fn violations(level: Leveled, template: &Value) -> Vec<Violation> {
    let pod = Pod { metadata: &template["metadata"], spec: &template["spec"] };
    let baseline = |hidden: &[&str]| baseline::violations(&pod, level.version, hidden);
    match level.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline(&[]),
        Level::Restricted => {
            let mut all = baseline(&restricted::overrides(level.version));
            all.extend(restricted::violations(&pod, level.version));
            all
        }
    }
}

fn warn(policy: &Policy, template: &Value) -> Vec<String> {
    let broken = violations(policy.warn, template);
    if broken.is_empty() {
        return Vec::new();
    }
    vec![format!("would violate PodSecurity \"{}\": {}", policy.warn, verdict::detailed(&broken))]
}

fn pod(request: &Request<'_>, cluster: &dyn Cluster, pod: &Value) -> Result<Vec<String>, Status> {
    if request.old.is_some_and(|old| !significant(old, pod)) {
        return Ok(Vec::new());
    }
    let policy = policy_of(request, cluster);
    let broken = violations(policy.enforce, pod);
    if broken.is_empty() {
        return Ok(warn(&policy, pod));
    }
    let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, verdict::detailed(&broken));
    Err(request.forbid(pod, &why))
}

/// Whether the next version of a pod could break something that the last one did not.
fn significant(old: &Value, new: &Value) -> bool {
    let annotations = |pod: &Value| -> BTreeMap<String, Value> {
        let all = pod["metadata"]["annotations"].as_object().into_iter().flatten();
        let ours = |key: &str| {
            key.starts_with("container.apparmor.security.beta.kubernetes.io/")
                || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
                || key == "seccomp.security.alpha.kubernetes.io/pod"
        };
        all.filter(|(key, _)| ours(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let spec = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                container.remove("image");
            }
        }
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|field, value| {
                !matches!(field.as_str(), "activeDeadlineSeconds" | "tolerations") && !value.is_null()
            });
        }
        spec
    };
    annotations(old) != annotations(new) || spec(old) != spec(new)
}

/// Labels must be right; pods that are there already are named when they would not be let in any more.
fn namespace(request: &Request<'_>, cluster: &dyn Cluster, object: &Value) -> Result<Vec<String>, Status> {
    let (new, errors) = policy::of(&object["metadata"]["labels"]);
    let (old, known) = request.old.map_or_else(Default::default, |old| policy::of(&old["metadata"]["labels"]));
    if !errors.is_empty() && (known.is_empty() || known != errors) {
        return Err(Status::invalid("", "Namespace", meta_str(object, "name"), &errors));
    }
    let relaxed = new.enforce.version == old.enforce.version && new.enforce.level <= old.enforce.level;
    if request.old.is_none() || new.enforce == old.enforce || new.enforce.level == Level::Privileged || relaxed {
        return Ok(Vec::new());
    }
    Ok(existing(new.enforce, request.name, &cluster.list(kind::core("pods"), request.name)))
}

fn existing(level: Leveled, namespace: &str, pods: &[Value]) -> Vec<String> {
    let mut broken: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let reasons = verdict::reasons(&violations(level, pod));
        if !reasons.is_empty() {
            broken.entry(reasons).or_insert((meta_str(pod, "name"), 0)).1 += 1;
        }
    }
    let mut lines: Vec<String> = broken
        .iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            many => format!("{name} (and {} other pods): {reasons}", many - 1),
        })
        .collect();
    lines.sort();
    if !lines.is_empty() {
        let text =
            format!("existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{level}\"");
        lines.insert(0, text);
    }
    lines
}

#[cfg(test)]
mod tests;
