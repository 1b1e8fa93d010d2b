//! Each part of a pod with what is said of it, and that nothing goes unanswered.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::kind;
use crate::validate::{create, update};

fn said(errors: Vec<crate::status::FieldError>) -> Vec<String> {
    errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

/// A pod with `extra` in its spec.
fn pod(extra: Value) -> Value {
    let mut pod = json!({
        "metadata": { "name": "x", "namespace": "ns" },
        "spec": {
            "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
            "containers": [{ "name": "c", "image": "i" }]
        }
    });
    pod["spec"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    pod
}

fn of_new(extra: Value) -> Vec<String> {
    said(create(kind::core("pods"), &pod(extra)))
}

fn of_container(extra: Value) -> Vec<String> {
    let mut container = json!({ "name": "c", "image": "i" });
    container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    of_new(json!({ "containers": [container] }))
}

fn of_change(subresource: &str, before: &Value, after: &Value) -> Vec<String> {
    said(update(kind::core("pods"), subresource, before, after))
}

#[test]
fn containers() {
    assert_eq!(of_new(json!({ "containers": [] })), ["spec.containers: Required value"]);
    assert_eq!(
        of_new(
            json!({ "initContainers": [{ "name": "c", "image": " i", "livenessProbe": { "exec": { "command": ["a"] } } }] })
        ),
        [
            "spec.initContainers[0].name: Duplicate value: \"c\"",
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
            "spec.initContainers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",
        ]
    );
    assert_eq!(
        of_container(
            json!({ "ports": [{ "containerPort": 1, "hostPort": 5 }, { "containerPort": 2, "hostPort": 5 }, {}] })
        ),
        [
            "spec.containers[0].ports[2].containerPort: Required value",
            "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//5\"",
        ]
    );
    assert_eq!(
        of_container(json!({ "restartPolicyRules": [{ "action": "Stop", "exitCodes": { "operator": "Gt" } }] })),
        [
            "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\", \
             \"RestartAllContainers\"",
            "spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Gt\": supported values: \"In\", \"NotIn\"",
        ]
    );
}

#[test]
fn variables() {
    let path = "spec.containers[0].env[0].valueFrom";
    let from = |source: Value| of_container(json!({ "env": [{ "name": "A", "valueFrom": source }] }));
    assert_eq!(
        from(json!({ "fieldRef": { "fieldPath": "status.phase" } })),
        [format!(
            "{path}.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \
             \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \
             \"status.hostIPs\", \"status.podIP\", \"status.podIPs\""
        )]
    );
    assert_eq!(
        from(json!({ "fieldRef": { "fieldPath": "spec.x['a']" } })),
        [format!(
            "{path}.fieldRef.fieldPath: Invalid value: \"spec.x['a']\": error converting fieldPath: field label does not \
             support subscript: spec.x['a']"
        )]
    );
    assert!(from(json!({ "fieldRef": { "fieldPath": "metadata.labels['a']" } })).is_empty());
    assert!(from(json!({ "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } })).is_empty());
    assert_eq!(
        from(json!({ "secretKeyRef": { "name": "s", "key": "k" }, "configMapKeyRef": { "name": "s", "key": "" } })),
        [
            format!("{path}.configMapKeyRef.key: Required value"),
            format!("{path}: Invalid value: \"\": may not have more than one field specified at a time"),
        ]
    );
}

#[test]
fn resources() {
    let path = "spec.containers[0].resources";
    let of = |resources: Value| of_container(json!({ "resources": resources }));
    assert_eq!(
        of(
            json!({ "requests": { "cpu": "1500m", "hugepages-2Mi": "4Mi" }, "limits": { "cpu": "1", "hugepages-2Mi": "2Mi" } })
        ),
        [
            format!("{path}.requests: Invalid value: \"1500m\": must be less than or equal to cpu limit of 1"),
            format!("{path}.requests: Invalid value: \"4Mi\": must be equal to hugepages-2Mi limit of 2Mi"),
        ]
    );
    assert_eq!(
        of(json!({ "limits": { "hugepages-2Mi": "2Mi" } })),
        [format!("{path}: Forbidden: HugePages require cpu or memory")]
    );
    assert_eq!(
        of(json!({ "claims": [{ "name": "a", "request": "r" }, { "name": "a" }] })).first().unwrap(),
        &format!(
            "{path}.claims[0]: Not found: \"a\": must be one of the names in pod.spec.resourceClaims which is empty"
        )
    );
    let asks = |cpu: &str| json!({ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu } } });
    assert_eq!(
        of_new(json!({
            "containers": [asks("1")], "resources": { "requests": { "cpu": "2" } },
            "initContainers": [
                { "name": "stays", "image": "i", "restartPolicy": "Always", "resources": { "requests": { "cpu": "500m" } } },
                { "name": "starts", "image": "i", "resources": { "requests": { "cpu": "1700m" } } }
            ]
        })),
        ["spec.resources.requests[cpu]: Invalid value: \"2\": must be greater than or equal to aggregate container \
             requests of 2200m"]
    );
}

#[test]
fn volumes_and_mounts() {
    assert_eq!(
        of_new(json!({ "volumes": [
            { "name": "a", "hostPath": { "path": "/x", "type": "Disk" }, "cephfs": {} },
            { "name": "b", "secret": { "defaultMode": 1000, "items": [{ "key": "k", "path": "../x" }] } },
            { "name": "c", "downwardAPI": { "items": [{ "path": "..x" }] } },
            { "name": "d", "projected": { "sources": [
                { "secret": { "name": "s", "items": [{ "key": "k", "path": "p" }] } },
                { "configMap": { "name": "m", "items": [{ "key": "k", "path": "p" }] } }
            ] } }
        ] })),
        [
            "spec.volumes[0].hostPath.type: Unsupported value: \"Disk\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \
             \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            "spec.volumes[0].cephFS: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[1].secret.secretName: Required value",
            "spec.volumes[1].secret.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 (octal), both inclusive",
            "spec.volumes[1].secret.items[0].path: Invalid value: \"../x\": must not contain '..'",
            "spec.volumes[2].downwardAPI.path: Invalid value: \"..x\": must not start with '..'",
            "spec.volumes[2].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
            "spec.volumes[3].projected: Invalid value: \"m\": conflicting duplicate paths",
        ]
    );
    let mount = |mount: Value| {
        let container = json!({ "name": "c", "image": "i", "volumeMounts": [mount] });
        of_new(json!({ "containers": [container], "volumes": [{ "name": "v", "emptyDir": {} }] }))
    };
    assert_eq!(
        mount(json!({ "name": "v", "mountPath": "/a", "subPath": "/x", "recursiveReadOnly": "Enabled" })),
        [
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"/x\": must be a relative path",
            "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
        ]
    );
    assert!(
        mount(json!({ "name": "v", "mountPath": "/a", "readOnly": true, "recursiveReadOnly": "Enabled" })).is_empty()
    );
}

#[test]
fn names_of_hosts_and_files_of_variables() {
    assert_eq!(
        of_new(json!({ "hostnameOverride": "a".repeat(65), "hostNetwork": true, "subdomain": "a.b", "nodeName": "A" }))
            .iter()
            .map(|said| said.split_once(": ").unwrap().0)
            .collect::<Vec<_>>(),
        ["spec.hostnameOverride", "spec.hostnameOverride", "spec.nodeName", "spec.subdomain"]
    );
    let from = |volume: &str, path: &str| {
        let file = json!({ "volumeName": volume, "path": path, "key": "A" });
        let variable = json!({ "name": "A", "valueFrom": { "fileKeyRef": file } });
        let volumes = json!([{ "name": "v", "emptyDir": {} }, { "name": "w", "secret": { "secretName": "s" } }]);
        of_new(json!({ "containers": [{ "name": "c", "image": "i", "env": [variable] }], "volumes": volumes }))
    };
    assert!(from("v", "/a").is_empty());
    let place = "spec.containers[0].env[0].valueFrom.fileKeyRef";
    assert_eq!(
        from("w", "a/.."),
        [
            format!("{place}.path: Invalid value: \"a/..\": must not contain '..'"),
            format!("{place}.volumeName: Invalid value: \"w\": referenced volume must be of type emptyDir"),
        ]
    );
    assert_eq!(from("x", "a"), [format!("{place}.volumeName: Not found: \"x\"")]);
}

#[test]
fn network_and_security() {
    assert_eq!(
        of_new(json!({
            "hostUsers": false, "hostPID": true, "shareProcessNamespace": true,
            "dnsConfig": { "searches": ["_a.b", "A"] }, "hostAliases": [{ "ip": "1.2.3" }]
        })),
        [
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both \
             be enabled",
            "spec.dnsConfig.searches[1]: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')",
            "spec.HostPID: Forbidden: when `hostUsers` is false",
            "spec.hostAliases[0].ip: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ]
    );
    let container = json!({ "securityContext": {
        "procMount": "Unmasked", "seccompProfile": { "type": "Localhost" }, "windowsOptions": { "runAsUserName": "a\\b\\c" }
    } });
    assert_eq!(
        of_container(container),
        [
            "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            "spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            "spec.containers[0].securityContext.windowsOptions.runAsUserName: Invalid value: \"a\\\\b\\\\c\": runAsUserName cannot contain more than one backslash",
        ]
    );
}

#[test]
fn little_may_change_while_a_pod_lives() {
    let before =
        pod(json!({ "tolerations": [{ "key": "k", "operator": "Exists" }], "schedulingGates": [{ "name": "a/b" }] }));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut after = before.clone();
        change(&mut after["spec"]);
        of_change("", &before, &after)
    };
    assert!(with(&|spec| spec["containers"][0]["image"] = "j".into()).is_empty());
    assert!(with(&|spec| spec["nodeSelector"] = json!({ "a": "b" })).is_empty());
    assert!(with(&|spec| spec["schedulingGates"] = json!([])).is_empty());
    assert!(with(&|spec| spec["activeDeadlineSeconds"] = 5.into()).is_empty());
    assert!(with(&|spec| spec["affinity"] = json!({ "nodeAffinity": {} })).is_empty());
    assert!(with(&|spec| spec["tolerations"][0]["tolerationSeconds"] = Value::Null).is_empty());
    let said = with(&|spec| spec["hostname"] = "h".into());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]
            .starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,")
    );
    assert!(said[0].ends_with("was previously negative)\n  hostname: null -> \"h\"\n"), "{said:?}");
    assert_eq!(
        with(&|spec| spec["containers"] = json!([{ "name": "c", "image": "i" }, { "name": "d", "image": "i" }])),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
    let gated = |term: Value| {
        pod(json!({ "schedulingGates": [{ "name": "a/b" }], "affinity": { "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": term }] }
    } } }))
    };
    let (one, other) = (json!({ "key": "a", "operator": "Exists" }), json!({ "key": "b", "operator": "Exists" }));
    assert!(of_change("", &gated(json!([one])), &gated(json!([one, other]))).is_empty());
    assert_eq!(
        of_change("", &gated(json!([one])), &gated(json!([other]))),
        [
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: \
          {\"MatchExpressions\":[{\"Key\":\"b\",\"Operator\":\"Exists\",\"Values\":null}],\"MatchFields\":null}: only additions \
          are allowed (no mutations or deletions)"
        ]
    );
}

