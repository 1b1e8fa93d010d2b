//! PURE: Deployments: a ReplicaSet per template, and the way from the old ones to the new one.
//!
//! Source: k8s.io/kubernetes `pkg/controller/deployment/`.

mod progress;
mod sets;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::controllers::deployment::sets::{Sets, annotated, revision};
use crate::controllers::rollout::{self, Goal, Set};
use crate::controllers::{Observed, Plan, events, owner, pod, status_update};
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;
use crate::registry::prepare::metadata;
use crate::registry::removal::{DeleteOptions, Propagation};

pub(crate) fn wakes(world: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("apps", "deployments") {
        keys.push(changed.key.clone());
    } else if changed.is("apps", "replicasets") {
        owner::wake(world, changed, owner::apps("deployments"), keys);
    } else if changed.is("", "pods") && changed.new.is_none() {
        // Recreate waits for the last old pod.
        let set = changed.old.iter().find_map(|pod| owner::controller_key(pod, owner::apps("replicasets")));
        let set = set.and_then(|key| world.get(&key));
        keys.extend(set.and_then(|set| owner::controller_key(set, owner::apps("deployments"))));
    }
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(deployment) = observed.world.get(key) else { return Plan::default() };
    let (all, claims) = owner::claim(observed.world, deployment, owner::apps("replicasets"));
    if !claims.is_empty() {
        return Plan::of(guarded(deployment, claims));
    }
    let sets = Sets::of(deployment, all);
    if deployment.deleting() {
        return status(observed, deployment, &sets);
    }
    let mut changes = step(observed, deployment, &sets);
    let told: Vec<Change> = changes.iter().filter_map(|change| scaling(observed, deployment, change)).collect();
    changes.extend(told);
    let plan = status(observed, deployment, &sets);
    if changes.is_empty() { plan } else { plan.and(guarded(deployment, changes)) }
}

/// Changes that happen only while the deployment is as it was seen.
fn guarded(deployment: &Item, mut changes: Vec<Change>) -> Vec<Change> {
    if !changes.iter().any(|change| matches!(change, Change::Update { kind, .. } if *kind == deployment.key.kind)) {
        changes.push(Change::Guard(deployment.key.clone(), deployment.revision));
    }
    changes
}

/// What to change of the sets now; each step is safe to repeat.
fn step(observed: &Observed<'_>, deployment: &Item, sets: &Sets) -> Vec<Change> {
    let goal = Goal::of(&deployment.value["spec"]);
    let paused = deployment.value["spec"]["paused"] == true;
    let resized = sets.active().any(|set| sets::wished_replicas(set) != Some(goal.replicas));
    if paused || resized {
        return resize(deployment, sets, goal);
    }
    let recreate = deployment.value["spec"]["strategy"]["type"] == "Recreate";
    if recreate {
        let shrunk: Vec<Change> = sets.old.iter().filter_map(|set| scale(deployment, set, 0, goal)).collect();
        let alive =
            sets.old.iter().flat_map(|set| observed.world.owned(set.uid())).any(|pod| !pod::finished(&pod.value));
        if !shrunk.is_empty() || alive {
            return shrunk;
        }
    }
    let Some(new) = &sets.new else {
        let old: Vec<Set> = sets.old.iter().map(|set| measure(set)).collect();
        let none = Set { wished: 0, available: 0, pods: 0 };
        let size = if recreate { goal.replicas } else { rollout::grow(goal, &none, &old) };
        return sets.birth(deployment, size, goal).into_iter().collect();
    };
    let mut changes: Vec<Change> = promote(deployment, sets, new);
    if !changes.is_empty() {
        return changes;
    }
    let (mine, old): (Set, Vec<Set>) = (measure(new), sets.old.iter().map(|set| measure(set)).collect());
    let size = if recreate { goal.replicas } else { rollout::grow(goal, &mine, &old) };
    changes.extend(scale(deployment, new, size, goal));
    if changes.is_empty() {
        let sizes = rollout::shrink(goal, &mine, &old);
        changes.extend(sets.old.iter().zip(sizes).filter_map(|(set, size)| scale(deployment, set, size, goal)));
    }
    if changes.is_empty() && progress::complete(deployment, sets) {
        changes.extend(cleanup(deployment, sets));
    }
    changes
}

fn measure(set: &Item) -> Set {
    let status = |field: &str| set.value["status"][field].as_i64().unwrap_or(0);
    Set { wished: sets::replicas(set), available: status("availableReplicas"), pods: status("replicas") }
}

/// A set's next size; none when nothing changes.
fn scale(deployment: &Item, set: &Item, size: i64, goal: Goal) -> Option<Change> {
    let mut object = set.value.clone();
    object["spec"]["replicas"] = size.into();
    annotated(&mut object, goal);
    let same = object["spec"]["replicas"] == set.value["spec"]["replicas"]
        && (object["metadata"]["annotations"] == set.value["metadata"]["annotations"] || sets::replicas(set) == 0);
    debug_assert!(owner::controls(deployment, set), "only own sets are scaled");
    (!same).then_some(Change::Update { kind: set.key.kind, part: Part::Main, object })
}

