//! PURE: what the server itself writes into objects of a kind, beyond what it does for all of them.
//!
//! Source: k8s.io/kubernetes `pkg/registry/*/*/strategy.go`.

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::registry::{qos, service};

/// Completes a new object; `now` is RFC 3339, whole seconds.
pub fn born(kind: &Kind, object: &mut Value, now: &str) {
    match (kind.group, kind.resource) {
        ("", "persistentvolumes") => object["status"]["lastPhaseTransitionTime"] = now.into(),
        ("", "persistentvolumeclaims") if object["spec"].is_object() => sources(&Value::Null, &mut object["spec"]),
        ("", "pods") => pod(object, now),
        ("", "serviceaccounts") => references(object),
        ("", "services") if object["spec"].is_object() => service::born(&mut object["spec"]),
        _ => {}
    }
}

/// Completes the next version of an object, written through a subresource.
pub fn changed(kind: &Kind, subresource: &str, old: &Value, new: &mut Value, now: &str) {
    match (kind.group, kind.resource, subresource) {
        ("", "persistentvolumeclaims", "") if new["spec"].is_object() => sources(&old["spec"], &mut new["spec"]),
        ("", "persistentvolumes", "status") => phase_time(&old["status"], &mut new["status"], now),
        ("", "pods", "status") if new["status"]["qosClass"].as_str().is_none_or(str::is_empty) => {
            carry(&old["status"], &mut new["status"], "qosClass");
        }
        ("", "serviceaccounts", "") => references(new),
        ("", "services", "") if new["spec"].is_object() => service::changed(&old["spec"], &mut new["spec"]),
        _ => {}
    }
}

/// What clients say of a new pod's status is not heard.
fn pod(object: &mut Value, now: &str) {
    object["status"]["qosClass"] = qos::class(object).into();
    if object["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        object["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": now,
            "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
}

/// Secrets of an account are named, nothing else is kept of them.
fn references(object: &mut Value) {
    for reference in items(object, "secrets").filter_map(Value::as_object_mut) {
        reference.retain(|field, _| field == "name");
    }
}

/// Two fields for one source: the older one where it can say it, and only claims and snapshots can it say
/// (pkg/api/persistentvolumeclaim/util.go).
fn sources(old: &Value, spec: &mut Value) {
    let (mut older, mut newer) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    // Sources in other namespaces (CrossNamespaceVolumeDataSource) are off.
    if newer["namespace"].as_str().is_some_and(|namespace| !namespace.is_empty()) && !old["dataSourceRef"].is_object() {
        newer = Value::Null;
        spec["dataSourceRef"] = Value::Null;
    }
    let known = matches!(
        (older["apiGroup"].as_str().unwrap_or_default(), older["kind"].as_str().unwrap_or_default()),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    );
    let in_use = old["dataSource"].is_object() || old["dataSourceRef"].is_object();
    if !known && !in_use && newer.is_null() {
        older = Value::Null;
        spec["dataSource"] = Value::Null;
    }
    if older.is_object() && newer.is_null() {
        spec["dataSourceRef"] = older;
    } else if newer.is_object() && older.is_null() && newer["namespace"].as_str().is_none_or(str::is_empty) {
        spec["dataSource"] = newer;
    }
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|field, value| !(field.starts_with("dataSource") && value.is_null()));
    }
}

fn phase_time(old: &Value, new: &mut Value, now: &str) {
    const TIME: &str = "lastPhaseTransitionTime";
    let same = old["phase"] == new["phase"];
    if same && new[TIME].is_null() {
        carry(old, new, TIME);
    } else if !same && (new[TIME].is_null() || new[TIME] == old[TIME]) {
        new[TIME] = now.into();
    }
}

/// A pod whose ephemeral containers alone come from the client.
pub fn ephemeral_containers(old: &Value, new: &Value) -> Value {
    let mut next = old.clone();
    carry(&new["spec"], &mut next["spec"], "ephemeralContainers");
    keep_managers(new, &mut next);
    next
}

