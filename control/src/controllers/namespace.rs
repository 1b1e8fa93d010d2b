//! PURE: the end of a namespace: everything in it goes first.
//!
//! Source: k8s.io/kubernetes `pkg/controller/namespace/deletion/namespaced_resources_deleter.go`.

use serde_json::json;

use crate::controllers::{Observed, Plan};
use crate::kind::{self, ALL};
use crate::reconcile::world::{Changed, World};
use crate::registry::commit::{Change, Part};
use crate::registry::event_view;
use crate::registry::key::Key;
use crate::registry::removal::{DeleteOptions, Propagation};

/// Objects removed per plan.
const BURST: usize = 500;

pub(crate) fn wakes(world: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "namespaces") {
        keys.push(changed.key.clone());
    } else if !changed.key.namespace.is_empty() {
        let ending = world.named(kind::core("namespaces"), "", &changed.key.namespace).filter(|item| item.deleting());
        keys.extend(ending.map(|namespace| namespace.key.clone()));
    }
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(namespace) = observed.world.get(key).filter(|namespace| namespace.deleting()) else {
        return Plan::default();
    };
    let kinds = ALL.iter().filter(|kind| kind.stored && kind.namespaced && !event_view::is_view(kind));
    let mut content = kinds.flat_map(|kind| observed.world.list(kind, &key.name)).peekable();
    if content.peek().is_some() {
        let options = || DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        // What is on its way out already wakes this plan when it is gone.
        let ends = content.filter(|item| !item.deleting()).take(BURST);
        let each =
            |item: &std::sync::Arc<crate::reconcile::world::Item>| vec![Change::Delete(item.key.clone(), options())];
        return ends.map(each).fold(Plan::default(), Plan::and);
    }
    let mut object = namespace.value.clone();
    let held = object["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
    let left: Vec<_> = held.iter().filter(|finalizer| *finalizer != "kubernetes").cloned().collect();
    if left.len() == held.len() {
        return Plan::default();
    }
    object["spec"]["finalizers"] = json!(left);
    Plan::of(vec![Change::Update { kind: key.kind, part: Part::Whole, object }])
}