/// The wish has changed while several sets run, or the rollout is paused.
fn resize(deployment: &Item, sets: &Sets, goal: Goal) -> Vec<Change> {
    let active: Vec<&Arc<Item>> = sets.active().collect();
    if let [only] = active.as_slice() {
        return scale(deployment, only, goal.replicas, goal).into_iter().collect();
    }
    if active.is_empty() {
        let latest = sets.new.iter().chain(sets.old.last()).next();
        return latest.and_then(|set| scale(deployment, set, goal.replicas, goal)).into_iter().collect();
    }
    if sets.new.as_ref().is_some_and(|new| saturated(new, goal)) {
        return sets.old.iter().filter_map(|set| scale(deployment, set, 0, goal)).collect();
    }
    let shares: Vec<(i64, i64)> = active.iter().map(|set| (sets::replicas(set), sets::most_replicas(set))).collect();
    let sizes = rollout::proportion(goal, &shares);
    active.iter().zip(sizes).filter_map(|(set, size)| scale(deployment, set, size, goal)).collect()
}

fn saturated(new: &Item, goal: Goal) -> bool {
    let measured = measure(new);
    sets::wished_replicas(new) == Some(goal.replicas)
        && measured.wished == goal.replicas
        && measured.available == goal.replicas
}

/// The new set carries the highest revision, also when it is an old one that came back, and the deployment shows it; it
/// also carries the deployment's annotations, such as why it was changed.
fn promote(deployment: &Item, sets: &Sets, new: &Arc<Item>) -> Vec<Change> {
    let wanted = sets.next_revision();
    let mut changes = Vec::new();
    let held = revision(new).max(wanted);
    let mut object = new.value.clone();
    let notes = metadata(&mut object).entry("annotations").or_insert_with(|| json!({}));
    sets::passed_on(deployment).for_each(|(key, value)| notes[key] = value.clone());
    if revision(new) < wanted {
        notes[sets::REVISION] = wanted.to_string().into();
    }
    if object["metadata"]["annotations"] != new.value["metadata"]["annotations"] {
        changes.push(Change::Update { kind: new.key.kind, part: Part::Main, object });
    }
    if revision(deployment) != held {
        let mut object = deployment.value.clone();
        object["metadata"]["annotations"][sets::REVISION] = held.to_string().into();
        // With its status: the note is no wish, and must not count as a new generation.
        changes.push(Change::Update { kind: deployment.key.kind, part: Part::Status, object });
    }
    changes
}

/// Old empty sets beyond `revisionHistoryLimit` go, the oldest first.
fn cleanup(deployment: &Item, sets: &Sets) -> Vec<Change> {
    let limit = usize::try_from(deployment.value["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10)).unwrap_or(0);
    let mut empty: Vec<&Arc<Item>> =
        sets.old.iter().filter(|set| !set.deleting() && sets::replicas(set) == 0 && measure(set).pods == 0).collect();
    empty.sort_by_key(|set| revision(set));
    let surplus = sets.old.len().saturating_sub(limit).min(empty.len());
    let options = || DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    empty[..surplus].iter().map(|set| Change::Delete(set.key.clone(), options())).collect()
}

fn scaling(observed: &Observed<'_>, deployment: &Item, change: &Change) -> Option<Change> {
    let (object, from) = match change {
        Change::Create { object, .. } => (object, 0),
        Change::Update { kind, object, .. } if kind.resource == "replicasets" => {
            let name = object["metadata"]["name"].as_str()?;
            (object, sets::replicas(observed.world.named(kind, &deployment.key.namespace, name)?))
        }
        _ => return None,
    };
    let (name, to) = (object["metadata"]["name"].as_str()?, object["spec"]["replicas"].as_i64()?);
    let way = match to.cmp(&from) {
        std::cmp::Ordering::Greater => "up",
        std::cmp::Ordering::Less => "down",
        std::cmp::Ordering::Equal => return None,
    };
    events::scaled(observed, deployment, &format!("Scaled {way} replica set {name} from {from} to {to}"))
}

fn status(observed: &Observed<'_>, deployment: &Item, sets: &Sets) -> Plan {
    let all = || sets.old.iter().chain(&sets.new);
    let sum = |field: &str| all().map(|set| set.value["status"][field].as_i64().unwrap_or(0)).sum::<i64>();
    let goal = Goal::of(&deployment.value["spec"]);
    let available = sum("availableReplicas");
    let wished: i64 = all().map(|set| sets::replicas(set)).sum();
    let counts = [
        ("replicas", sum("replicas")),
        ("updatedReplicas", sets.new.as_ref().map_or(0, |new| measure(new).pods)),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (wished - available).max(0)),
    ];
    let mut status = json!({ "observedGeneration": deployment.value["metadata"]["generation"] });
    for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status[field] = count.into();
    }
    status["terminatingReplicas"] = sum("terminatingReplicas").into();
    if let Some(collisions) = deployment.value["status"].get("collisionCount") {
        status["collisionCount"] = collisions.clone();
    }
    let (conditions, wake) = progress::conditions(observed, deployment, sets, goal, &status);
    status["conditions"] = Value::Array(conditions);
    let plan = Plan::default().wake(wake.map(Duration::from_secs));
    if status == deployment.value["status"] { plan } else { plan.and(vec![status_update(deployment, status)]) }
}

#[cfg(test)]
mod tests;
