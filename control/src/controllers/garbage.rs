//! PURE: the garbage collector: dependents go when their owners are gone, and owners wait for them when asked to.
//!
//! Source: k8s.io/kubernetes `pkg/controller/garbagecollector/garbagecollector.go`.

use std::sync::Arc;

use serde_json::Value;

use crate::controllers::{Observed, Plan};
use crate::kind;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;
use crate::registry::prepare::metadata;
use crate::registry::removal::{DeleteOptions, FOREGROUND, ORPHAN, Propagation};

/// Dependents changed per plan.
const BURST: usize = 500;

pub(crate) fn wakes(world: &World, changed: &Changed, keys: &mut Vec<Key>) {
    let ended = changed.new.is_none();
    let marked = changed.new.as_ref().is_some_and(|item| item.deleting());
    if let Some(new) = changed.new.as_ref().filter(|new| marked || new.owners().next().is_some()) {
        keys.push(new.key.clone());
    }
    if ended || marked {
        for item in changed.both() {
            keys.extend(world.owned(item.uid()).map(|dependent| dependent.key.clone()));
        }
    }
    // An owner that waits for its dependents may be waiting for this one.
    for uid in changed.old.iter().flat_map(|old| old.owners()).filter_map(|owner| owner["uid"].as_str()) {
        keys.extend(world.by_uid(uid).filter(|owner| owner.deleting()).map(|owner| owner.key.clone()));
    }
}

/// What an owner means to a dependent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It is there.
    Solid,
    /// It is going, and waits for its dependents.
    Waiting,
    /// It is gone.
    Absent,
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(item) = observed.world.get(key) else { return Plan::default() };
    if item.deleting() && held_by(item, ORPHAN) {
        return orphan(observed, item);
    }
    if item.deleting() && held_by(item, FOREGROUND) {
        return foreground(observed, item);
    }
    if item.deleting() {
        return Plan::default();
    }
    collect(observed, item)
}

fn held_by(item: &Item, finalizer: &str) -> bool {
    item.value["metadata"]["finalizers"].as_array().is_some_and(|held| held.iter().any(|held| held == finalizer))
}

fn judge(observed: &Observed<'_>, item: &Item, reference: &Value) -> Owner {
    let (version, name) = (reference["apiVersion"].as_str().unwrap_or_default(), reference["kind"].as_str());
    let Some(kind) = kind::named(version, name.unwrap_or_default()) else {
        // Nobody here knows whether such an owner lives.
        return Owner::Solid;
    };
    let owner = observed.world.by_uid(reference["uid"].as_str().unwrap_or_default());
    let near = |owner: &&Arc<Item>| {
        owner.key.kind == kind && (owner.key.namespace.is_empty() || owner.key.namespace == item.key.namespace)
    };
    match owner.filter(near) {
        None => Owner::Absent,
        Some(owner) if owner.deleting() && held_by(owner, FOREGROUND) => Owner::Waiting,
        Some(_) => Owner::Solid,
    }
}

/// A dependent goes when no owner is left; references to owners that are gone are dropped.
fn collect(observed: &Observed<'_>, item: &Item) -> Plan {
    let verdicts: Vec<(Owner, &Value)> = item.owners().map(|owner| (judge(observed, item, owner), owner)).collect();
    if verdicts.iter().all(|(verdict, _)| *verdict == Owner::Solid) {
        return Plan::default();
    }
    if verdicts.iter().any(|(verdict, _)| *verdict == Owner::Solid) {
        let solid =
            verdicts.into_iter().filter(|(verdict, _)| *verdict == Owner::Solid).map(|(_, owner)| owner.clone());
        let mut object = item.value.clone();
        object["metadata"]["ownerReferences"] = Value::Array(solid.collect());
        return Plan::of(vec![Change::Update { kind: item.key.kind, part: Part::Main, object }]);
    }
    let waited_for = verdicts.iter().any(|(verdict, _)| *verdict == Owner::Waiting);
    let owns = observed.world.owned(item.uid()).next().is_some();
    let propagation = if waited_for && owns { Propagation::Foreground } else { Propagation::Background };
    let options = DeleteOptions {
        propagation: Some(propagation),
        uid: Some(item.uid().to_owned()),
        resource_version: Some(item.revision.to_string()),
        ..DeleteOptions::default()
    };
    Plan::of(vec![Change::Delete(item.key.clone(), options)])
}

fn without(item: &Item, finalizer: &str) -> Change {
    let mut object = item.value.clone();
    let meta = metadata(&mut object);
    if let Some(held) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
        held.retain(|held| held != finalizer);
        if held.is_empty() {
            meta.remove("finalizers");
        }
    }
    Change::Update { kind: item.key.kind, part: Part::Main, object }
}

/// The owner goes once nothing that blocks it is left.
fn foreground(observed: &Observed<'_>, item: &Item) -> Plan {
    let blocks = |dependent: &&Arc<Item>| {
        dependent.owners().any(|owner| owner["uid"] == item.uid() && owner["blockOwnerDeletion"] == true)
    };
    if observed.world.owned(item.uid()).any(|dependent| blocks(&dependent)) {
        return Plan::default();
    }
    Plan::of(vec![without(item, FOREGROUND)])
}

/// Dependents forget the owner, then it goes.
fn orphan(observed: &Observed<'_>, item: &Item) -> Plan {
    let forget = |dependent: &Arc<Item>| {
        let mut object = dependent.value.clone();
        let meta = metadata(&mut object);
        if let Some(owners) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
            owners.retain(|owner| owner["uid"] != item.uid());
            if owners.is_empty() {
                meta.remove("ownerReferences");
            }
        }
        vec![Change::Update { kind: dependent.key.kind, part: Part::Main, object }]
    };
    let each: Vec<Vec<Change>> = observed.world.owned(item.uid()).take(BURST).map(forget).collect();
    if each.is_empty() {
        return Plan::of(vec![without(item, ORPHAN)]);
    }
    each.into_iter().fold(Plan::default(), Plan::and)
}
