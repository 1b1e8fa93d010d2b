//! PURE: what several kinds' cells are made of.

use serde_json::Value;

pub(super) fn items(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

pub(super) fn count(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text, or what stands for none.
pub(super) fn or<'a>(value: &'a Value, none: &'a str) -> &'a str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(none)
}

/// `a=b,c=d`.
pub(super) fn pairs(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    let all: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", text(value))).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

/// A `metav1.LabelSelector`, or what stands for none.
pub(super) fn selector(value: &Value) -> String {
    let printed = crate::selector::printed(value);
    if printed.is_empty() { "<none>".to_owned() } else { printed }
}

/// One field of every container of a template.
pub(super) fn containers(object: &Value, field: &str) -> String {
    let all = items(&object["spec"]["template"]["spec"]["containers"]);
    all.map(|container| text(&container[field])).collect::<Vec<_>>().join(",")
}

/// `RWO,ROX`.
pub(super) fn access_modes(modes: &Value) -> String {
    let known =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let held = known.iter().filter(|(long, _)| items(modes).any(|mode| mode == long));
    held.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The storage class of a volume or claim: an annotation of old, else the field.
pub(super) fn storage_class(object: &Value) -> &str {
    let old = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    old.as_str().unwrap_or(text(&object["spec"]["storageClassName"]))
}

/// The phase, unless the object is on its way out.
pub(super) fn phase(object: &Value) -> &str {
    if object["metadata"]["deletionTimestamp"].is_null() { text(&object["status"]["phase"]) } else { "Terminating" }
}

pub(super) fn node_status(node: &Value) -> String {
    let ready = items(&node["status"]["conditions"]).rev().find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|ready| ready["status"] == "True") {
        Some(true) => "Ready".to_owned(),
        Some(false) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

pub(super) fn node_roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => Some(text(value).to_owned()),
        None => None,
    };
    let roles: std::collections::BTreeSet<String> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

pub(super) fn node_address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = items(&node["status"]["addresses"]).find(|address| address["type"] == kind);
    found.map_or("<none>", |address| text(&address["address"]))
}

/// Who a binding is for: its subjects of one kind.
pub(super) fn subjects(binding: &Value, kind: &str) -> String {
    let held = items(&binding["subjects"]).filter(|subject| subject["kind"] == kind);
    let name = |subject: &Value| match kind {
        "ServiceAccount" => format!("{}/{}", text(&subject["namespace"]), text(&subject["name"])),
        _ => text(&subject["name"]).to_owned(),
    };
    held.map(name).collect::<Vec<_>>().join(", ")
}

/// The owner that controls a revision.
pub(super) fn controller(object: &Value) -> String {
    let owner = items(&object["metadata"]["ownerReferences"]).find(|owner| owner["controller"] == true);
    let Some(owner) = owner else { return "<none>".to_owned() };
    let group = text(&owner["apiVersion"]).rsplit_once('/').map(|(group, _)| format!(".{group}"));
    format!("{}{}/{}", text(&owner["kind"]).to_lowercase(), group.unwrap_or_default(), text(&owner["name"]))
}
