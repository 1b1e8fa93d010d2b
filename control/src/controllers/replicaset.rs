//! PURE: ReplicaSets: as many pods as wished for. Source: k8s.io/kubernetes `pkg/controller/replicaset/replica_set.go`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::controllers::events::{Told, tell};
use crate::controllers::{Observed, Plan, owner, pod, status_update};
use crate::kind;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::Change;
use crate::registry::key::Key;
use crate::registry::removal::DeleteOptions;
use crate::selector::Labels;

/// Pods made or removed per plan.
const BURST: usize = 500;

pub(crate) fn wakes(world: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("apps", "replicasets") {
        keys.push(changed.key.clone());
    } else if changed.is("", "pods") {
        owner::wake(world, changed, owner::apps("replicasets"), keys);
    }
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(set) = observed.world.get(key) else { return Plan::default() };
    let (pods, claims) = owner::claim(observed.world, set, kind::core("pods"));
    if !claims.is_empty() {
        return Plan::of(guarded(set, claims));
    }
    let active: Vec<Arc<Item>> = pods.iter().filter(|pod| pod::active(pod)).cloned().collect();
    let wished = usize::try_from(set.value["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
    let (status, wake) = status(observed, set, &pods, &active);
    let mut plan = Plan::default().wake(wake.map(|seconds| Duration::from_secs(seconds.unsigned_abs())));
    if !set.deleting() && active.len() != wished {
        let (changes, told) = if active.len() < wished {
            create(set, wished - active.len())
        } else {
            remove(observed, set, active, wished)
        };
        let (reason, message) = told;
        let component = "replicaset-controller";
        let event = tell(observed, set, &Told { severity: "Normal", reason, message: &message, component });
        plan = plan.and(guarded(set, changes)).and(vec![event]);
    }
    if status != set.value["status"] {
        plan = plan.and(vec![status_update(set, status)]);
    }
    plan
}

/// Changes that happen only while the set is as it was seen.
fn guarded(set: &Item, mut changes: Vec<Change>) -> Vec<Change> {
    changes.push(Change::Guard(set.key.clone(), set.revision));
    changes
}

fn create(set: &Item, missing: usize) -> (Vec<Change>, (&'static str, String)) {
    let pod = owner::pod_of(set, &set.value["spec"]["template"]);
    let kind = kind::core("pods");
    let count = missing.min(BURST);
    let changes = (0..count).map(|_| Change::Create { kind, object: pod.clone() }).collect();
    (changes, ("SuccessfulCreate", format!("Created {count} {}", if count == 1 { "pod" } else { "pods" })))
}

fn remove(
    observed: &Observed<'_>,
    set: &Item,
    mut active: Vec<Arc<Item>>,
    wished: usize,
) -> (Vec<Change>, (&'static str, String)) {
    let count = (active.len() - wished).min(BURST);
    let crowd = crowds(observed, set);
    active.sort_by_cached_key(|pod| rank(pod, &crowd));
    let end = |pod: &Arc<Item>| {
        let options = DeleteOptions { uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
        Change::Delete(pod.key.clone(), options)
    };
    let changes = active.iter().take(count).map(end).collect();
    (changes, ("SuccessfulDelete", format!("Deleted {count} {}", if count == 1 { "pod" } else { "pods" })))
}

/// How many active pods of the same owner's sets run on each node.
fn crowds(observed: &Observed<'_>, set: &Item) -> BTreeMap<String, usize> {
    let mut crowd = BTreeMap::new();
    let siblings: Vec<&str> = match set.controller().and_then(|owner| owner["uid"].as_str()) {
        Some(uid) => observed.world.owned(uid).map(|sibling| sibling.uid()).collect(),
        None => vec![set.uid()],
    };
    for pod in siblings.iter().flat_map(|uid| observed.world.owned(uid)).filter(|pod| pod::active(pod)) {
        if let Some(node) = pod.node() {
            *crowd.entry(node.to_owned()).or_default() += 1;
        }
    }
    crowd
}

/// Who goes first: unassigned, then not running, not ready, cheap, crowded, ready for a shorter time, restarted, young.
fn rank(pod: &Item, crowd: &BTreeMap<String, usize>) -> impl Ord + use<> {
    let value = &pod.value;
    let phase = match value["status"]["phase"].as_str() {
        Some("Running") => 2,
        Some("Unknown") => 1,
        _ => 0,
    };
    let cost = value["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"].as_str();
    let cost: i64 = cost.and_then(|cost| cost.parse().ok()).unwrap_or(0);
    let crowd = pod.node().and_then(|node| crowd.get(node)).copied().unwrap_or(0);
    let since = pod::ready_since(value).map(|since| Reverse(since.as_second()));
    (
        (pod.node().is_some(), phase, pod::ready(value)),
        (cost, Reverse(crowd), since),
        (Reverse(pod::restarts(value)), Reverse(owner::age(pod))),
    )
}

/// The status, and seconds until it may change by itself.
fn status(observed: &Observed<'_>, set: &Item, pods: &[Arc<Item>], active: &[Arc<Item>]) -> (Value, Option<i64>) {
    let template = Labels::of(&json!({ "matchLabels": set.value["spec"]["template"]["metadata"]["labels"] }));
    let min_ready = set.value["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let labelled = |pod: &&Arc<Item>| {
        template.as_ref().is_some_and(|labels| labels.matches(pod.value["metadata"]["labels"].as_object()))
    };
    let verdicts: Vec<_> = active.iter().map(|pod| pod::available(&pod.value, min_ready, observed.now)).collect();
    let wait = verdicts.iter().filter_map(|verdict| verdict.err().flatten()).min();
    let counts = [
        ("fullyLabeledReplicas", active.iter().filter(labelled).count()),
        ("readyReplicas", active.iter().filter(|pod| pod::ready(&pod.value)).count()),
        ("availableReplicas", verdicts.iter().filter(|verdict| verdict.is_ok()).count()),
    ];
    let mut status = json!({ "replicas": active.len() });
    for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status[field] = count.into();
    }
    let ending = pods.iter().filter(|pod| pod.deleting() && !pod::finished(&pod.value)).count();
    status["terminatingReplicas"] = ending.into();
    if let Some(conditions) = set.value["status"].get("conditions") {
        status["conditions"] = conditions.clone();
    }
    status["observedGeneration"] = set.value["metadata"]["generation"].clone();
    (status, wait)
}
