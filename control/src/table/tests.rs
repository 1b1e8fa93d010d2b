//! Rows as `kubectl get` shows them.

use super::*;
use crate::kind;

fn row(kind: &'static Kind, object: &Value) -> Value {
    let now = "2026-01-01T01:00:00Z".parse().expect("a time");
    Style { kind, version: "v1", include: Include::None }.row(object, now)
}

fn cells(resource: &str, object: Value) -> String {
    row(kind::core(resource), &object)["cells"].to_string()
}

fn metadata() -> Value {
    json!({ "name": "a", "creationTimestamp": "2026-01-01T00:55:30Z" })
}

fn pod_cells(spec: Value, status: Value) -> String {
    let row = row(kind::core("pods"), &json!({ "metadata": metadata(), "spec": spec, "status": status }));
    let cell = |at: usize| row["cells"][at].as_str().expect("a text").to_owned();
    format!("{} {} {}", cell(1), cell(2), cell(3))
}

#[test]
fn rows_are_what_kubectl_shows() {
    assert_eq!(cells("configmaps", json!({ "metadata": metadata(), "data": { "x": "1" } })), r#"["a",1,"4m30s"]"#);
    let pod = json!({
        "metadata": metadata(),
        "spec": { "containers": [{ "name": "c" }, { "name": "d" }], "nodeName": "n" },
        "status": { "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
            { "ready": true, "restartCount": 2, "state": { "running": {} },
              "lastState": { "terminated": { "finishedAt": "2026-01-01T00:59:00Z" } } },
            { "ready": false, "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }
        ] }
    });
    let wanted = r#"["a","1/2","CrashLoopBackOff","3 (60s ago)","4m30s","10.0.0.1","n","<none>","<none>"]"#;
    assert_eq!(cells("pods", pod), wanted);
    let service = |spec: Value| cells("services", json!({ "metadata": { "name": "a" }, "spec": spec }));
    assert_eq!(
        service(json!({ "type": "LoadBalancer", "clusterIPs": ["10.96.0.9"], "externalIPs": ["192.0.2.9"],
            "ports": [{ "port": 80, "nodePort": 30001, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }] })),
        r#"["a","LoadBalancer","10.96.0.9","192.0.2.9","80:30001/TCP,53/UDP","<unknown>","<none>"]"#
    );
    assert_eq!(
        service(json!({ "type": "ExternalName", "externalName": "a.b" })),
        r#"["a","ExternalName","<none>","a.b","<none>","<unknown>","<none>"]"#
    );
}

#[test]
fn a_pods_status_is_what_keeps_it_from_running() {
    let one = || json!({ "containers": [{ "name": "c" }], "initContainers": [{ "name": "i" }, { "name": "s", "restartPolicy": "Always" }] });
    let init = |state: Value| json!({ "phase": "Pending", "initContainerStatuses": [{ "name": "i", "restartCount": 1, "state": state }] });
    let table = [
        (json!({ "phase": "Pending" }), "0/2 Pending 0"),
        (init(json!({ "running": {} })), "0/2 Init:0/2 1"),
        (init(json!({ "waiting": { "reason": "PodInitializing" } })), "0/2 Init:0/2 1"),
        (init(json!({ "waiting": { "reason": "ErrImagePull" } })), "0/2 Init:ErrImagePull 1"),
        (init(json!({ "terminated": { "exitCode": 1, "reason": "Error" } })), "0/2 Init:Error 1"),
        (init(json!({ "terminated": { "exitCode": 2 } })), "0/2 Init:ExitCode:2 1"),
        (init(json!({ "terminated": { "exitCode": 0 } })), "0/2 Pending 0"),
        (
            json!({ "phase": "Running", "initContainerStatuses": [
                { "name": "s", "restartCount": 3, "ready": true, "started": true, "state": { "running": {} } }],
                "containerStatuses": [{ "ready": true, "state": { "running": {} } }] }),
            "2/2 Running 3",
        ),
        (
            json!({ "phase": "Failed", "containerStatuses": [{ "state": { "terminated": { "exitCode": 137, "signal": 9 } } }] }),
            "0/2 Signal:9 0",
        ),
        (json!({ "phase": "Failed", "reason": "Evicted" }), "0/2 Evicted 0"),
        (
            json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "SchedulingGated" }] }),
            "0/2 SchedulingGated 0",
        ),
    ];
    for (status, wanted) in table {
        assert_eq!(pod_cells(one(), status.clone()), wanted, "{status}");
    }
    let two = json!({ "containers": [{ "name": "c" }, { "name": "d" }] });
    let half = json!({ "phase": "Running", "containerStatuses": [
        { "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } }, { "ready": true, "state": { "running": {} } }] });
    assert_eq!(pod_cells(two, half), "1/2 NotReady 0");
}

#[test]
fn a_pod_that_ended_says_so_beside_its_row() {
    let row = row(kind::core("pods"), &json!({ "metadata": metadata(), "status": { "phase": "Succeeded" } }));
    assert_eq!(row["conditions"][0]["message"], "The pod has completed successfully.");
}

#[test]
fn columns_are_described_as_their_fields_are() {
    for kind in kind::ALL.iter().filter(|kind| kind.stored) {
        let style = Style { kind, version: "v1", include: Include::None };
        for column in style.columns().as_array().expect("a list") {
            assert_ne!(column["description"], "", "{kind:?} {column}");
        }
    }
}

#[test]
fn no_more_endpoints_are_shown_than_fit() {
    let addresses: Vec<Value> = (1..6).map(|last| json!({ "ip": format!("10.0.0.{last}") })).collect();
    let object = json!({ "metadata": metadata(), "subsets": [{ "addresses": addresses, "ports": [{ "port": 80 }] }] });
    assert_eq!(cells("endpoints", object), r#"["a","10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...","4m30s"]"#);
    let none = json!({ "metadata": metadata(), "addressType": "IPv4" });
    let slices = kind::find("discovery.k8s.io", "v1", "endpointslices").expect("a row of the table");
    assert_eq!(row(slices, &none)["cells"].to_string(), r#"["a","IPv4","<unset>","<unset>","4m30s"]"#);
}
