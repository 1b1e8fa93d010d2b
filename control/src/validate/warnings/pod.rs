//! What is said of pods and of templates of pods.
//!
//! Source: k8s.io/kubernetes `pkg/api/pod/warnings.go`, in its order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{NODE_LABELS, SOURCES, claim, fractional, renamed_keys};
use crate::validate::field::Path;
use crate::validate::pod::containers;
use crate::validate::read::{entries, held, list, number, text};

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Annotations that became fields, and what is said of them.
const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
/// What is said of seccomp's.
const USE_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const NO_POD: &str = "a null labelSelector results in matching no pod";

/// Everything about a pod, or a template of pods; `path` leads to it.
pub(super) fn check(meta: &Value, spec: &Value, path: &Path, template: bool, said: &mut Vec<String>) {
    let (here, annotations) = (path.child("spec"), path.child("metadata").child("annotations"));
    nodes(spec, &here, said);
    for (key, why) in ANNOTATIONS.iter().filter(|(key, _)| held(&meta["annotations"], key).is_some()) {
        said.push(format!("{}: {why}", annotations.key(key)));
    }
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        of_volume(volume, &here.child("volumes").index(at), said);
    }
    twice(spec, "hostAliases", "ip", &here, said);
    twice(spec, "imagePullSecrets", "name", &here, said);
    for (at, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            said.push(format!("{}: invalid empty name \"\"", here.child("imagePullSecrets").index(at).child("name")));
        }
    }
    for name in ["memory", "ephemeral-storage"] {
        fractional(&spec["overhead"][name], &here.child("overhead").key(name), said);
    }
    let profile = |holder: &Value, kind: &str| held(&holder["securityContext"], kind).is_some();
    if held(&meta["annotations"], SECCOMP_POD).is_some() && !profile(spec, "seccompProfile") {
        said.push(format!("{}: {USE_SECCOMP}", annotations.key(SECCOMP_POD)));
    }
    for (container, place) in containers(spec, &here) {
        let key = format!("{SECCOMP}{}", text(container, "name"));
        if held(&meta["annotations"], &key).is_some() && !profile(container, "seccompProfile") {
            said.push(format!("{}: {USE_SECCOMP}", annotations.key(&key)));
        }
        let key = format!("{APP_ARMOR}{}", text(container, "name"));
        let confined = profile(spec, "appArmorProfile") || profile(container, "appArmorProfile");
        if template && held(&meta["annotations"], &key).is_some() && !confined {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            said.push(format!("{}: {why}", annotations.key(&key)));
        }
        of_container(container, &place, said);
    }
    ports(spec, &here, said);
    if number(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        said.push(format!("{}: {why}", here.child("terminationGracePeriodSeconds")));
    }
    pod_affinity(&spec["affinity"], &here.child("affinity"), said);
}

/// Labels of nodes that were renamed.
fn nodes(spec: &Value, path: &Path, said: &mut Vec<String>) {
    for (label, _) in entries(spec, "nodeSelector") {
        if let Some((_, since, now)) = NODE_LABELS.iter().find(|row| row.0 == label) {
            let place = path.child("nodeSelector").key(label);
            said.push(format!("{place}: deprecated since {since}; use \"{now}\" instead"));
        }
    }
    let (affinity, here) = (&spec["affinity"]["nodeAffinity"], path.child("affinity").child("nodeAffinity"));
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    for (at, term) in list(&affinity[required], "nodeSelectorTerms").iter().enumerate() {
        let place = here.child(required).child("nodeSelectorTerms").index(at).child("matchExpressions");
        renamed_keys(list(term, "matchExpressions"), &place, said);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (at, term) in list(affinity, preferred).iter().enumerate() {
        let place = here.child(preferred).index(at).child("preference").child("matchExpressions");
        renamed_keys(list(&term["preference"], "matchExpressions"), &place, said);
    }
    for (at, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let (place, key) = (path.child("topologySpreadConstraints").index(at), text(constraint, "topologyKey"));
        if let Some((label, since, now)) = NODE_LABELS.iter().find(|row| row.0 == key) {
            let place = place.child("topologyKey");
            said.push(format!("{place}: {label} is deprecated since {since}; use \"{now}\" instead"));
        }
        if held(constraint, "labelSelector").is_none() {
            said.push(format!("{}: {NO_POD}", place.child("labelSelector")));
        }
    }
}

fn of_volume(volume: &Value, place: &Path, said: &mut Vec<String>) {
    if held(volume, "gitRepo").is_some() {
        said.push(format!("{}: deprecated in v1.11, and disabled by default in v1.33+", place.child("gitRepo")));
    }
    for (field, why) in SOURCES.iter().filter(|(field, _)| held(volume, field).is_some()) {
        // Kubernetes spells one so.
        let shown = if *field == "storageos" { "storageOS" } else { field };
        said.push(format!("{}: {why}", place.child(shown)));
    }
    let template = place.child("ephemeral").child("volumeClaimTemplate").child("spec");
    claim(&volume["ephemeral"]["volumeClaimTemplate"]["spec"], &template, said);
}

/// Items of a list that say the same in a field that tells them apart.
fn twice(spec: &Value, field: &str, key: &str, path: &Path, said: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, item) in list(spec, field).iter().enumerate() {
        let value = text(item, key);
        if !seen.insert(value) {
            said.push(format!("{}: duplicate {key} {value:?}", path.child(field).index(at).child(key)));
        }
    }
}

