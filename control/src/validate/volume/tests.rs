//! What volumes and claims may be and become.

use serde_json::json;

use super::*;

fn said(check: impl Fn(&mut Errors)) -> Vec<String> {
    let mut errors = Errors::default();
    check(&mut errors);
    errors.into_list().into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

fn volume(spec: Value) -> Value {
    let mut whole = json!({ "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"] });
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    json!({ "spec": whole })
}

#[test]
fn an_empty_volume_lacks_everything() {
    assert_eq!(
        said(|errors| super::whole(&json!({ "spec": {} }), errors)),
        [
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            "spec.capacity: Unsupported value: null: supported values: \"storage\"",
            "spec: Required value: must specify a volume type",
        ]
    );
}

#[test]
fn a_volume_has_one_source() {
    for (spec, wanted) in [
        (json!({ "hostPath": { "path": "/a" } }), ""),
        (
            json!({ "hostPath": { "path": "/a/../b" } }),
            "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            json!({ "hostPath": { "path": "/a" }, "nfs": { "server": "a", "path": "/b" } }),
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
        ),
        (
            json!({ "nfs": { "server": "a", "path": "b" } }),
            "spec.nfs.path: Invalid value: \"b\": must be an absolute path",
        ),
        (
            json!({ "local": { "path": "/a" } }),
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ),
        (json!({ "csi": { "volumeHandle": "h" } }), "spec.csi.driver: Required value"),
        (
            json!({ "csi": { "driver": "d", "volumeHandle": "h", "nodePublishSecretRef": {} } }),
            "spec.csi.nodePublishSecretRef.name: Required value|spec.csi.nodePublishSecretRef.namespace: Required value",
        ),
        (
            json!({ "hostPath": { "path": "/" }, "persistentVolumeReclaimPolicy": "Recycle" }),
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
        ),
    ] {
        assert_eq!(said(|errors| super::whole(&volume(spec.clone()), errors)).join("|"), wanted, "{spec}");
    }
}

#[test]
fn a_source_stays_and_labels_may_be_renamed() {
    let affinity = |key: &str| json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": [{ "key": key, "operator": "In", "values": ["h"] }] }] } });
    let with = |path: &str, key: &str| volume(json!({ "hostPath": { "path": path }, "nodeAffinity": affinity(key) }));
    let old = with("/a", "beta.kubernetes.io/os");
    assert!(said(|errors| super::update(&old, &with("/a", "kubernetes.io/os"), errors)).is_empty());
    let wrong = said(|errors| super::update(&old, &with("/b", "other"), errors));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].contains("-  \"Path\": \"/a\",\n+  \"Path\": \"/b\",\n"), "{wrong:?}");
    assert!(wrong[1].starts_with("nodeAffinity: Invalid value: {\"Required\":{\"NodeSelectorTerms\":[{"), "{wrong:?}");
}

fn claim(spec: Value, status: Value) -> Value {
    let mut whole = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } }, "volumeMode": "Filesystem" });
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    json!({ "spec": whole, "status": status })
}

#[test]
fn claims_ask_for_storage() {
    for (spec, wanted) in [
        (json!({}), ""),
        (json!({ "resources": {} }), "spec.resources[storage]: Required value"),
        (
            json!({ "resources": { "requests": { "storage": "0" } } }),
            "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
        ),
        (
            json!({ "accessModes": ["ReadWriteOncePod", "ReadWriteOnce"] }),
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        ),
        (
            json!({ "dataSource": { "kind": "PersistentVolumeClaim", "name": "a" }, "dataSourceRef": { "kind": "PersistentVolumeClaim", "name": "b" } }),
            "spec: Invalid value: {}: must match dataSourceRef",
        ),
    ] {
        assert_eq!(said(|errors| (CLAIM.create)(&claim(spec.clone(), json!({})), errors)).join("|"), wanted, "{spec}");
    }
}

#[test]
fn only_bound_claims_grow() {
    let larger = json!({ "resources": { "requests": { "storage": "2Gi" } } });
    for (phase, wrong) in [("Bound", 0), ("Pending", 1)] {
        let status = json!({ "phase": phase, "capacity": { "storage": "1Gi" } });
        let (old, new) = (claim(json!({}), status.clone()), claim(larger.clone(), status.clone()));
        let grown = said(|errors| (CLAIM.update)(&old, &new, errors));
        assert_eq!(grown.len(), wrong, "{grown:?}");
        assert!(said(|errors| (CLAIM.update)(&old, &old, errors)).is_empty());
        let half = claim(json!({ "resources": { "requests": { "storage": "512Mi" } } }), status);
        let shrunk = said(|errors| (CLAIM.update)(&old, &half, errors));
        assert!(shrunk.iter().any(|text| text.ends_with("field can not be less than status.capacity")), "{shrunk:?}");
    }
}

#[test]
fn a_class_comes_late_but_never_changes() {
    let status = json!({ "phase": "Pending" });
    let (none, fast) = (claim(json!({}), status.clone()), claim(json!({ "storageClassName": "fast" }), status.clone()));
    assert!(said(|errors| (CLAIM.update)(&none, &fast, errors)).is_empty());
    let slow = claim(json!({ "storageClassName": "slow" }), status);
    assert_eq!(said(|errors| (CLAIM.update)(&fast, &slow, errors)).len(), 1);
}
