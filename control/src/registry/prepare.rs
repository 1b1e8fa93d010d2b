//! What the server sets on objects that clients write: identity, generation, and who may change what.
//!
//! Source: k8s.io/apiserver `registry/rest/{create,update,meta}.go`.

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::registry::rules::{self, Rules};
use crate::registry::{gates, strategy};

/// Keeps a namespace until it is empty.
const KUBERNETES: &str = "kubernetes";

/// What a new object gets from outside.
#[derive(Clone, Debug)]
pub struct Birth<'a> {
    /// Of the request; empty at the cluster scope.
    pub namespace: &'a str,
    /// `metadata.name`, generated if need be.
    pub name: &'a str,
    /// A fresh UUID.
    pub uid: &'a str,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
}

/// The metadata of an object, made when absent.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("was just made an object")
}

/// A string of an object's metadata, empty when absent.
pub fn meta_str<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

/// Makes a client's object the first version of a stored one.
pub fn create(kind: &Kind, object: &mut Value, birth: &Birth<'_>) {
    let rules = rules::of(kind);
    let meta = metadata(object);
    for cleared in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        meta.remove(cleared);
    }
    meta.insert("name".into(), birth.name.into());
    if !birth.namespace.is_empty() {
        meta.insert("namespace".into(), birth.namespace.into());
    }
    meta.insert("uid".into(), birth.uid.into());
    meta.insert("creationTimestamp".into(), birth.now.into());
    if rules.generation {
        meta.insert("generation".into(), 1.into());
    }
    if rules.holds_objects {
        metadata(object).entry("labels").or_insert_with(|| json!({}))["kubernetes.io/metadata.name"] =
            birth.name.into();
        let held = object["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !held.iter().any(|finalizer| finalizer == KUBERNETES) {
            object["spec"]["finalizers"] = held.into_iter().chain([KUBERNETES.into()]).collect();
        }
    }
    if rules.status {
        let initial = rules.initial_status;
        match serde_json::from_str::<Value>(initial) {
            Ok(status) => object["status"] = status,
            Err(_) => debug_assert!(initial.is_empty(), "rows hold JSON"),
        }
    }
    gates::drop_disabled(kind, None, object);
    strategy::born(kind, object, birth.now);
}

/// Makes a client's object the next version of a stored one, written through a subresource (empty: the object itself):
/// fills what clients may leave out, takes back what they may not change here, counts the generation. `now` is RFC 3339,
/// whole seconds.
pub fn update(kind: &Kind, subresource: &str, old: &Value, new: &mut Value, now: &str) {
    let rules = rules::of(kind);
    match subresource {
        // What it may change is its own to say.
        "binding" => return,
        "ephemeralcontainers" => *new = strategy::ephemeral_containers(old, new),
        "resize" => *new = strategy::resize(old, new),
        _ => {}
    }
    carry_identity(old, new);
    match subresource {
        "status" => restore_all_but_status(kind, old, new),
        "finalize" => carry(old, new, "status"),
        _ => {
            if rules.status {
                carry(old, new, "status");
            }
            if rules.holds_objects && !old["spec"].is_null() {
                new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
            }
        }
    }
    gates::drop_disabled(kind, Some(old), new);
    strategy::changed(kind, subresource, old, new, now);
    if subresource != "status" {
        count_generation(rules, old, new);
    }
}

fn restore_all_but_status(kind: &Kind, old: &Value, new: &mut Value) {
    let fields: Vec<String> = [old, &*new]
        .into_iter()
        .filter_map(Value::as_object)
        .flat_map(|fields| fields.keys().cloned())
        .filter(|field| !matches!(field.as_str(), "kind" | "apiVersion" | "metadata" | "status"))
        .collect();
    for field in fields {
        carry(old, new, &field);
    }
    let kept: &[&str] = match (kind.group, kind.resource) {
        ("apps", "deployments") => &["labels"],
        ("", "pods") => &["ownerReferences", "deletionTimestamp", "deletionGracePeriodSeconds"],
        _ => &[],
    };
    let old_meta = old["metadata"].clone();
    let meta = metadata(new);
    for key in kept {
        restore(&old_meta, meta, key);
    }
}

fn carry_identity(old: &Value, new: &mut Value) {
    let old_meta = &old["metadata"];
    let meta = metadata(new);
    restore(old_meta, meta, "generation");
    for key in ["uid", "creationTimestamp", "namespace"] {
        if meta.get(key).is_none_or(|value| value.is_null() || value == "") {
            restore(old_meta, meta, key);
        }
    }
    meta.remove("selfLink");
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if meta.get(key).is_none_or(Value::is_null) {
            restore(old_meta, meta, key);
        }
    }
}