fn of_container(container: &Value, path: &Path, said: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            let place = path.child("resources").child(kind).key(name);
            fractional(&container["resources"][kind][name], &place, said);
        }
    }
    let mut seen = BTreeSet::new();
    for (at, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        let earlier = format!("$({name})");
        let builds_on = value != earlier && value.contains(&earlier) && held(variable, "valueFrom").is_none();
        if !seen.insert(name) && !builds_on {
            let why = format!("hides previous definition of {name:?}, which may be dropped when using apply");
            said.push(format!("{}: {why}", path.child("env").index(at)));
        }
    }
}

/// Ports that containers share.
fn ports(spec: &Value, path: &Path, said: &mut Vec<String>) {
    let mut all: BTreeMap<(i64, &str), Vec<(&Value, Path)>> = BTreeMap::new();
    for (container, place) in containers(spec, path) {
        for (at, port) in list(container, "ports").iter().enumerate() {
            let (place, on, host) =
                (place.child("ports").index(at), text(port, "hostIP"), number(port, "hostPort").unwrap_or(0));
            let (inside, protocol) = (number(port, "containerPort").unwrap_or(0), text(port, "protocol"));
            if !on.is_empty() && host == 0 {
                let name = text(port, "name");
                let shown =
                    format!("{{Name:{name} HostPort:0 ContainerPort:{inside} Protocol:{protocol} HostIP:{on}}}");
                said.push(format!("{place}: hostIP set without hostPort: {shown}"));
            }
            let others = all.entry((inside, protocol)).or_default();
            for (other, first) in others.iter() {
                let (there, outside) = (text(other, "hostIP"), number(other, "hostPort").unwrap_or(0));
                let why = if on == there && host == outside {
                    "duplicate"
                } else if host == 0 || outside == 0 {
                    "overlapping"
                } else if host == outside && on.is_empty() != there.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                said.push(format!("{place}: {why} port definition with {first}"));
            }
            others.push((port, place));
        }
    }
}

/// Selectors of other pods that select none.
fn pod_affinity(affinity: &Value, path: &Path, said: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (at, term) in list(&affinity[kind], required).iter().enumerate() {
            if held(term, "labelSelector").is_none() {
                let place = path.child(kind).child(required).index(at).child("labelSelector");
                said.push(format!("{place}: {NO_POD}"));
            }
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (at, term) in list(&affinity[kind], preferred).iter().enumerate() {
            if held(&term["podAffinityTerm"], "labelSelector").is_none() {
                let place = path.child(kind).child(preferred).index(at).child("podAffinityTerm");
                said.push(format!("{}: {NO_POD}", place.child("labelSelector")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validate::root;

    fn said(spec: &Value) -> Vec<String> {
        let meta = json!({ "annotations": {
            "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
            "security.alpha.kubernetes.io/sysctls": "",
        } });
        let mut said = Vec::new();
        check(&meta, spec, &root(), true, &mut said);
        said
    }

    #[test]
    fn ports_and_names_that_collide_and_annotations_that_are_fields_now() {
        let port =
            |host: i64, on: &str| json!({ "containerPort": 80, "protocol": "TCP", "hostPort": host, "hostIP": on });
        let spec = json!({
            "hostAliases": [{ "ip": "10.0.0.1" }, { "ip": "10.0.0.1" }],
            "containers": [
                { "name": "a", "ports": [port(0, ""), port(0, "")] },
                { "name": "b", "ports": [port(8, "127.0.0.1"), port(8, ""), port(0, "127.0.0.2")],
                  "env": [{ "name": "A", "value": "1" }, { "name": "A", "value": "$(A)2" }, { "name": "A", "value": "3" }] },
            ],
            "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "z" }] } },
        });
        assert_eq!(
            said(&spec),
            [
                "metadata.annotations[security.alpha.kubernetes.io/sysctls]: non-functional in v1.11+; use the \"sysctls\" field instead",
                "spec.hostAliases[1].ip: duplicate ip \"10.0.0.1\"",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                "spec.containers[1].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[1]",
                "spec.containers[1].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[1]: overlapping port definition with spec.containers[0].ports[1]",
                "spec.containers[1].ports[1]: dangerously ambiguous port definition with spec.containers[1].ports[0]",
                "spec.containers[1].ports[2]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:127.0.0.2}",
                "spec.containers[1].ports[2]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[2]: overlapping port definition with spec.containers[0].ports[1]",
                "spec.containers[1].ports[2]: overlapping port definition with spec.containers[1].ports[0]",
                "spec.containers[1].ports[2]: overlapping port definition with spec.containers[1].ports[1]",
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
            ]
        );
    }
}
