//! PURE: nodes whose agent is silent are marked, their pods replaced; with a brake when most vanish at once. Nodes get
//! the taints that their conditions ask for, and pods go from nodes whose taints they do not bear.
//!
//! Source: k8s.io/kubernetes `pkg/controller/nodelifecycle`, `pkg/controller/tainteviction`; the times are ours.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admission::pods::TOLERATED_SECONDS;
use crate::controllers::events::{Told, tell};
use crate::controllers::{Failover, Observed, Plan, conditions, pod, status_update};
use crate::kind;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;
use crate::registry::removal::{DeleteOptions, rfc3339};
use crate::scheduler::taints;

/// A node whose agent has been silent so long is not ready.
const SILENT: Duration = Duration::from_secs(3);
/// A node that nobody has heard since this leadership began gets more time: its agent may be looking for a server.
const UNHEARD: Duration = Duration::from_secs(10);
/// A node that has never been heard of is not missed before this age.
const UNBORN: i64 = 40;
/// Between looks.
const LOOK: Duration = Duration::from_millis(500);
/// When more than this share of the nodes is silent, the fault is probably ours: nothing is evicted.
/// kube-controller-manager's `--unhealthy-zone-threshold`.
const BRAKE_PERCENT: usize = 55;
/// A pod on a node that does not exist goes after this time.
const ORPHANED: i64 = 40;
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// A condition, its status, and the taint by which nothing new is placed there.
const TAINTS: [(&str, &str, &str); 7] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    // No condition: `spec.unschedulable`.
    ("", "", UNSCHEDULABLE),
];
/// Pods changed per plan.
const BURST: usize = 500;

fn everything() -> Key {
    Key { kind: kind::core("nodes"), namespace: String::new(), name: String::new() }
}

/// It looks at all nodes at once: the brake needs their number.
pub(crate) fn always() -> Vec<Key> {
    vec![everything()]
}

/// What else changes of a node is not looked at: while a thousand of them join, each look is at all of them.
pub(crate) fn wakes(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    fn judged(node: &Item) -> (Option<&Value>, &Value) {
        let ready = conditions::find(&node.value, "Ready").map(|ready| &ready["status"]);
        (ready, &node.value["spec"]["taints"])
    }
    if changed.is("", "nodes") && changed.old.as_deref().map(judged) != changed.new.as_deref().map(judged) {
        keys.push(everything());
    }
}

pub(crate) fn plan(observed: &Observed<'_>, _: &Key) -> Plan {
    let mut plan = Plan::default().wake(Some(LOOK));
    let nodes: Vec<(&Arc<Item>, bool)> =
        observed.world.list(kind::core("nodes"), "").map(|node| (node, silent(observed, node))).collect();
    let lost = nodes.iter().filter(|(_, silent)| *silent).count();
    let brake = lost * 100 > nodes.len() * BRAKE_PERCENT;
    for (node, silent) in nodes {
        if silent && !conditions::find(&node.value, "Ready").is_some_and(|ready| ready["status"] == "Unknown") {
            plan = plan.and(lost_sight(observed, node));
        }
        plan = plan.and(tainted(node, observed.now).into_iter().collect());
        let pods = || observed.world.pods_on(&node.key.name).filter(|pod| pod::active(pod)).take(BURST);
        // Of a node that has never said how it is nobody knows that its pods do not run.
        if conditions::find(&node.value, "Ready").is_some_and(|ready| ready["status"] != "True") {
            plan = pods().filter(|pod| pod::ready(&pod.value)).fold(plan, |plan, pod| unready(observed, pod, plan));
        }
        let taints = evicting(node);
        if !(taints.is_empty() || (brake && silent)) {
            let bears = |pod: &&Arc<Item>| conditions::is_true(&node.value, "Ready") || !pod::ready(&pod.value);
            plan = pods().filter(bears).fold(plan, |plan, pod| evict(observed, &taints, pod, plan));
        }
    }
    plan
}