#[test]
fn statuses_and_other_subresources() {
    let ended = |state: Value| {
        let mut pod = pod(json!({ "restartPolicy": "Never" }));
        pod["status"] = json!({ "containerStatuses": [{ "name": "c", "state": state }] });
        pod
    };
    let dead = ended(json!({ "terminated": { "exitCode": 1 } }));
    assert_eq!(
        of_change("status", &dead, &ended(json!({ "running": {} }))),
        ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
    );
    assert!(of_change("status", &dead, &dead).is_empty());
    let ruled = |mut pod: Value, action: &str, code: i64| {
        let rule = json!({ "action": action, "exitCodes": { "operator": "In", "values": [code] } });
        pod["spec"]["containers"][0]["restartPolicy"] = "Never".into();
        pod["spec"]["containers"][0]["restartPolicyRules"] = json!([rule]);
        pod
    };
    for (action, code, refused) in [("Restart", 1, 0), ("Restart", 2, 1), ("RestartAllContainers", 2, 0)] {
        let [before, after] = [&dead, &ended(json!({ "running": {} }))].map(|pod| ruled(pod.clone(), action, code));
        assert_eq!(of_change("status", &before, &after).len(), refused, "{action} {code}");
    }
    let plain = pod(json!({}));
    let debugged = |extra: Value| {
        let mut container = json!({ "name": "e", "image": "i" });
        container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        pod(json!({ "ephemeralContainers": [container] }))
    };
    assert!(of_change("ephemeralcontainers", &plain, &debugged(json!({ "resources": {} }))).is_empty());
    assert_eq!(
        of_change("ephemeralcontainers", &debugged(json!({})), &debugged(json!({ "targetContainerName": "z" }))),
        [
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"z\"",
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be changed\n  \
             targetContainerName: null -> \"z\"\n",
        ]
    );
    let sized =
        |resources: Value| pod(json!({ "containers": [{ "name": "c", "image": "i", "resources": resources }] }));
    let before = sized(json!({ "requests": { "cpu": "1", "memory": "1Gi" } }));
    assert!(of_change("resize", &before, &sized(json!({ "requests": { "cpu": "2", "memory": "2Gi" } }))).is_empty());
    assert_eq!(
        of_change("resize", &before, &sized(json!({ "requests": { "cpu": "1" }, "limits": { "a/b": "1" } }))),
        [
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            "spec: Forbidden: only cpu and memory resources are mutable",
        ]
    );
    let whole = |resources: Value| pod(json!({ "resources": resources }));
    let before = whole(json!({ "requests": { "cpu": "1" } }));
    assert!(of_change("resize", &before, &whole(json!({ "requests": { "cpu": "2" } }))).is_empty());
    assert_eq!(
        of_change("resize", &before, &pod(json!({ "containers": [{ "name": "d", "image": "i" }] })))[1..],
        [
            "spec.resources: Forbidden: pod-level resources cannot be removed",
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        ]
    );
}

