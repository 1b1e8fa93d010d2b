//! The columns, kind by kind; kinds without an entry show name and age.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age};
use crate::kind::Kind;

const fn text(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, kind: "string", wide: false, cell }
}

const fn number(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, kind: "integer", wide: false, cell }
}

const fn wide(name: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, kind: "string", wide: true, cell }
}

const NAME: Column = text("Name", |object, _| object["metadata"]["name"].clone());
const AGE: Column = text("Age", |object, now| age(&object["metadata"]["creationTimestamp"], now));

const PLAIN: &[Column] = &[NAME, AGE];
const CONFIG_MAPS: &[Column] =
    &[NAME, number("Data", |object, _| (count(&object["data"]) + count(&object["binaryData"])).into()), AGE];
const SECRETS: &[Column] = &[
    NAME,
    text("Type", |object, _| or_none(&object["type"])),
    number("Data", |object, _| count(&object["data"]).into()),
    AGE,
];
const NAMESPACES: &[Column] = &[NAME, text("Status", |object, _| object["status"]["phase"].clone()), AGE];
const NODES: &[Column] = &[
    NAME,
    text("Status", |object, _| node_status(object).into()),
    text("Roles", |object, _| roles(object).into()),
    AGE,
    text("Version", |object, _| word(&object["status"]["nodeInfo"]["kubeletVersion"])),
    wide("Internal-IP", |object, _| address(object, "InternalIP")),
    wide("External-IP", |object, _| address(object, "ExternalIP")),
    wide("OS-Image", |object, _| word(&object["status"]["nodeInfo"]["osImage"])),
    wide("Kernel-Version", |object, _| word(&object["status"]["nodeInfo"]["kernelVersion"])),
    wide("Container-Runtime", |object, _| word(&object["status"]["nodeInfo"]["containerRuntimeVersion"])),
];
const PODS: &[Column] = &[
    NAME,
    text("Ready", |object, _| format!("{}/{}", ready(object), items(&object["spec"]["containers"]).count()).into()),
    text("Status", |object, _| pod_status(object).into()),
    Column { name: "Restarts", kind: "string", wide: false, cell: |object, _| restarts(object).into() },
    AGE,
    wide("IP", |object, _| or_none(&object["status"]["podIP"])),
    wide("Node", |object, _| or_none(&object["spec"]["nodeName"])),
    wide("Nominated Node", |object, _| or_none(&object["status"]["nominatedNodeName"])),
    wide("Readiness Gates", |_, _| "<none>".into()),
];
const SERVICES: &[Column] = &[
    NAME,
    text("Type", |object, _| object["spec"]["type"].clone()),
    text("Cluster-IP", |object, _| or_none(&object["spec"]["clusterIP"])),
    text("External-IP", |object, _| joined(&object["spec"]["externalIPs"])),
    text("Port(s)", |object, _| ports(object).into()),
    AGE,
    wide("Selector", |object, _| selector(&object["spec"]["selector"]).into()),
];
const DEPLOYMENTS: &[Column] = &[
    NAME,
    text("Ready", |object, _| {
        format!("{}/{}", zero(&object["status"]["readyReplicas"]), zero(&object["spec"]["replicas"])).into()
    }),
    number("Up-to-date", |object, _| zero(&object["status"]["updatedReplicas"]).into()),
    number("Available", |object, _| zero(&object["status"]["availableReplicas"]).into()),
    AGE,
    wide("Containers", |object, _| containers(object, "name").into()),
    wide("Images", |object, _| containers(object, "image").into()),
    wide("Selector", |object, _| selector(&object["spec"]["selector"]["matchLabels"]).into()),
];
const REPLICA_SETS: &[Column] = &[
    NAME,
    number("Desired", |object, _| zero(&object["spec"]["replicas"]).into()),
    number("Current", |object, _| zero(&object["status"]["replicas"]).into()),
    number("Ready", |object, _| zero(&object["status"]["readyReplicas"]).into()),
    AGE,
    wide("Containers", |object, _| containers(object, "name").into()),
    wide("Images", |object, _| containers(object, "image").into()),
    wide("Selector", |object, _| selector(&object["spec"]["selector"]["matchLabels"]).into()),
];
const SERVICE_ACCOUNTS: &[Column] =
    &[NAME, number("Secrets", |object, _| items(&object["secrets"]).count().into()), AGE];
