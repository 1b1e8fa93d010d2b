//! PURE: nodes whose agent is silent are marked, their pods replaced; with a brake when most vanish at once.
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
/// Pods changed per plan.
const BURST: usize = 500;

fn everything() -> Key {
    Key { kind: kind::core("nodes"), namespace: String::new(), name: String::new() }
}

/// It looks at all nodes at once: the brake needs their number.
pub(crate) fn always() -> Vec<Key> {
    vec![everything()]
}

pub(crate) fn wakes(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "nodes") {
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
        let mut changes = Vec::new();
        if silent && !conditions::find(&node.value, "Ready").is_some_and(|ready| ready["status"] == "Unknown") {
            changes.push(status_update(node, unknown(node, observed.now)));
            let message = format!("Node {} status is now: NodeNotReady", node.key.name);
            let told =
                Told { severity: "Normal", reason: "NodeNotReady", message: &message, component: "node-controller" };
            plan = plan.and(vec![tell(observed, node, &told)]);
        }
        plan = plan.and(changes).and(tainted(node, observed.now).into_iter().collect());
        if !conditions::is_true(&node.value, "Ready") {
            for pod in observed.world.pods_on(&node.key.name).filter(|pod| pod::active(pod)).take(BURST) {
                plan = abandon(observed, node, pod, brake && silent, plan);
            }
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

/// The taints that say what the condition Ready says; none when they are there already.
fn tainted(node: &Item, now: Timestamp) -> Option<Change> {
    let wanted = match conditions::find(&node.value, "Ready").map(|ready| ready["status"].as_str().unwrap_or("Unknown"))
    {
        Some("True") => None,
        Some("False") => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let held = node.value["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let ours = |taint: &Value| taint["key"] == UNREACHABLE || taint["key"] == NOT_READY;
    let right = |taint: &Value| !ours(taint) || wanted.is_some_and(|wanted| taint["key"] == wanted);
    let mut next: Vec<Value> = held.iter().filter(|taint| right(taint)).cloned().collect();
    if let Some(wanted) = wanted {
        for effect in ["NoSchedule", "NoExecute"] {
            if !next.iter().any(|taint| taint["key"] == wanted && taint["effect"] == effect) {
                next.push(json!({ "key": wanted, "effect": effect, "timeAdded": rfc3339(now) }));
            }
        }
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

/// A pod on a node that is not ready: it serves no more, and goes when it does not tolerate that (any longer).
fn abandon(observed: &Observed<'_>, node: &Item, pod: &Arc<Item>, brake: bool, mut plan: Plan) -> Plan {
    if pod::ready(&pod.value) {
        let mut status = pod.value["status"].clone();
        let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions::set(&mut all, "Ready", "False", ("NodeNotReady", "the node's agent is silent"), observed.now);
        status["conditions"] = all.into();
        return plan.and(vec![status_update(pod, status)]).wake(Some(Duration::ZERO));
    }
    let evicting = node.value["spec"]["taints"].as_array().into_iter().flatten();
    let mut evicting = evicting.filter(|taint| taint["effect"] == "NoExecute");
    let Some(taint) = evicting.find(|taint| taint["key"] == UNREACHABLE || taint["key"] == NOT_READY) else {
        return plan;
    };
    if brake {
        return plan;
    }
    let since = taint["timeAdded"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let age = since.map_or(0, |since| observed.now.as_second() - since.as_second());
    match patience(&pod.value, taint, observed.settings.failover) {
        taints::Tolerated::Always => plan,
        taints::Tolerated::For(seconds) if age < seconds => {
            plan.wake(Some(Duration::from_secs((seconds - age).unsigned_abs())))
        }
        _ => {
            let message = format!("Marking for deletion Pod {}/{}", pod.key.namespace, pod.key.name);
            let (severity, component) = ("Normal", "taint-eviction-controller");
            let told = Told { severity, reason: "TaintManagerEviction", message: &message, component };
            let options = DeleteOptions { uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
            plan = plan.and(vec![Change::Delete(pod.key.clone(), options)]);
            plan.and(vec![tell(observed, pod, &told)])
        }
    }
}

/// How long a pod bears it. What the API writes into every pod that says nothing is no wish of anybody's: waiting five
/// minutes for a node that is gone is what `Failover::Fast` is there to end.
fn patience(pod: &Value, taint: &Value, failover: Failover) -> taints::Tolerated {
    match (taints::tolerated(pod, taint), failover) {
        (taints::Tolerated::For(TOLERATED_SECONDS), Failover::Fast) => taints::Tolerated::No,
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
