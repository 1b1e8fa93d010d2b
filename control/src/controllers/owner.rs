//! PURE: who controls what: references, adoption, release. Source: k8s.io/kubernetes `pkg/controller/controller_ref_manager.go`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::kind::{self, Kind};
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;
use crate::registry::prepare::{meta_str, metadata};
use crate::selector::Labels;

/// The reference by which an owner controls a dependent.
pub(crate) fn reference(owner: &Item) -> Value {
    json!({
        "apiVersion": owner.key.kind.api_version(), "kind": owner.key.kind.kind, "name": owner.key.name,
        "uid": owner.uid(), "controller": true, "blockOwnerDeletion": true,
    })
}

/// Whether this owner controls it.
pub(crate) fn controls(owner: &Item, item: &Item) -> bool {
    item.controller().is_some_and(|reference| reference["uid"] == owner.uid())
}

/// The key of the controlling owner, if it is of this kind.
pub(crate) fn controller_key(item: &Item, of: &'static Kind) -> Option<Key> {
    let reference = item.controller().filter(|owner| owner["kind"] == of.kind)?;
    let same_group = reference["apiVersion"].as_str() == Some(of.api_version().as_str());
    let name = reference["name"].as_str()?.to_owned();
    same_group.then(|| Key { kind: of, namespace: item.key.namespace.clone(), name })
}

/// Wakes the owners of a changed dependent: its controller before and after; where it has none, all whose selector
/// takes it.
pub(crate) fn wake(world: &World, changed: &Changed, of: &'static Kind, keys: &mut Vec<Key>) {
    for item in changed.both() {
        match controller_key(item, of) {
            Some(key) => keys.push(key),
            None if item.controller().is_none() => {
                let owners = world.list(of, &item.key.namespace);
                keys.extend(owners.filter(|owner| selects(owner, &item.value)).map(|owner| owner.key.clone()));
            }
            None => {}
        }
    }
}

/// Whether an owner's `spec.selector` takes an object's labels.
pub(crate) fn selects(owner: &Item, object: &Value) -> bool {
    Labels::of(&owner.value["spec"]["selector"])
        .is_some_and(|labels| labels.matches(object["metadata"]["labels"].as_object()))
}

/// Dependents of a kind that an owner controls, and the changes that adopt strays and release what is no longer its.
pub(crate) fn claim(world: &World, owner: &Item, of: &'static Kind) -> (Vec<Arc<Item>>, Vec<Change>) {
    let (mut held, mut changes) = (Vec::new(), Vec::new());
    let same = |item: &&Arc<Item>| item.key.kind == of;
    for item in world.owned(owner.uid()).filter(same).filter(|item| controls(owner, item)) {
        if selects(owner, &item.value) {
            held.push(Arc::clone(item));
        } else if !owner.deleting() {
            changes.push(released(owner, item));
        }
    }
    if !owner.deleting() {
        let strays = world.list(of, &owner.key.namespace).filter(|item| item.controller().is_none());
        for stray in strays.filter(|item| !item.deleting() && selects(owner, &item.value)) {
            changes.push(adopted(owner, stray));
        }
    }
    (held, changes)
}

fn adopted(owner: &Item, stray: &Item) -> Change {
    let mut object = stray.value.clone();
    let owners = metadata(&mut object).entry("ownerReferences").or_insert_with(|| json!([]));
    if let Some(owners) = owners.as_array_mut() {
        owners.retain(|held| held["uid"] != owner.uid());
        owners.push(reference(owner));
    }
    Change::Update { kind: stray.key.kind, part: Part::Main, object }
}

fn released(owner: &Item, item: &Item) -> Change {
    let mut object = item.value.clone();
    let meta = metadata(&mut object);
    if let Some(owners) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        owners.retain(|held| held["uid"] != owner.uid());
        if owners.is_empty() {
            meta.remove("ownerReferences");
        }
    }
    Change::Update { kind: item.key.kind, part: Part::Main, object }
}

/// A pod from a template, controlled by an owner.
pub(crate) fn pod_of(owner: &Item, template: &Value) -> Value {
    let mut meta = json!({
        "generateName": format!("{}-", owner.key.name), "namespace": owner.key.namespace,
        "ownerReferences": [reference(owner)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            meta[field] = template["metadata"][field].clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"] })
}

/// A kind of apps/v1.
pub(crate) fn apps(resource: &str) -> &'static Kind {
    kind::find("apps", "v1", resource).expect("a row of the table")
}

/// `metadata.creationTimestamp`, then the name: an order that does not change.
pub(crate) fn age(item: &Item) -> (String, String) {
    (meta_str(&item.value, "creationTimestamp").to_owned(), item.key.name.clone())
}