/// A pod whose containers' resources alone come from the client.
pub fn resize(old: &Value, new: &Value) -> Value {
    let mut next = old.clone();
    for list in ["containers", "initContainers"] {
        for container in items(&mut next["spec"], list) {
            let given =
                new["spec"][list].as_array().into_iter().flatten().find(|held| held["name"] == container["name"]);
            for field in ["resources", "resizePolicy"] {
                if let Some(given) = given {
                    carry(given, container, field);
                }
            }
        }
    }
    carry(&new["spec"], &mut next["spec"], "resources");
    keep_managers(new, &mut next);
    next
}

/// Who manages which field, and which version the client insists on, is not the strategy's to decide.
fn keep_managers(new: &Value, next: &mut Value) {
    for field in ["managedFields", "resourceVersion", "uid"] {
        carry(&new["metadata"], &mut next["metadata"], field);
    }
}

/// The items of a list, none when there is no list.
pub(super) fn items<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

fn carry(from: &Value, to: &mut Value, field: &str) {
    if !to.is_object() {
        *to = Value::Object(Map::new());
    }
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => to.insert(field.to_owned(), value.clone()),
        None => to.remove(field),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn new_objects_are_completed() {
        let made = |resource: &str, mut object: Value| {
            born(kind::core(resource), &mut object, "now");
            object
        };
        let gated =
            made("pods", json!({ "spec": { "schedulingGates": [{ "name": "a" }] }, "status": { "phase": "Pending" } }));
        assert_eq!(gated["status"]["conditions"][0]["reason"], "SchedulingGated");
        assert_eq!(
            (&gated["status"]["qosClass"], &gated["status"]["phase"]),
            (&json!("BestEffort"), &json!("Pending"))
        );
        let account = made("serviceaccounts", json!({ "secrets": [{ "name": "s", "kind": "Secret" }] }));
        assert_eq!(account, json!({ "secrets": [{ "name": "s" }] }));
        assert_eq!(made("serviceaccounts", json!({})), json!({}));
        let source = json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s" });
        let claim = made("persistentvolumeclaims", json!({ "spec": { "dataSource": source } }));
        assert_eq!(claim["spec"]["dataSourceRef"], source);
        let of_pod = json!({ "spec": { "dataSource": { "kind": "Pod", "name": "p" } } });
        assert_eq!(made("persistentvolumeclaims", of_pod)["spec"], json!({}));
        assert_eq!(made("persistentvolumeclaims", json!({ "spec": {} })), json!({ "spec": {} }));
        let other = json!({ "spec": { "dataSourceRef": { "kind": "Pod", "name": "p", "namespace": "elsewhere" } } });
        assert_eq!(made("persistentvolumeclaims", other)["spec"], json!({}));
    }

    #[test]
    fn a_phase_keeps_its_time_until_it_changes() {
        let next = |phase: &str| {
            let old = json!({ "status": { "phase": "Pending", "lastPhaseTransitionTime": "then" } });
            let mut new = json!({ "status": { "phase": phase } });
            changed(kind::core("persistentvolumes"), "status", &old, &mut new, "now");
            new["status"]["lastPhaseTransitionTime"].clone()
        };
        assert_eq!((next("Pending"), next("Bound")), (json!("then"), json!("now")));
    }

    #[test]
    fn subresources_of_pods_change_one_thing() {
        let old = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i", "resources": {} }] } });
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({});
        new["spec"]["containers"][0] = json!({ "name": "c", "image": "j", "resources": { "limits": { "cpu": "1" } } });
        new["spec"]["ephemeralContainers"] = json!([{ "name": "e" }]);
        let resized = resize(&old, &new);
        assert_eq!(
            resized["spec"]["containers"][0],
            json!({ "name": "c", "image": "i", "resources": { "limits": { "cpu": "1" } } })
        );
        assert_eq!((&resized["metadata"], &resized["spec"]["ephemeralContainers"]), (&old["metadata"], &Value::Null));
        let added = ephemeral_containers(&old, &new);
        assert_eq!((&added["spec"]["containers"], &added["metadata"]), (&old["spec"]["containers"], &old["metadata"]));
        assert_eq!(added["spec"]["ephemeralContainers"], json!([{ "name": "e" }]));
    }
}
