//! PURE: what an agent's word about a pod or a node makes of the object.

use proto::agent::PodStatus;
use serde_json::Value;

use crate::registry::prepare::meta_str;

/// What is to be done about a pod's status.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// The object with the new status.
    Write(Value),
    /// The pod has ended and its object was only waiting for that.
    Remove,
    /// Nothing: it is as told, or the pod is gone, or another one has its name.
    Done,
}

/// `object` is what is stored under the pod's name; `written`: the status is known to be there.
pub(super) fn next(node: &str, pod: &PodStatus, status: &Value, object: Option<Value>, written: bool) -> Next {
    let Some(mut object) = object.filter(|object| own(node, pod, object)) else { return Next::Done };
    let wanted = merged(&object["status"], status);
    if !written && object["status"] != wanted {
        object["status"] = wanted;
        return Next::Write(object);
    }
    if pod.terminated && !object["metadata"]["deletionTimestamp"].is_null() { Next::Remove } else { Next::Done }
}

/// Whether the pod is the one meant, on the node that speaks.
fn own(node: &str, pod: &PodStatus, object: &Value) -> bool {
    meta_str(object, "uid") == pod.uid && object["spec"]["nodeName"].as_str() == Some(node)
}

/// The agent's status with the conditions that others wrote, and what the agent does not know of.
pub(super) fn merged(old: &Value, new: &Value) -> Value {
    let mut status = new.clone();
    let conditions = |value: &Value| value["conditions"].as_array().cloned().unwrap_or_default();
    let (before, mut all) = (conditions(old), conditions(new));
    for condition in &mut all {
        // An agent that has just started does not know since when it holds.
        let held =
            before.iter().find(|held| held["type"] == condition["type"] && held["status"] == condition["status"]);
        if let Some(since) = held.map(|held| &held["lastTransitionTime"]).filter(|since| since.is_string()) {
            condition["lastTransitionTime"] = since.clone();
        }
    }
    let theirs = before.into_iter().filter(|old| !all.iter().any(|new| new["type"] == old["type"]));
    all.extend(theirs.collect::<Vec<_>>());
    if !all.is_empty() {
        status["conditions"] = all.into();
    }
    status
}

/// Brings a Node object up to what its agent says: labels and annotations are added, the status is the agent's.
pub(super) fn registered(mut object: Value, told: &Value) -> Value {
    for map in ["labels", "annotations"] {
        for (key, value) in told["metadata"][map].as_object().into_iter().flatten() {
            object["metadata"][map][key] = value.clone();
        }
    }
    object
}

/// An Event that a node tells of one of its pods, as it is stored: a new one, or one more of the same. None when the
/// node speaks of something else, or for somebody else.
pub(super) fn told(node: &str, event: Value, held: Option<Value>) -> Option<Value> {
    let about = &event["involvedObject"];
    let own = event["kind"] == "Event" && about["kind"] == "Pod" && event["source"]["host"].as_str() == Some(node);
    let named = meta_str(&event, "name").strip_prefix(about["name"].as_str()?)?.starts_with('.');
    if !own || !named || about["namespace"] != event["metadata"]["namespace"] {
        return None;
    }
    let Some(mut held) = held else { return Some(event) };
    if held["involvedObject"]["uid"] != about["uid"] {
        return None;
    }
    held["count"] = (held["count"].as_i64().unwrap_or(1) + 1).into();
    held["lastTimestamp"] = event["lastTimestamp"].clone();
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_of_others_stay_and_times_of_what_has_not_changed() {
        let old = json!({ "conditions": [
            { "type": "Mine", "status": "True" }, { "type": "Ready", "status": "False" },
            { "type": "DiskPressure", "status": "False", "lastTransitionTime": "1" }] });
        let new = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" },
            { "type": "DiskPressure", "status": "False", "lastTransitionTime": "2" }] });
        let all = json!([{ "type": "Ready", "status": "True" },
            { "type": "DiskPressure", "status": "False", "lastTransitionTime": "1" },
            { "type": "Mine", "status": "True" }]);
        assert_eq!(merged(&old, &new), json!({ "phase": "Running", "conditions": all }));
    }

    fn object(uid: &str, node: &str, phase: &str) -> Option<Value> {
        Some(json!({ "metadata": { "uid": uid }, "spec": { "nodeName": node }, "status": { "phase": phase } }))
    }

    #[test]
    fn a_node_speaks_of_its_own_pods_only() {
        let pod = PodStatus { uid: "u".into(), ..PodStatus::default() };
        let running = json!({ "phase": "Running" });
        let said = |object: Option<Value>| next("n", &pod, &running, object, false);
        assert!(matches!(said(object("u", "n", "Pending")), Next::Write(_)));
        assert_eq!(said(object("u", "n", "Running")), Next::Done);
        assert_eq!(said(object("u", "m", "Pending")), Next::Done);
        assert_eq!(said(object("v", "n", "Pending")), Next::Done);
        assert_eq!(said(None), Next::Done);
    }

    #[test]
    fn a_pod_that_ended_tells_how_before_it_is_removed() {
        let pod = PodStatus { uid: "u".into(), terminated: true, ..PodStatus::default() };
        let done = json!({ "phase": "Succeeded" });
        let mut held = object("u", "n", "Running").expect("made");
        assert_eq!(next("n", &pod, &done, Some(held.clone()), true), Next::Done, "nobody asked for its end");
        held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(matches!(next("n", &pod, &done, Some(held.clone()), false), Next::Write(_)));
        assert_eq!(next("n", &pod, &done, Some(held), true), Next::Remove);
    }

    #[test]
    fn events_are_counted_and_nodes_speak_for_themselves() {
        let event = json!({ "kind": "Event", "metadata": { "name": "p.1", "namespace": "ns" }, "lastTimestamp": "2",
            "involvedObject": { "kind": "Pod", "name": "p", "namespace": "ns", "uid": "u" },
            "source": { "host": "n" }, "count": 1 });
        assert_eq!(told("n", event.clone(), None), Some(event.clone()));
        assert_eq!(told("m", event.clone(), None), None);
        let mut held = event.clone();
        held["lastTimestamp"] = "1".into();
        let counted = told("n", event.clone(), Some(held.clone())).expect("one more");
        assert_eq!((&counted["count"], &counted["lastTimestamp"]), (&2.into(), &"2".into()));
        held["involvedObject"]["uid"] = "other".into();
        assert_eq!(told("n", event.clone(), Some(held)), None);
        let mut foreign = event;
        foreign["metadata"]["namespace"] = "kube-system".into();
        assert_eq!(told("n", foreign, None), None);
    }
}
