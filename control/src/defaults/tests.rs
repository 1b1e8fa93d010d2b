//! Defaults as fixtures, and that filling twice changes nothing.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kind;

fn filled(api_version: &str, name: &str, mut object: Value) -> Value {
    fill(kind::named(api_version, name).expect("a row of the table"), &mut object);
    object
}

#[test]
fn a_pod_gets_what_nobody_said() {
    let object = json!({ "metadata": { "name": "p", "labels": {} }, "spec": {
        "hostNetwork": true,
        "containers": [{
            "name": "c", "image": "nginx", "env": [{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
            "ports": [{ "containerPort": 80 }], "resources": { "limits": { "cpu": "1" } },
            "livenessProbe": { "grpc": { "port": 1 } }, "readinessProbe": { "httpGet": { "port": 8080 } },
        }],
        "volumes": [{ "name": "v" }, { "name": "w", "secret": { "secretName": "s" } }, { "name": "x", "hostPath": { "path": "/" } }],
        "serviceAccountName": "a",
    } });
    let spec = filled("v1", "Pod", object)["spec"].clone();
    let container = json!({
        "name": "c", "image": "nginx", "imagePullPolicy": "Always",
        "env": [{ "name": "A", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.name" } } }],
        "ports": [{ "containerPort": 80, "hostPort": 80, "protocol": "TCP" }],
        "resources": { "limits": { "cpu": "1" }, "requests": { "cpu": "1" } },
        "livenessProbe": {
            "grpc": { "port": 1, "service": "" },
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3
        },
        "readinessProbe": {
            "httpGet": { "path": "/", "port": 8080, "scheme": "HTTP" },
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3
        },
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    });
    assert_eq!(spec["containers"][0], container);
    let volumes = json!([
        { "name": "v", "emptyDir": {} },
        { "name": "w", "secret": { "secretName": "s", "defaultMode": 420 } },
        { "name": "x", "hostPath": { "path": "/", "type": "" } },
    ]);
    assert_eq!(spec["volumes"], volumes);
    assert_eq!((&spec["serviceAccount"], &spec["securityContext"]), (&json!("a"), &json!({})));
    assert_eq!((&spec["dnsPolicy"], &spec["enableServiceLinks"]), (&json!("ClusterFirst"), &json!(true)));
}

#[test]
fn empty_fields_are_written_as_go_writes_them() {
    let event = filled("v1", "Event", json!({ "metadata": { "annotations": null }, "count": 0 }));
    let wanted = json!({
        "metadata": {}, "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null,
        "eventTime": null, "reportingComponent": "", "reportingInstance": "",
    });
    assert_eq!(event, wanted);
    assert_eq!(filled("rbac.authorization.k8s.io/v1", "Role", json!({})), json!({ "metadata": {}, "rules": null }));
    let revision =
        |data: Value| filled("apps/v1", "ControllerRevision", json!({ "revision": 0, "data": data }))["data"].clone();
    assert_eq!((revision(json!({})), revision(Value::Null)), (json!({}), Value::Null));
    let deployment = filled("apps/v1", "Deployment", json!({ "spec": { "replicas": 0 } }));
    assert_eq!((&deployment["spec"]["replicas"], &deployment["spec"]["selector"]), (&json!(0), &Value::Null));
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({ "maxSurge": "25%", "maxUnavailable": "25%" }));
    assert_eq!(deployment["spec"]["template"]["metadata"], json!({}));
}

#[test]
fn what_has_no_type_is_kept_as_it_was_written() {
    let revision =
        |data: Value| filled("apps/v1", "ControllerRevision", json!({ "revision": 1, "data": data }))["data"].clone();
    assert_eq!((revision(json!({})), revision(json!({ "a": [] }))), (json!({}), json!({ "a": [] })));
}

#[test]
fn secrets_hold_text_as_bytes() {
    let secret =
        filled("v1", "Secret", json!({ "data": { "a": "eA==", "b": "eA==" }, "stringData": { "a": "hello" } }));
    assert_eq!(secret, json!({ "metadata": {}, "data": { "a": "aGVsbG8=", "b": "eA==" }, "type": "Opaque" }));
}

/// An object that fits a shape, as the bytes decide.
fn invented(shape: &Shape, entropy: &mut std::vec::IntoIter<u8>, depth: usize) -> Value {
    let byte = entropy.next().unwrap_or(0);
    match shape {
        Shape::Object(name) => match schema::named(name) {
            Some(kind) if depth > 0 => {
                let mut fields = Fields::new();
                for (name, field) in &kind.fields {
                    if entropy.next().unwrap_or(0).is_multiple_of(3) {
                        fields.insert(name.clone(), invented(&field.shape, entropy, depth - 1));
                    }
                }
                fields.into()
            }
            _ => Value::Object(Fields::new()),
        },
        Shape::List(item) => (0..byte % 3).map(|_| invented(item, entropy, depth)).collect(),
        Shape::Map(inner) => {
            let entry = |at: u8, entropy: &mut _| (format!("k{at}"), invented(inner, entropy, depth));
            Value::Object((0..byte % 3).map(|at| entry(at, entropy)).collect())
        }
        Shape::String(format) if format == "quantity" => ["1", "500m"][usize::from(byte % 2)].into(),
        Shape::String(format) if format == "byte" => ["", "eA=="][usize::from(byte % 2)].into(),
        Shape::String(_) => ["", "a", "ClientIP", "LoadBalancer"][usize::from(byte % 4)].into(),
        Shape::Integer | Shape::Number | Shape::IntOrString => (byte % 3).into(),
        Shape::Boolean => byte.is_multiple_of(2).into(),
        Shape::Any => Value::Null,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn filling_twice_is_filling_once(entropy in proptest::collection::vec(any::<u8>(), 2000)) {
        for kind in kind::ALL {
            let shape = Shape::Object((kind.type_name)().into_owned());
            let mut once = invented(&shape, &mut entropy.clone().into_iter(), 6);
            fill(kind, &mut once);
            let mut twice = once.clone();
            fill(kind, &mut twice);
            prop_assert_eq!(once, twice, "{:?}", kind);
        }
    }
}
