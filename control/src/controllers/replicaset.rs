//! PURE: ReplicaSets: as many pods as wished for. Source: k8s.io/kubernetes `pkg/controller/replicaset/replica_set.go`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::controllers::events::{Told, fnv64, tell};
use crate::controllers::{Observed, Plan, owner, pod, status_update};
use crate::kind;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::Change;
use crate::registry::key::Key;
use crate::registry::names;
use crate::registry::removal::DeleteOptions;
use crate::selector::Labels;

/// Pods made or removed per plan.
const BURST: usize = 500;
/// Of how many pods per plan people are told; as many Events about one object does client-go let through at once.
const TOLD: usize = 25;

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
        let changes = if active.len() < wished {
            create(observed, set, wished - active.len())
        } else {
            remove(observed, set, active, wished)
        };
        plan = plan.and(guarded(set, changes));
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

fn create(observed: &Observed<'_>, set: &Item, missing: usize) -> Vec<Change> {
    let pod = owner::pod_of(set, &set.value["spec"]["template"]);
    let kind = kind::core("pods");
    let named: Vec<String> = fresh_names(observed, set).take(missing.min(BURST)).collect();
    let told: Vec<Change> =
        named.iter().take(TOLD).filter_map(|name| told(observed, set, "SuccessfulCreate", "Created", name)).collect();
    let born = named.into_iter().map(|name| {
        let mut object = pod.clone();
        object["metadata"]["name"] = name.into();
        Change::Create { kind, object }
    });
    born.chain(told).collect()
}

/// Names for new pods that no pod has. They follow from the set as it is now: whoever plans again plans the same.
fn fresh_names<'a>(observed: &'a Observed<'_>, set: &'a Item) -> impl Iterator<Item = String> + 'a {
    let base = format!("{}-", set.key.name);
    let name = move |count: u64| {
        let number = fnv64(format!("{}\0{}\0{count}", set.uid(), set.revision).as_bytes());
        names::generate(&base, std::array::from_fn(|at| number.to_le_bytes()[at] ^ number.to_le_bytes()[at + 3]))
    };
    let mut taken = BTreeSet::new();
    (0..).map(name).filter(move |name| {
        observed.world.named(kind::core("pods"), &set.key.namespace, name).is_none() && taken.insert(name.clone())
    })
}

fn told(observed: &Observed<'_>, set: &Item, reason: &str, verb: &str, pod: &str) -> Option<Change> {
    let message = format!("{verb} pod: {pod}");
    tell(observed, set, &Told { severity: "Normal", reason, message: &message, component: "replicaset-controller" })
}

fn remove(observed: &Observed<'_>, set: &Item, mut active: Vec<Arc<Item>>, wished: usize) -> Vec<Change> {
    let count = (active.len() - wished).min(BURST);
    let crowd = crowds(observed, set);
    active.sort_by_cached_key(|pod| rank(pod, &crowd));
    let end = |pod: &Arc<Item>| {
        let options = DeleteOptions { uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
        Change::Delete(pod.key.clone(), options)
    };
    let gone = active.iter().take(count);
    let told =
        gone.clone().take(TOLD).filter_map(|pod| told(observed, set, "SuccessfulDelete", "Deleted", &pod.key.name));
    gone.map(end).chain(told).collect()
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