fn count_generation(rules: Rules, old: &Value, new: &mut Value) {
    let counted = |object: &Value| rules.generation_counts.map(|field| object["metadata"][field].clone());
    if rules.generation && (wish(old) != wish(new) || counted(old) != counted(new)) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        metadata(new).insert("generation".into(), generation.into());
    }
}

/// What an object wishes for: everything but metadata and status.
fn wish(object: &Value) -> Vec<(&String, &Value)> {
    object
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, _)| !matches!(field.as_str(), "kind" | "apiVersion" | "metadata" | "status"))
        .collect()
}

fn carry(old: &Value, new: &mut Value, field: &str) {
    match (old.get(field), new.as_object_mut()) {
        (Some(value), Some(new)) => {
            new.insert(field.to_owned(), value.clone());
        }
        (None, Some(new)) => {
            new.remove(field);
        }
        (_, None) => {}
    }
}

fn restore(old_meta: &Value, meta: &mut Map<String, Value>, key: &str) {
    match old_meta.get(key) {
        Some(value) => meta.insert(key.to_owned(), value.clone()),
        None => meta.remove(key),
    };
}

/// Whether writing `new` over `old` would change nothing that anybody can see. `resourceVersion` and the times of
/// managed fields do not count.
pub fn unchanged(old: &Value, new: &Value) -> bool {
    alike(old, new, "", &|key, old, new| match key {
        "metadata" => alike(old, new, "resourceVersion", &|key, old, new| match key {
            "managedFields" => same_managers(old, new),
            _ => old == new,
        }),
        _ => old == new,
    })
}

/// Whether two objects have the same members, but for one that does not count.
fn alike(old: &Value, new: &Value, but: &str, same: &dyn Fn(&str, &Value, &Value) -> bool) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return old == new };
    let counted = |object: &Map<String, Value>| object.len() - usize::from(object.contains_key(but));
    let held = |(key, old): (&String, &Value)| key == but || new.get(key).is_some_and(|new| same(key, old, new));
    counted(old) == counted(new) && old.iter().all(held)
}

fn same_managers(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_array(), new.as_array()) else { return old == new };
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| alike(old, new, "time", &|_, old, new| old == new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> &'static Kind {
        crate::kind::find("apps", "v1", "deployments").expect("a row of the table")
    }

    #[test]
    fn a_new_object_has_no_past() {
        let mut object = json!({ "metadata": { "generation": 9, "uid": "theirs", "deletionTimestamp": "x" }, "status": { "replicas": 3 } });
        create(
            workload(),
            &mut object,
            &Birth { namespace: "ns", name: "d", uid: "ours", now: "2026-01-02T03:04:05Z" },
        );
        assert_eq!(
            object,
            json!({
                "metadata": { "name": "d", "namespace": "ns", "uid": "ours", "generation": 1, "creationTimestamp": "2026-01-02T03:04:05Z" },
                "status": {}
            })
        );
    }

    #[test]
    fn an_update_keeps_identity_and_status_and_counts_wishes() {
        let old = json!({ "metadata": { "uid": "u", "generation": 4, "creationTimestamp": "t" }, "spec": { "replicas": 1 }, "status": { "a": 1 } });
        let mut same = json!({ "metadata": { "generation": 77, "labels": { "x": "y" } }, "spec": { "replicas": 1 }, "status": { "a": 2 } });
        update(workload(), "", &old, &mut same, "now");
        assert_eq!(
            same["metadata"],
            json!({ "uid": "u", "generation": 4, "creationTimestamp": "t", "labels": { "x": "y" } })
        );
        assert_eq!(same["status"], json!({ "a": 1 }));
        let mut other = json!({ "metadata": {}, "spec": { "replicas": 2 } });
        update(workload(), "", &old, &mut other, "now");
        assert_eq!(other["metadata"]["generation"], 5);
        let mut noted = json!({ "metadata": { "annotations": { "a": "b" } }, "spec": { "replicas": 1 } });
        update(workload(), "", &old, &mut noted, "now");
        assert_eq!(noted["metadata"]["generation"], 5);
        assert_eq!(other["status"], json!({ "a": 1 }));
    }

    #[test]
    fn times_of_managers_are_no_change() {
        let at = |time: &str| json!({ "metadata": { "resourceVersion": time, "managedFields": [{ "manager": "m", "time": time }] } });
        assert!(unchanged(&at("1"), &at("2")));
        assert!(!unchanged(&at("1"), &json!({ "metadata": {} })));
    }
}
