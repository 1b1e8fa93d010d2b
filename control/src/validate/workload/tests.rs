//! Workloads that may be and that may not.

use serde_json::{Value, json};

use crate::kind;
use crate::validate::{create, update};

fn apps(resource: &str) -> &'static kind::Kind {
    kind::find("apps", "v1", resource).unwrap()
}

fn said(errors: Vec<crate::status::FieldError>) -> Vec<String> {
    errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

fn workload(extra: Value) -> Value {
    let mut workload = json!({
        "metadata": { "name": "x", "namespace": "ns" },
        "spec": {
            "selector": { "matchLabels": { "app": "a" } },
            "template": { "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } }
        }
    });
    workload["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    workload
}

#[test]
fn deployments() {
    let of = |extra: Value| said(create(apps("deployments"), &workload(extra)));
    assert!(of(json!({})).is_empty());
    assert!(of(json!({ "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "1%" } } })).is_empty());
    assert_eq!(
        of(json!({
            "strategy": { "type": "Recreate", "rollingUpdate": {} }, "revisionHistoryLimit": -1,
            "minReadySeconds": 5, "progressDeadlineSeconds": 5
        })),
        [
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
        ]
    );
    assert_eq!(
        of(
            json!({ "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "x", "maxUnavailable": "200%" } } })
        ),
        [
            "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric string followed \
             by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"200%\": must not be greater than 100%",
        ]
    );
}

#[test]
fn selectors_match_their_templates_and_stay() {
    let select = |selector: Value| workload(json!({ "selector": selector }));
    let of = |selector: Value| said(create(apps("replicasets"), &select(selector)));
    let mismatch =
        "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`";
    for (operator, values, fits) in [
        ("In", json!(["a", "b"]), true),
        ("In", json!(["b"]), false),
        ("NotIn", json!(["a"]), false),
        ("NotIn", json!(["b"]), true),
        ("Exists", json!([]), true),
        ("DoesNotExist", json!([]), false),
    ] {
        let said = of(json!({ "matchExpressions": [{ "key": "app", "operator": operator, "values": values }] }));
        assert_eq!(said.iter().any(|text| text == mismatch), !fits, "{operator} {said:?}");
    }
    assert_eq!(of(json!({})), ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]);
    let other = select(json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] }));
    assert_eq!(
        said(update(apps("replicasets"), "", &workload(json!({})), &other)),
        [
            "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"Exists\"}]}: field is immutable"
        ]
    );
}

#[test]
fn statuses_count_no_more_than_there_are() {
    let with = |status: Value| {
        let mut workload = workload(json!({}));
        workload["status"] = status;
        workload
    };
    assert_eq!(
        said(update(
            apps("deployments"),
            "status",
            &with(json!({ "collisionCount": 2 })),
            &with(json!({ "replicas": 1, "readyReplicas": 1, "availableReplicas": 2, "collisionCount": 1 })),
        )),
        [
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
            "status.collisionCount: Invalid value: 1: cannot be decremented",
        ]
    );
}

#[test]
fn revisions_never_change() {
    let revision = |data: Value| json!({ "metadata": { "name": "x", "namespace": "ns" }, "revision": 1, "data": data });
    assert_eq!(
        said(create(apps("controllerrevisions"), &revision(Value::Null))),
        ["data: Required value: data is mandatory"]
    );
    assert_eq!(
        said(update(apps("controllerrevisions"), "", &revision(json!({ "a": 1 })), &revision(json!({ "a": 2 })))),
        ["data: Invalid value: {\"a\":2}: field is immutable"]
    );
}
