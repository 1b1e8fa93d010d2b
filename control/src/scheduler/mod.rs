//! PURE: which node a pod runs on: filters that say why not, scores among those that are left.
//!
//! Source: k8s.io/kubernetes `pkg/scheduler`.

mod affinity;
mod filter;
mod nodes;
mod ranking;
mod score;
mod spread;
pub(crate) mod taints;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::controllers::events::{Told, tell};
use crate::controllers::{Observed, Plan, conditions, pod, status_update};
use crate::kind;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part, Txn};
use crate::registry::key::Key;
use crate::registry::removal::rfc3339;
pub(crate) use crate::scheduler::nodes::Footprint;
use crate::scheduler::nodes::{Nodes, Wants};
use crate::scheduler::ranking::Rankings;

/// `spec.schedulerName` of pods that are ours to place.
const NAME: &str = "default-scheduler";
/// Transactions per plan; pods that are left are looked at again.
const BATCH: usize = 1000;
/// After a plan that left some, which nothing else may wake: soon, but not at once, should it not be taken.
const AGAIN: Duration = Duration::from_millis(5);

/// It looks at all pods that wait at once.
fn everything() -> Key {
    Key { kind: kind::core("pods"), namespace: String::new(), name: String::new() }
}

pub(crate) fn wakes(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    let waits = changed.new.as_ref().is_some_and(|pod| pending(pod));
    // A pod that ends, or a node that changes, may make room.
    let room = changed.is("", "pods")
        && changed.old.as_ref().is_some_and(|pod| pod.node().is_some() && !pod::finished(&pod.value))
        && changed.new.as_ref().is_none_or(|pod| pod::finished(&pod.value));
    let storage = changed.is("", "persistentvolumes") || changed.is("", "persistentvolumeclaims");
    let node = changed.is("", "nodes") && changed.old.as_deref().map(places) != changed.new.as_deref().map(places);
    if (changed.is("", "pods") && waits) || room || node || storage {
        keys.push(everything());
    }
}

/// What of a node matters to placing.
fn places(node: &Item) -> [&Value; 3] {
    [&node.value["metadata"]["labels"], &node.value["spec"], &node.value["status"]["allocatable"]]
}

fn pending(pod: &Item) -> bool {
    let spec = &pod.value["spec"];
    (pod.key.kind.group, pod.key.kind.resource) == ("", "pods")
        && pod.node().is_none()
        && !pod.deleting()
        && !pod::finished(&pod.value)
        && spec["schedulerName"].as_str().is_none_or(|name| name == NAME)
        && spec["schedulingGates"].as_array().is_none_or(Vec::is_empty)
}

pub(crate) fn plan(observed: &Observed<'_>, _: &Key) -> Plan {
    let mut waiting: Vec<&Arc<Item>> = observed.world.pods_nowhere().filter(|pod| pending(pod)).collect();
    if waiting.is_empty() {
        return Plan::default();
    }
    let urgency = |pod: &Arc<Item>| -pod.value["spec"]["priority"].as_i64().unwrap_or(0);
    waiting.sort_by_cached_key(|pod| {
        (urgency(pod), crate::registry::prepare::meta_str(&pod.value, "creationTimestamp").to_owned())
    });
    let (mut nodes, mut rankings) = (Nodes::of(observed.world), Rankings::default());
    let (mut txns, mut wake_in) = (Vec::new(), None);
    for pod in waiting {
        // Pods that were refused before take nothing of a plan: they keep no others waiting.
        if txns.len() >= BATCH {
            wake_in = Some(AGAIN);
            break;
        }
        let wants = Wants::of(observed.world, pod);
        match place(&mut nodes, &mut rankings, &wants) {
            Ok(node) => txns.push(assigned(observed, pod, &node)),
            Err(why) => txns.extend(refused(observed, pod, &why)),
        }
    }
    let txn = |changes| Txn { manager: "kube-scheduler", changes };
    Plan { txns: txns.into_iter().map(txn).collect(), wake_in }
}

/// The best node, which then holds the pod; or why there is none.
fn place(nodes: &mut Nodes, rankings: &mut Rankings, wants: &Wants<'_>) -> Result<String, String> {
    let best = rankings.best(nodes, wants)?;
    nodes.hold(best, wants);
    Ok(nodes.all[best].name.clone())
}

/// The best of all nodes, each looked at; or how many said no, and why.
fn look(nodes: &Nodes, wants: &Wants<'_>) -> Result<usize, String> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting: Vec<usize> = Vec::new();
    for (at, node) in nodes.all.iter().enumerate() {
        match filter::check(node, wants) {
            Ok(()) => fitting.push(at),
            Err(why) => why.into_iter().for_each(|why| *reasons.entry(why).or_default() += 1),
        }
    }
    let skewed = spread::check(nodes, wants, &mut fitting);
    if skewed > 0 {
        *reasons.entry("node(s) didn't match pod topology spread constraints".to_owned()).or_default() += skewed;
    }
    let best = fitting.into_iter().max_by_key(|at| score::of(nodes, &nodes.all[*at], wants));
    best.ok_or_else(|| {
        let total = nodes.all.len();
        let each: Vec<String> = reasons.into_iter().map(|(why, count)| format!("{count} {why}")).collect();
        let each = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
        format!("0/{total} nodes are available{each}.")
    })
}

/// A pod on its node, as `pods/binding` makes it.
pub(crate) fn bound(pod: &Value, node: &str, now: Timestamp) -> Value {
    let mut object = pod.clone();
    object["spec"]["nodeName"] = node.into();
    let mut all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.retain(|condition| condition["type"] != "PodScheduled");
    let time = rfc3339(now);
    all.push(json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time }));
    object["status"]["conditions"] = all.into();
    object
}

/// A pod gets its node, and people are told.
fn assigned(observed: &Observed<'_>, pod: &Item, node: &str) -> Vec<Change> {
    let message = format!("Successfully assigned {}/{} to {node}", pod.key.namespace, pod.key.name);
    let told = Told { severity: "Normal", reason: "Scheduled", message: &message, component: NAME };
    std::iter::once(bind(pod, node, observed.now)).chain(tell(observed, pod, &told)).collect()
}

fn bind(pod: &Item, node: &str, now: Timestamp) -> Change {
    Change::Update { kind: pod.key.kind, part: Part::Whole, object: bound(&pod.value, node, now) }
}

/// Says why, once for each reason.
fn refused(observed: &Observed<'_>, pod: &Item, why: &str) -> Vec<Vec<Change>> {
    let mut status = pod.value["status"].clone();
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    if !conditions::set(&mut all, "PodScheduled", "False", ("Unschedulable", why), observed.now) {
        return Vec::new();
    }
    status["conditions"] = all.into();
    let told = Told { severity: "Warning", reason: "FailedScheduling", message: why, component: NAME };
    vec![std::iter::once(status_update(pod, status)).chain(tell(observed, pod, &told)).collect()]
}

#[cfg(test)]
mod tests;
