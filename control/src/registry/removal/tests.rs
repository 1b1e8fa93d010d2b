//! Deletions as a table: object and options in, verdict out.

use super::*;
use crate::registry::rules;

const PODS: Kind = kind("pods", "Pod");
const CONFIG_MAPS: Kind = kind("configmaps", "ConfigMap");
const CONTROLLERS: Kind = kind("replicationcontrollers", "ReplicationController");
const NAMESPACES: Kind = kind("namespaces", "Namespace");

const fn kind(resource: &'static str, kind: &'static str) -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind,
        resource,
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        stored: true,
        subresources: &[],
        type_name: <k8s_openapi::api::core::v1::ConfigMap as schemars::JsonSchema>::schema_name,
        schema: <k8s_openapi::api::core::v1::ConfigMap as schemars::JsonSchema>::json_schema,
    }
}

fn verdict(kind: &Kind, object: &Value, options: &DeleteOptions) -> String {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    match decide(kind, rules::of(kind), object, options, now) {
        Removal::Mark(next) => format!("mark {}", next["metadata"]),
        other => format!("{other:?}"),
    }
}

#[test]
fn verdicts() {
    let none = DeleteOptions::default();
    let with = |propagation| DeleteOptions { propagation: Some(propagation), ..none.clone() };
    let grace = |seconds| DeleteOptions { grace_seconds: Some(seconds), ..none.clone() };
    let running = json!({ "metadata": {}, "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 20 } });
    let ending = json!({
        "metadata": { "deletionTimestamp": "2026-01-01T00:00:20Z", "deletionGracePeriodSeconds": 20 },
        "spec": { "nodeName": "n" }
    });
    let plain = json!({ "metadata": { "generation": 2 } });
    let held = json!({ "metadata": { "finalizers": ["example.com/a"] } });
    let table = [
        (
            &PODS,
            &running,
            &none,
            r#"mark {"deletionGracePeriodSeconds":20,"deletionTimestamp":"2026-01-01T00:00:20Z"}"#,
        ),
        (&PODS, &running, &grace(0), "Remove"),
        (&PODS, &ending, &none, "Pending"),
        (
            &PODS,
            &ending,
            &grace(5),
            r#"mark {"deletionGracePeriodSeconds":5,"deletionTimestamp":"2026-01-01T00:00:05Z"}"#,
        ),
        (&PODS, &ending, &grace(0), "Remove"),
        (&CONFIG_MAPS, &plain, &none, "Remove"),
        (&CONFIG_MAPS, &plain, &grace(30), "Remove"),
        (
            &CONFIG_MAPS,
            &plain,
            &with(Propagation::Foreground),
            r#"mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["foregroundDeletion"],"generation":3}"#,
        ),
        (
            &CONFIG_MAPS,
            &held,
            &none,
            r#"mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["example.com/a"]}"#,
        ),
        (
            &CONTROLLERS,
            &json!({ "metadata": {} }),
            &none,
            r#"mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["orphan"]}"#,
        ),
        (&CONTROLLERS, &json!({ "metadata": {} }), &with(Propagation::Background), "Remove"),
        (
            &NAMESPACES,
            &json!({ "metadata": {}, "spec": { "finalizers": ["kubernetes"] } }),
            &none,
            r#"mark {"deletionTimestamp":"2026-01-01T00:00:00Z"}"#,
        ),
        (&NAMESPACES, &json!({ "metadata": {}, "spec": {} }), &none, "Remove"),
    ];
    for (kind, object, options, want) in table {
        assert_eq!(verdict(kind, object, options), want, "{} {object} {options:?}", kind.kind);
    }
}

#[test]
fn the_last_finalizer_ends_it() {
    let object = |finalizers: Value| json!({ "metadata": { "deletionTimestamp": "t", "deletionGracePeriodSeconds": 0, "finalizers": finalizers } });
    assert!(finished(&CONFIG_MAPS, &object(json!([]))));
    assert!(!finished(&CONFIG_MAPS, &object(json!(["a"]))));
    assert!(!finished(&CONFIG_MAPS, &json!({ "metadata": {} })));
}

#[test]
fn preconditions_name_the_kind() {
    let options = DeleteOptions { uid: Some("a".into()), ..DeleteOptions::default() };
    let object = json!({ "metadata": { "name": "c", "uid": "b" } });
    assert_eq!(
        check(&CONFIG_MAPS, &object, 7, &options).unwrap_err().message,
        "Operation cannot be fulfilled on ConfigMap \"c\": the UID in the precondition (a) does not match the UID in record (b). \
         The object might have been deleted and then recreated"
    );
}