/// Values that fit nowhere in particular.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-zA-Z0-9./_' \\[\\]-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(proptest::sample::select(FIELDS), inner, 0..5).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

const FIELDS: &[&str] = &[
    "containers",
    "initContainers",
    "volumes",
    "name",
    "image",
    "resources",
    "limits",
    "requests",
    "cpu",
    "projected",
    "sources",
    "affinity",
    "nodeAffinity",
    "tolerations",
    "securityContext",
    "env",
    "valueFrom",
    "fieldRef",
    "fieldPath",
    "livenessProbe",
    "httpGet",
    "port",
    "iscsi",
    "iqn",
    "items",
    "path",
    "hostPath",
    "dnsConfig",
    "searches",
];

proptest! {
    #[test]
    fn whatever_is_written_is_answered(spec in anything(), status in anything()) {
        let odd = json!({ "metadata": { "name": "x", "namespace": "ns" }, "spec": spec, "status": status });
        create(kind::core("pods"), &odd);
        for subresource in ["", "status", "ephemeralcontainers", "resize"] {
            update(kind::core("pods"), subresource, &pod(json!({})), &odd);
            // What does not change breaks no rule about changes.
            let errors = update(kind::core("pods"), subresource, &odd, &odd);
            prop_assert!(errors.iter().all(|error| !error.message.contains("may not change")), "{errors:?}");
        }
    }
}
