//! Patches as a table: object and patch in, object out.

use serde_json::json;

use super::*;
use crate::kind;

fn strategic(object: Value, patch: Value) -> Value {
    let kind = kind::find("apps", "v1", "deployments").expect("a row");
    change(kind, PatchType::Strategic, &object, patch.to_string().as_bytes()).expect("fits").next
}

fn containers(items: Value) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": items } } } })
}

#[test]
fn containers_merge_by_name() {
    let held = containers(
        json!([{ "name": "a", "image": "1", "env": [{ "name": "X", "value": "1" }] }, { "name": "b", "image": "1" }]),
    );
    let patch = containers(json!([{ "name": "a", "image": "2", "env": [{ "name": "Y", "value": "2" }] }]));
    let wanted = containers(json!([
        { "name": "a", "image": "2", "env": [{ "name": "Y", "value": "2" }, { "name": "X", "value": "1" }] },
        { "name": "b", "image": "1" }
    ]));
    assert_eq!(strategic(held, patch), wanted);
}

#[test]
fn directives_delete_replace_and_order() {
    let held = containers(json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }]));
    let gone = containers(json!([{ "name": "b", "$patch": "delete" }]));
    assert_eq!(strategic(held.clone(), gone), containers(json!([{ "name": "a" }, { "name": "c" }])));
    let replaced = containers(json!([{ "$patch": "replace" }, { "name": "z" }]));
    assert_eq!(strategic(held.clone(), replaced), containers(json!([{ "name": "z" }])));
    let ordered = json!({ "spec": { "template": { "spec": {
        "$setElementOrder/containers": [{ "name": "d" }, { "name": "a" }],
        "containers": [{ "name": "d" }]
    } } } });
    let wanted = containers(json!([{ "name": "d" }, { "name": "a" }, { "name": "b" }, { "name": "c" }]));
    assert_eq!(strategic(held, ordered), wanted);
}

#[test]
fn unkeyed_lists_are_replaced_and_null_removes() {
    let held = containers(json!([{ "name": "a", "command": ["x", "y"], "image": "1" }]));
    let patch = containers(json!([{ "name": "a", "command": ["z"], "image": null }]));
    assert_eq!(strategic(held, patch), containers(json!([{ "name": "a", "command": ["z"] }])));
    let finalizers = json!({ "metadata": { "finalizers": ["a", "b"] } });
    let patch = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"] } });
    assert_eq!(strategic(finalizers, patch), json!({ "metadata": { "finalizers": ["c", "b"] } }));
}

#[test]
fn retained_keys_drop_the_others() {
    let strategy = |value: Value| json!({ "spec": { "strategy": value } });
    let held = strategy(json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } }));
    let patch = strategy(json!({ "$retainKeys": ["type"], "type": "Recreate" }));
    assert_eq!(strategic(held, patch), strategy(json!({ "type": "Recreate" })));
}

#[test]
fn bad_patches_are_refused() {
    let kind = kind::core("configmaps");
    let code = |how, body: &str| {
        patched(kind, how, &json!({ "data": {} }), body.as_bytes(), FieldValidation::Warn).expect_err("refused").code
    };
    assert_eq!(code(PatchType::Merge, "[]"), 400);
    assert_eq!(code(PatchType::Json, "{"), 400);
    assert_eq!(code(PatchType::Json, r#"[{"op":"remove","path":"/nothing"}]"#), 422);
    assert_eq!(PatchType::parse("text/plain").expect_err("unknown").code, 415);
}