fn silent(observed: &Observed<'_>, node: &Item) -> bool {
    match (observed.silent)(&node.key.name) {
        Some(time) => time >= SILENT,
        // One that somebody made by hand, or whose agent is just being installed.
        None => observed.leading_for >= UNHEARD && age(node, observed.now) >= UNBORN,
    }
}

/// Seconds since an object was made.
fn age(item: &Item, now: Timestamp) -> i64 {
    let made = item.value["metadata"]["creationTimestamp"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    made.map_or(i64::MAX, |made| now.as_second() - made.as_second())
}

/// Nobody hears the node any more; whoever thought it ready is told.
fn lost_sight(observed: &Observed<'_>, node: &Item) -> Vec<Change> {
    let message = format!("Node {} status is now: NodeNotReady", node.key.name);
    let told = Told { severity: "Normal", reason: "NodeNotReady", message: &message, component: "node-controller" };
    let told = conditions::is_true(&node.value, "Ready").then(|| tell(observed, node, &told)).flatten();
    std::iter::once(status_update(node, unknown(node, observed.now))).chain(told).collect()
}

fn unknown(node: &Item, now: Timestamp) -> Value {
    let mut status = node.value["status"].clone();
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        if kind == "Ready" || all.iter().any(|condition| condition["type"] == kind) {
            let why = ("NodeStatusUnknown", "Kubelet stopped posting node status.");
            conditions::set(&mut all, kind, "Unknown", why, now);
        }
    }
    status["conditions"] = all.into();
    status
}

