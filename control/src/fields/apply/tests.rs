//! Appliers on one object.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fields::update;
use crate::kind;

const NOW: &str = "2026-01-01T00:00:00Z";

fn by(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: NOW }
}

/// Without data when there is none.
fn config(data: Value) -> Value {
    let mut config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" } });
    if data != json!({}) {
        config["data"] = data;
    }
    config
}

fn applied(live: Option<&Value>, manager: &str, data: Value, force: bool) -> Result<Value, Status> {
    apply(kind::core("configmaps"), live, &config(data), force, by(manager))
}

fn owned(object: &Value, manager: &str) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let entry = entries.iter().find(|entry| entry["manager"] == manager);
    entry.map(|entry| Set::parse(&entry["fieldsV1"]).expect("a set").paths()).unwrap_or_default()
}

#[test]
fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let first = applied(None, "m1", json!({ "a": "1", "b": "1" }), false).expect("new");
    assert_eq!(owned(&first, "m1"), [".data.a", ".data.b"]);
    let shared = applied(Some(&first), "m2", json!({ "a": "1" }), false).expect("the same value");
    assert_eq!(shared["metadata"]["managedFields"][0].get("time"), None);
    let left = applied(Some(&shared), "m1", json!({}), false).expect("gives up");
    assert_eq!((&left["data"], owned(&left, "m1").len()), (&json!({ "a": "1" }), 0));
    let bare = applied(Some(&left), "m2", json!({}), false).expect("gives up");
    assert!(bare["data"].is_null(), "{bare}");
}

#[test]
fn what_others_own_is_refused_or_forced() {
    let first = applied(None, "m1", json!({ "a": "1", "b": "1" }), false).expect("new");
    let refused = applied(Some(&first), "m2", json!({ "a": "2" }), false).expect_err("owned");
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"m1\": .data.a");
    let refused = applied(Some(&first), "m2", json!({ "a": "2", "b": "2" }), false).expect_err("owned");
    assert_eq!(refused.message, "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b");
    assert_eq!(refused.details["causes"][1]["field"], ".data.b");
    let forced = applied(Some(&first), "m2", json!({ "a": "2" }), true).expect("forced");
    assert_eq!((owned(&forced, "m1"), owned(&forced, "m2")), (vec![".data.b".to_owned()], vec![".data.a".to_owned()]));
}

#[test]
fn what_was_there_before_is_somebodys() {
    let live = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "a": "1" } });
    let refused = applied(Some(&live), "m", json!({ "a": "2" }), false).expect_err("owned");
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a");
    let next = applied(Some(&live), "m", json!({ "b": "1" }), false).expect("new");
    assert_eq!(owned(&next, "before-first-apply"), [".data", ".data.a"]);
}

#[test]
fn the_last_configuration_of_kubectl_makes_way_for_it() {
    let kind = kind::core("configmaps");
    let last = config(json!({ "a": "1" })).to_string();
    let mut live = config(json!({ "a": "1", "b": "1" }));
    live["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": last });
    update(kind, None, &mut live, by("kubectl-client-side-apply"));
    let next = applied(Some(&live), "kubectl", json!({ "a": "2" }), false).expect("its own");
    let annotation = next["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
    assert_eq!(annotation.map(str::trim_end), Some(config(json!({ "a": "2" })).to_string().as_str()));
    assert!(applied(Some(&live), "kubectl", json!({ "b": "2" }), false).is_err());
    assert!(applied(Some(&live), "other", json!({ "a": "2" }), false).is_err());
}

#[test]
fn configurations_that_are_none_of_the_kind() {
    let refused = |config: Value| {
        let status = apply(kind::core("configmaps"), None, &config, false, by("m")).expect_err("refused");
        (status.code, status.message)
    };
    assert_eq!(refused(json!({ "apiVersion": "v1" })), (400, "invalid object type: /v1, Kind=".to_owned()));
    let mut managed = config(json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    assert_eq!(refused(managed), (400, "metadata.managedFields must be nil".to_owned()));
    let mut wrong = config(json!({}));
    wrong["bogus"] = 1.into();
    let text = "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .bogus: field not declared in schema";
    assert_eq!(refused(wrong), (500, text.to_owned()));
}

fn some_data() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[abc]", "[12]", 0..3).prop_map(|data| json!(data))
}

/// As the server keeps it: without data where there is none.
fn kept(mut object: Value) -> Value {
    let bare = object["data"].as_object().is_none_or(serde_json::Map::is_empty);
    if let Some(object) = object.as_object_mut().filter(|_| bare) {
        object.remove("data");
    }
    object
}

proptest! {
    /// However appliers take turns with force: what a manager applied last is there until another takes it, it owns
    /// that, and applying it again changes nothing.
    #[test]
    fn who_applies_by_force_has_its_way(turns in proptest::collection::vec(("m[12]", some_data()), 1..8)) {
        let mut live: Option<Value> = None;
        for (manager, data) in turns {
            let next = kept(applied(live.as_ref(), &manager, data.clone(), true).expect("forced"));
            for (key, value) in data.as_object().expect("a map") {
                prop_assert_eq!(&next["data"][key], value);
                let path = format!(".data.{key}");
                prop_assert!(owned(&next, &manager).contains(&path));
            }
            let again = kept(applied(Some(&next), &manager, data, false).expect("its own"));
            prop_assert_eq!(&again, &next);
            for key in next.get("data").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| format!(".data.{key}")) {
                prop_assert!(["m1", "m2"].iter().any(|manager| owned(&next, manager).contains(&key)), "{} has no owner", key);
            }
            live = Some(next);
        }
    }
}
