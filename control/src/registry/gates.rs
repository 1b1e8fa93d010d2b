//! PURE: fields of features that are off: nobody sets them, and objects that have them keep them.
//!
//! A row per field and gate. Source: k8s.io/kubernetes `pkg/features/kube_features.go` for which are off in 1.36;
//! `pkg/api/pod/util.go` and `pkg/registry/*/*/strategy.go` for what is dropped.

use serde_json::Value;

use crate::kind::Kind;

/// Where a field lies.
#[derive(Clone, Copy)]
enum Place {
    /// In the pod of every kind that has one.
    Pod,
    /// In the objects of a kind.
    Kind(&'static str, &'static str),
}
use Place::{Kind as In, Pod};

/// A field of a feature that is off.
struct Row {
    gate: &'static str,
    place: Place,
    /// Names joined by dots; `[]` stands for each item of a list.
    path: &'static str,
    /// What holds nothing else goes with it.
    with_holder: bool,
}

const fn row(gate: &'static str, place: Place, path: &'static str) -> Row {
    Row { gate, place, path, with_holder: false }
}

const fn whole(gate: &'static str, place: Place, path: &'static str) -> Row {
    Row { gate, place, path, with_holder: true }
}

/// Sorted by gate.
const TABLE: &[Row] = &[
    row("ClusterTrustBundleProjection", Pod, "volumes.[].projected.sources.[].clusterTrustBundle"),
    whole("ContainerStopSignals", Pod, "containers.[].lifecycle.stopSignal"),
    whole("ContainerStopSignals", Pod, "initContainers.[].lifecycle.stopSignal"),
    row("CoordinatedLeaderElection", In("coordination.k8s.io", "leases"), "spec.preferredHolder"),
    row("CoordinatedLeaderElection", In("coordination.k8s.io", "leases"), "spec.strategy"),
    row("DynamicKubeletConfig", In("", "nodes"), "spec.configSource"),
    row("DynamicKubeletConfig", In("", "nodes"), "status.config"),
    row("GenericWorkload", Pod, "schedulingGroup"),
    row("PodCertificateRequest", Pod, "volumes.[].projected.sources.[].podCertificate"),
];

/// Takes what belongs to features that are off from an object that is about to be written; `old` is none for a new one.
pub fn drop_disabled(kind: &Kind, old: Option<&Value>, new: &mut Value) {
    for row in TABLE {
        let pod = match (kind.group, kind.resource) {
            ("", "pods") => "/spec",
            ("apps", "deployments" | "replicasets") => "/spec/template/spec",
            _ => "",
        };
        let root = match row.place {
            Pod if !pod.is_empty() => pod,
            In(group, resource) if (kind.group, kind.resource) == (group, resource) => "",
            _ => continue,
        };
        let path: Vec<&str> = row.path.split('.').collect();
        let used = || old.and_then(|old| old.pointer(root)).is_some_and(|old| uses(row, old));
        if let Some(held) = new.pointer_mut(root).filter(|held| has(held, &path) && !used()) {
            take(held, &path, row.with_holder);
        }
    }
}

/// Whether an object uses a feature, in whichever field.
fn uses(row: &Row, old: &Value) -> bool {
    let fields = TABLE.iter().filter(|other| other.gate == row.gate);
    fields.map(|other| other.path.split('.').collect::<Vec<_>>()).any(|path| has(old, &path))
}

fn has(value: &Value, path: &[&str]) -> bool {
    match path {
        [] => !value.is_null(),
        ["[]", rest @ ..] => value.as_array().is_some_and(|items| items.iter().any(|item| has(item, rest))),
        [name, rest @ ..] => value.get(*name).is_some_and(|inner| has(inner, rest)),
    }
}

fn take(value: &mut Value, path: &[&str], with_holder: bool) {
    match path {
        ["[]", rest @ ..] => {
            value.as_array_mut().into_iter().flatten().for_each(|item| take(item, rest, with_holder));
        }
        [name] => {
            if let Some(fields) = value.as_object_mut() {
                fields.remove(*name);
            }
        }
        [name, rest @ ..] => {
            let Some(inner) = value.get_mut(*name) else { return };
            let held = has(inner, rest);
            take(inner, rest, with_holder);
            if with_holder && held && rest.len() == 1 && inner.as_object().is_some_and(serde_json::Map::is_empty) {
                take(value, &[name], false);
            }
        }
        [] => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind;

    fn pod(lifecycle: &Value) -> Value {
        json!({ "spec": { "containers": [{ "name": "a", "lifecycle": lifecycle }], "schedulingGroup": {} } })
    }

    #[test]
    fn fields_of_features_that_are_off_are_dropped_unless_they_are_used() {
        let pods = kind::core("pods");
        let mut new = pod(&json!({ "stopSignal": "SIGTERM" }));
        drop_disabled(pods, None, &mut new);
        assert_eq!(new, json!({ "spec": { "containers": [{ "name": "a" }] } }));
        let hook = json!({ "sleep": { "seconds": 1 } });
        let mut new = pod(&json!({ "stopSignal": "SIGTERM", "preStop": hook }));
        let old = new.clone();
        drop_disabled(pods, Some(&old), &mut new);
        assert_eq!(new, old);
        drop_disabled(pods, Some(&json!({ "spec": { "containers": [] } })), &mut new);
        assert_eq!(new["spec"]["containers"][0]["lifecycle"], json!({ "preStop": hook }));
        let deployments = kind::find("apps", "v1", "deployments").expect("a row");
        let mut deployment = json!({ "spec": { "template": pod(&json!({ "stopSignal": "SIGTERM" })) } });
        drop_disabled(deployments, None, &mut deployment);
        assert_eq!(deployment["spec"]["template"]["spec"], json!({ "containers": [{ "name": "a" }] }));
    }

    #[test]
    fn rows_are_sorted_by_gate() {
        assert!(TABLE.is_sorted_by(|a, b| (a.gate, a.path) < (b.gate, b.path)));
    }
}