/// The taints that say what the node's conditions say; none when they are there already.
fn tainted(node: &Item, now: Timestamp) -> Option<Change> {
    // A node that says nothing is one that nobody hears.
    let status = |kind: &str| {
        let held = conditions::find(&node.value, kind).and_then(|held| held["status"].as_str());
        held.or((kind == "Ready").then_some("Unknown"))
    };
    let asked = |(kind, wanted, key): &(&str, &str, &str)| match *key {
        UNSCHEDULABLE => node.value["spec"]["unschedulable"] == true,
        _ => status(kind) == Some(wanted),
    };
    let effects =
        |key| if [UNREACHABLE, NOT_READY].contains(&key) { &["NoSchedule", "NoExecute"][..] } else { &["NoSchedule"] };
    let wanted: Vec<(&str, &str)> = TAINTS
        .iter()
        .filter(|row| asked(row))
        .flat_map(|(_, _, key)| effects(*key).iter().map(move |effect| (*key, *effect)))
        .collect();
    let is = |taint: &Value, (key, effect): (&str, &str)| taint["key"] == key && taint["effect"] == effect;
    let ours =
        |taint: &Value| TAINTS.iter().any(|(_, _, key)| effects(key).iter().any(|effect| is(taint, (key, effect))));
    let held = node.value["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let right = |taint: &&Value| !ours(taint) || wanted.iter().any(|wanted| is(taint, *wanted));
    let mut next: Vec<Value> = held.iter().filter(right).cloned().collect();
    for wanted in &wanted {
        if !next.iter().any(|taint| is(taint, *wanted)) {
            next.push(json!({ "key": wanted.0, "effect": wanted.1 }));
        }
    }
    // What evicts says since when: tolerations are counted from there.
    for taint in next.iter_mut().filter(|taint| taint["effect"] == "NoExecute" && taint["timeAdded"].is_null()) {
        taint["timeAdded"] = rfc3339(now).into();
    }
    if next == held {
        return None;
    }
    let mut object = node.value.clone();
    match next.is_empty() {
        true => object["spec"].as_object_mut().into_iter().for_each(|spec| spec.retain(|field, _| field != "taints")),
        false => object["spec"]["taints"] = next.into(),
    }
    Some(Change::Update { kind: node.key.kind, part: Part::Main, object })
}

/// A pod on a node that is not ready serves no more.
fn unready(observed: &Observed<'_>, pod: &Item, plan: Plan) -> Plan {
    let mut status = pod.value["status"].clone();
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions::set(&mut all, "Ready", "False", ("NodeNotReady", "the node's agent is silent"), observed.now);
    status["conditions"] = all.into();
    plan.and(vec![status_update(pod, status)]).wake(Some(Duration::ZERO))
}

/// The taints by which pods go from a node, once it is written since when. That nobody hears a node which has never said
/// how it is drives no pod away before it is missed.
fn evicting(node: &Item) -> Vec<&Value> {
    let all = node.value["spec"]["taints"].as_array().into_iter().flatten();
    let heard = conditions::find(&node.value, "Ready").is_some();
    let drives = |taint: &&Value| taint["effect"] == "NoExecute" && !taint["timeAdded"].is_null();
    all.filter(drives).filter(|taint| heard || taint["key"] != UNREACHABLE).collect()
}

/// A pod goes when it does not bear one of its node's taints (any longer).
fn evict(observed: &Observed<'_>, taints: &[&Value], pod: &Arc<Item>, plan: Plan) -> Plan {
    let left = |taint: &&Value| {
        let since = taint["timeAdded"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let age = since.map_or(0, |since| observed.now.as_second() - since.as_second());
        match patience(&pod.value, taint, observed.settings.failover) {
            taints::Tolerated::Always => None,
            taints::Tolerated::For(seconds) => Some((seconds - age).max(0)),
            taints::Tolerated::No => Some(0),
        }
    };
    match taints.iter().filter_map(left).min() {
        None => plan,
        Some(0) => {
            let message = format!("Marking for deletion Pod {}/{}", pod.key.namespace, pod.key.name);
            let (severity, component) = ("Normal", "taint-eviction-controller");
            let told = Told { severity, reason: "TaintManagerEviction", message: &message, component };
            let options = DeleteOptions { uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
            let end = Change::Delete(pod.key.clone(), options);
            plan.and(std::iter::once(end).chain(tell(observed, pod, &told)).collect())
        }
        Some(seconds) => plan.wake(Some(Duration::from_secs(seconds.unsigned_abs()))),
    }
}

/// How long a pod bears it. What the API writes into every pod that says nothing is no wish of anybody's: waiting five
/// minutes for a node that is gone is what `Failover::Fast` is there to end.
fn patience(pod: &Value, taint: &Value, failover: Failover) -> taints::Tolerated {
    let lost = taint["key"] == UNREACHABLE || taint["key"] == NOT_READY;
    match (taints::tolerated(pod, taint), failover) {
        (taints::Tolerated::For(TOLERATED_SECONDS), Failover::Fast) if lost => taints::Tolerated::No,
        (tolerated, _) => tolerated,
    }
}

/// Pods that are bound, and those of a node that has gone.
pub(crate) fn wakes_orphans(world: &World, changed: &Changed, keys: &mut Vec<Key>) {
    let known = |pod: &Arc<Item>| pod.node().is_none_or(|node| world.named(kind::core("nodes"), "", node).is_some());
    if changed.is("", "nodes") && changed.new.is_none() {
        keys.extend(world.pods_on(&changed.key.name).map(|pod| pod.key.clone()));
    } else if changed.is("", "pods") && changed.new.as_ref().is_some_and(|pod| !known(pod)) {
        keys.push(changed.key.clone());
    }
}

/// A pod on a node that does not exist will never end by itself.
pub(crate) fn collect(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(pod) = observed.world.get(key) else { return Plan::default() };
    if pod.node().is_none_or(|node| observed.world.named(kind::core("nodes"), "", node).is_some()) {
        return Plan::default();
    }
    let age = age(pod, observed.now);
    if age < ORPHANED {
        return Plan::default().wake(Some(Duration::from_secs((ORPHANED - age).unsigned_abs())));
    }
    let options = DeleteOptions { grace_seconds: Some(0), uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
    Plan::of(vec![Change::Delete(key.clone(), options)])
}

#[cfg(test)]
mod tests;
