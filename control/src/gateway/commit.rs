//! What agents say, written into objects: nodes when they register, pods' statuses, pods that have ended.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use parking_lot::Mutex;
use proto::agent::{PodStatus, Statuses};
use serde_json::Value;
use tokio::sync::Notify;

use crate::kind;
use crate::registry::prepare::meta_str;
use crate::registry::removal::DeleteOptions;
use crate::registry::shell::{Registry, Target};
use crate::status::Status;

/// Statuses of one node written at one time.
const AT_ONCE: usize = 16;

/// Statuses that wait to be written: the newest of each pod, with the number of the last message.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    inner: Mutex<(u64, BTreeMap<String, PodStatus>)>,
    filled: Notify,
}

impl Waiting {
    pub(crate) fn put(&self, statuses: Statuses) {
        let mut inner = self.inner.lock();
        inner.0 = statuses.sequence;
        inner.1.extend(statuses.pods.into_iter().map(|pod| (pod.uid.clone(), pod)));
        drop(inner);
        self.filled.notify_one();
    }

    /// All that waits, and the message up to which that is everything; waits until there is something.
    pub(crate) async fn take(&self) -> (u64, Vec<PodStatus>) {
        self.filled.notified().await;
        let mut inner = self.inner.lock();
        (inner.0, std::mem::take(&mut inner.1).into_values().collect())
    }
}

fn pod_target<'a>(pod: &'a PodStatus, subresource: &'a str) -> Target<'a> {
    Target { kind: kind::core("pods"), namespace: &pod.namespace, name: &pod.name, subresource }
}

/// Writes statuses of pods of a node.
///
/// # Errors
/// When the store does not take one: none of them may be acknowledged.
pub(crate) async fn statuses(registry: &Registry, node: &str, pods: Vec<PodStatus>) -> Result<(), Status> {
    let mut written = futures_util::stream::iter(pods)
        .map(|pod| async move { one(registry, node, &pod).await })
        .buffer_unordered(AT_ONCE);
    while let Some(result) = written.next().await {
        match result {
            Ok(()) => {}
            // The pod is gone, or another one has its name: the agent learns that from its assignments.
            Err(status) if matches!(status.code, 404 | 409 | 422 | 403) => {
                tracing::debug!(node, message = status.message, "a status was not taken");
            }
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

async fn one(registry: &Registry, node: &str, pod: &PodStatus) -> Result<(), Status> {
    let new: Value = serde_json::from_slice(&pod.status_json).map_err(|e| Status::bad_request(e.to_string()))?;
    let change = |mut object: Value| {
        own(node, pod, &object)?;
        object["status"] = merged(&object["status"], &new);
        Ok(object)
    };
    let written = registry.modify(pod_target(pod, "status"), false, change).await?;
    if pod.terminated && !written["metadata"]["deletionTimestamp"].is_null() {
        let options = DeleteOptions { grace_seconds: Some(0), uid: Some(pod.uid.clone()), ..DeleteOptions::default() };
        registry.delete(pod_target(pod, ""), &options).await?;
    }
    Ok(())
}

/// Whether the pod is the one meant, on the node that speaks.
fn own(node: &str, pod: &PodStatus, object: &Value) -> Result<(), Status> {
    let same = meta_str(object, "uid") == pod.uid && object["spec"]["nodeName"].as_str() == Some(node);
    let refused = || Status::conflict(kind::core("pods"), &pod.name, "the status is of another pod");
    if same { Ok(()) } else { Err(refused()) }
}

/// The agent's status with the conditions that others wrote.
fn merged(old: &Value, new: &Value) -> Value {
    let mut status = new.clone();
    let conditions = |value: &Value| value["conditions"].as_array().cloned().unwrap_or_default();
    let mut all = conditions(new);
    let theirs = conditions(old).into_iter().filter(|old| !all.iter().any(|new| new["type"] == old["type"]));
    all.extend(theirs.collect::<Vec<_>>());
    if !all.is_empty() {
        status["conditions"] = all.into();
    }
    status
}

/// Whether somebody wrote that the node is silent.
pub(crate) fn given_up(registry: &Registry, node: &str) -> bool {
    let target = Target { kind: kind::core("nodes"), namespace: "", name: node, subresource: "" };
    let held = registry.get(&registry.store().view(), target);
    let conditions = held.as_ref().ok().and_then(|held| held.value["status"]["conditions"].as_array());
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "Unknown")
}

/// Creates a node's object, or brings it up to date: labels are merged, the status is the agent's.
///
/// # Errors
/// When the store does not take it, or the object is of another node.
pub(crate) async fn register(registry: &Registry, node: &str, object: &[u8]) -> Result<(), Status> {
    let new: Value = serde_json::from_slice(object).map_err(|e| Status::bad_request(e.to_string()))?;
    if meta_str(&new, "name") != node || new["kind"] != "Node" {
        return Err(Status::bad_request(format!("the registered object is not Node {node:?}")));
    }
    let target = |subresource| Target { kind: kind::core("nodes"), namespace: "", name: node, subresource };
    match registry.create(target(""), new.clone(), false).await {
        Err(status) if status.code == 409 => {}
        other => return other.map(|_| ()),
    }
    let labels = |mut object: Value| {
        for (label, value) in new["metadata"]["labels"].as_object().into_iter().flatten() {
            object["metadata"]["labels"][label] = value.clone();
        }
        Ok(object)
    };
    registry.modify(target(""), false, labels).await?;
    let status = |mut object: Value| {
        object["status"] = merged(&object["status"], &new["status"]);
        Ok(object)
    };
    registry.modify(target("status"), false, status).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_of_others_stay() {
        let old =
            json!({ "conditions": [{ "type": "Mine", "status": "True" }, { "type": "Ready", "status": "False" }] });
        let new = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
        let both = json!([{ "type": "Ready", "status": "True" }, { "type": "Mine", "status": "True" }]);
        assert_eq!(merged(&old, &new), json!({ "phase": "Running", "conditions": both }));
    }

    #[test]
    fn a_node_speaks_of_its_own_pods_only() {
        let pod = PodStatus { uid: "u".into(), ..PodStatus::default() };
        let object = |uid: &str, node: &str| json!({ "metadata": { "uid": uid }, "spec": { "nodeName": node } });
        assert!(own("n", &pod, &object("u", "n")).is_ok());
        assert!(own("n", &pod, &object("u", "m")).is_err());
        assert!(own("n", &pod, &object("v", "n")).is_err());
    }
}
