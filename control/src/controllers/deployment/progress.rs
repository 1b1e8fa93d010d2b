//! PURE: how far a rollout is: the conditions Available and Progressing.
//!
//! Source: k8s.io/kubernetes `pkg/controller/deployment/{progress,sync}.go`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::sets::Sets;
use crate::controllers::rollout::Goal;
use crate::controllers::{Observed, conditions};
use crate::reconcile::world::Item;
use crate::registry::removal::rfc3339;

/// `spec.progressDeadlineSeconds` where it is not set by defaulting: none.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// Whether only the new set has pods, as many as wished for, and all serve.
pub(super) fn complete(deployment: &Item, sets: &Sets) -> bool {
    let Some(new) = &sets.new else { return false };
    let wished = deployment.value["spec"]["replicas"].as_i64().unwrap_or(1);
    let status = |field: &str| new.value["status"][field].as_i64().unwrap_or(0);
    let old: i64 = sets.old.iter().map(|set| set.value["status"]["replicas"].as_i64().unwrap_or(0)).sum();
    status("replicas") == wished
        && status("availableReplicas") == wished
        && old == 0
        && new.value["metadata"]["generation"] == new.value["status"]["observedGeneration"]
}

/// The conditions, and seconds until a deadline may pass.
pub(super) fn conditions(
    observed: &Observed<'_>,
    deployment: &Item,
    sets: &Sets,
    goal: Goal,
    status: &Value,
) -> (Vec<Value>, Option<u64>) {
    let now = observed.now;
    let mut all = deployment.value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let available = status["availableReplicas"].as_i64().unwrap_or(0);
    let (word, why) = if available >= goal.replicas - goal.unavailable {
        ("True", ("MinimumReplicasAvailable", "Deployment has minimum availability."))
    } else {
        ("False", ("MinimumReplicasUnavailable", "Deployment does not have minimum availability."))
    };
    set(&mut all, "Available", word, why, now, false);
    let limit = deployment.value["spec"]["progressDeadlineSeconds"].as_i64().filter(|limit| *limit != NO_DEADLINE);
    let Some(limit) = limit else {
        all.retain(|condition| condition["type"] != "Progressing");
        return (all, None);
    };
    let name = &deployment.key.name;
    let about = match &sets.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.key.name),
        None => format!("Deployment \"{name}\""),
    };
    let held = conditions::find(&deployment.value, "Progressing").cloned().unwrap_or_default();
    let paused = deployment.value["spec"]["paused"] == true;
    if paused {
        if held["reason"] != "DeploymentPaused" {
            set(&mut all, "Progressing", "Unknown", ("DeploymentPaused", "Deployment is paused"), now, true);
        }
        return (all, None);
    }
    if complete(deployment, sets) {
        let text = format!("{about} has successfully progressed.");
        set(&mut all, "Progressing", "True", ("NewReplicaSetAvailable", &text), now, false);
        return (all, None);
    }
    if moved(deployment, status) || held["reason"] == "DeploymentPaused" || held.is_null() {
        let made = sets.new.is_none() || held.is_null();
        let (reason, text) = if held["reason"] == "DeploymentPaused" {
            ("DeploymentResumed", "Deployment is resumed".to_owned())
        } else if made {
            ("NewReplicaSetCreated", format!("Created new replica set \"{}\"", about.split('"').nth(1).unwrap_or(name)))
        } else {
            ("ReplicaSetUpdated", format!("{about} is progressing."))
        };
        set(&mut all, "Progressing", "True", (reason, &text), now, true);
        return (all, u64::try_from(limit).ok().map(|limit| limit + 1));
    }
    let since = held["lastUpdateTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let age = since.map_or(0, |since| now.as_second() - since.as_second());
    let done = held["reason"] == "NewReplicaSetAvailable";
    if age > limit && !done && held["reason"] != "ProgressDeadlineExceeded" {
        let text = format!("{about} has timed out progressing.");
        set(&mut all, "Progressing", "False", ("ProgressDeadlineExceeded", &text), now, false);
    } else if done {
        set(&mut all, "Progressing", "True", ("ReplicaSetUpdated", &format!("{about} is progressing.")), now, true);
        return (all, u64::try_from(limit).ok().map(|limit| limit + 1));
    }
    (all, u64::try_from(limit - age + 1).ok())
}

/// Whether the rollout has come nearer to its end since the last status.
fn moved(deployment: &Item, status: &Value) -> bool {
    let (old, number) =
        (&deployment.value["status"], |status: &Value, field: &str| status[field].as_i64().unwrap_or(0));
    let olds = |status: &Value| number(status, "replicas") - number(status, "updatedReplicas");
    number(status, "updatedReplicas") > number(old, "updatedReplicas")
        || olds(status) < olds(old)
        || number(status, "readyReplicas") > number(old, "readyReplicas")
        || number(status, "availableReplicas") > number(old, "availableReplicas")
}

/// Sets a condition; `lastUpdateTime` is new when it changes, or always.
fn set(all: &mut Vec<Value>, kind: &str, status: &str, why: (&str, &str), now: Timestamp, touch: bool) {
    let held = all.iter().find(|condition| condition["type"] == kind).cloned();
    let changed = conditions::set(all, kind, status, why, now);
    let time = match &held {
        Some(held) if !changed && !touch => held["lastUpdateTime"].clone(),
        _ => json!(rfc3339(now)),
    };
    if let Some(condition) = all.iter_mut().find(|condition| condition["type"] == kind) {
        condition["lastUpdateTime"] = time;
    }
}