const CREATED: &[Column] = &[NAME, text("Created At", |object, _| object["metadata"]["creationTimestamp"].clone())];
const BINDINGS: &[Column] = &[
    NAME,
    text("Role", |object, _| {
        let role = &object["roleRef"];
        format!("{}/{}", role["kind"].as_str().unwrap_or_default(), role["name"].as_str().unwrap_or_default()).into()
    }),
    AGE,
];
const LEASES: &[Column] = &[NAME, text("Holder", |object, _| word(&object["spec"]["holderIdentity"])), AGE];
const EVENTS: &[Column] = &[
    text("Last Seen", |object, now| age(last_seen(object), now)),
    text("Type", |object, _| object["type"].clone()),
    text("Reason", |object, _| object["reason"].clone()),
    text("Object", |object, _| {
        let about = &object["involvedObject"];
        let kind = about["kind"].as_str().unwrap_or_default().to_lowercase();
        format!("{kind}/{}", about["name"].as_str().unwrap_or_default()).into()
    }),
    text("Message", |object, _| object["message"].as_str().unwrap_or_default().trim().into()),
    wide("Name", |object, _| object["metadata"]["name"].clone()),
];

pub(super) fn of(kind: &Kind) -> &'static [Column] {
    match (kind.group, kind.resource) {
        ("", "configmaps") => CONFIG_MAPS,
        ("", "events") => EVENTS,
        ("", "namespaces") => NAMESPACES,
        ("", "nodes") => NODES,
        ("", "pods") => PODS,
        ("", "secrets") => SECRETS,
        ("", "serviceaccounts") => SERVICE_ACCOUNTS,
        ("", "services") => SERVICES,
        ("apps", "deployments") => DEPLOYMENTS,
        ("apps", "replicasets") => REPLICA_SETS,
        ("coordination.k8s.io", "leases") => LEASES,
        ("rbac.authorization.k8s.io", "clusterroles" | "roles") => CREATED,
        ("rbac.authorization.k8s.io", _) => BINDINGS,
        _ => PLAIN,
    }
}

fn items(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

fn zero(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn word(value: &Value) -> Value {
    value.as_str().unwrap_or_default().into()
}

fn or_none(value: &Value) -> Value {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or("<none>").into()
}

fn joined(value: &Value) -> Value {
    let all: Vec<&str> = items(value).filter_map(Value::as_str).collect();
    if all.is_empty() { "<none>".into() } else { all.join(",").into() }
}

fn selector(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    let all: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

fn containers(object: &Value, field: &str) -> String {
    let all = items(&object["spec"]["template"]["spec"]["containers"]);
    all.filter_map(|container| container[field].as_str()).collect::<Vec<_>>().join(",")
}

fn ports(object: &Value) -> String {
    let port = |port: &Value| {
        let node = port["nodePort"].as_i64().filter(|node| *node > 0).map(|node| format!(":{node}"));
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        format!("{}{}/{protocol}", zero(&port["port"]), node.unwrap_or_default())
    };
    let all: Vec<String> = items(&object["spec"]["ports"]).map(port).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

fn ready(object: &Value) -> usize {
    items(&object["status"]["containerStatuses"]).filter(|status| status["ready"] == true).count()
}

fn restarts(object: &Value) -> i64 {
    items(&object["status"]["containerStatuses"]).map(|status| zero(&status["restartCount"])).sum()
}

/// The phase, or what keeps the pod from running.
fn pod_status(object: &Value) -> String {
    let status = &object["status"];
    let mut reason = status["reason"].as_str().or(status["phase"].as_str()).unwrap_or_default().to_owned();
    let total = items(&object["spec"]["initContainers"]).count();
    for (done, init) in items(&status["initContainerStatuses"]).enumerate() {
        let state = &init["state"];
        if state["terminated"]["exitCode"] == 0 || init["started"] == true {
            continue;
        }
        let waiting = state["waiting"]["reason"].as_str().filter(|reason| *reason != "PodInitializing");
        return match state["terminated"]["reason"].as_str().or(waiting) {
            Some(reason) => format!("Init:{reason}"),
            None => format!("Init:{done}/{total}"),
        };
    }
    for container in items(&status["containerStatuses"]).rev() {
        let state = &container["state"];
        if let Some(why) = state["waiting"]["reason"].as_str().or(state["terminated"]["reason"].as_str()) {
            why.clone_into(&mut reason);
        }
    }
    if object["metadata"]["deletionTimestamp"].is_null() { reason } else { "Terminating".to_owned() }
}

fn node_status(object: &Value) -> String {
    let ready = items(&object["status"]["conditions"]).find(|condition| condition["type"] == "Ready");
    let mut status = match ready.and_then(|ready| ready["status"].as_str()) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(object: &Value) -> String {
    const PREFIX: &str = "node-role.kubernetes.io/";
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    let all: Vec<&str> = labels.filter_map(|(key, _)| key.strip_prefix(PREFIX)).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

fn address(object: &Value, kind: &str) -> Value {
    let found = items(&object["status"]["addresses"]).find(|address| address["type"] == kind);
    found.map_or_else(|| "<none>".into(), |address| or_none(&address["address"]))
}

fn last_seen(event: &Value) -> &Value {
    let series = &event["series"]["lastObservedTime"];
    [series, &event["lastTimestamp"], &event["eventTime"]]
        .into_iter()
        .find(|time| !time.is_null())
        .unwrap_or(&event["metadata"]["creationTimestamp"])
}
