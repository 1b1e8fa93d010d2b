//! PURE: claims that pods use and volumes that are bound stay until they are not any more.
//!
//! Source: k8s.io/kubernetes `pkg/controller/volume/{pvcprotection,pvprotection}`.

use serde_json::Value;

use crate::admission::storage::{CLAIM_PROTECTION, VOLUME_PROTECTION};
use crate::controllers::volume::claims_of;
use crate::controllers::{Observed, Plan, pod};
use crate::kind;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;

pub(crate) fn wakes_claims(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "persistentvolumeclaims") {
        keys.push(changed.key.clone());
    } else if changed.is("", "pods") {
        let namespace = &changed.key.namespace;
        let claim = |name: &str| Key {
            kind: kind::core("persistentvolumeclaims"),
            namespace: namespace.clone(),
            name: name.to_owned(),
        };
        keys.extend(changed.both().flat_map(|pod| claims_of(&pod.value).map(claim)));
    }
}

pub(crate) fn wakes_volumes(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "persistentvolumes") {
        keys.push(changed.key.clone());
    }
}

pub(crate) fn claim(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(claim) = observed.world.get(key) else { return Plan::default() };
    // A pod that has no node yet will not start with a claim that ends.
    let uses = |pod: &Item| {
        pod.node().is_some() && !pod::finished(&pod.value) && claims_of(&pod.value).any(|name| name == key.name)
    };
    let used = observed.world.list(kind::core("pods"), &key.namespace).any(|pod| uses(pod));
    if used { Plan::default() } else { let_go(claim, CLAIM_PROTECTION) }
}

pub(crate) fn volume(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(volume) = observed.world.get(key) else { return Plan::default() };
    if volume.value["status"]["phase"] == "Bound" { Plan::default() } else { let_go(volume, VOLUME_PROTECTION) }
}

/// Takes the finalizer from an object that ends.
fn let_go(item: &Item, finalizer: &str) -> Plan {
    let mut held: Vec<Value> = item.value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let count = held.len();
    held.retain(|held| held != finalizer);
    if !item.deleting() || held.len() == count {
        return Plan::default();
    }
    let mut object = item.value.clone();
    object["metadata"]["finalizers"] = held.into();
    Plan::of(vec![Change::Update { kind: item.key.kind, part: Part::Main, object }])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::controllers::{Failover, Settings};

    fn plan(resource: &str, phase: &str, pod_phase: Option<&str>) -> Plan {
        let mut world = World::default();
        let namespace = if resource == "persistentvolumes" { "" } else { "ns" };
        let key = Key { kind: kind::core(resource), namespace: namespace.to_owned(), name: "x".to_owned() };
        let finalizers = [CLAIM_PROTECTION, VOLUME_PROTECTION];
        let meta = json!({ "name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers });
        world.put(Item::new(key.clone(), json!({ "metadata": meta, "status": { "phase": phase } }), 1));
        if let Some(phase) = pod_phase {
            let pod = Key { kind: kind::core("pods"), namespace: "ns".to_owned(), name: "p".to_owned() };
            let volumes = json!([{ "persistentVolumeClaim": { "claimName": "x" } }]);
            let value = json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n", "volumes": volumes },
                "status": { "phase": phase } });
            world.put(Item::new(pod, value, 2));
        }
        let range = |text: &str| text.parse().expect("a range");
        let ranges =
            crate::registry::allocation::Ranges { services: range("10.96.0.0/16"), pods: range("10.244.0.0/16") };
        let settings = Settings { ranges, ca_pem: String::new(), failover: Failover::Fast };
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let observed =
            Observed { world: &world, now, silent: &|_| None, leading_for: Duration::ZERO, settings: &settings };
        if namespace.is_empty() { volume(&observed, &key) } else { claim(&observed, &key) }
    }

    fn kept(plan: &Plan) -> Option<Value> {
        match plan.txns.first()?.changes.first()? {
            Change::Update { object, .. } => Some(object["metadata"]["finalizers"].clone()),
            _ => None,
        }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        assert_eq!(kept(&plan("persistentvolumeclaims", "Bound", Some("Running"))), None);
        for pod in [None, Some("Succeeded")] {
            assert_eq!(kept(&plan("persistentvolumeclaims", "Bound", pod)), Some(json!([VOLUME_PROTECTION])));
        }
        assert_eq!(kept(&plan("persistentvolumes", "Bound", None)), None);
        assert_eq!(kept(&plan("persistentvolumes", "Released", None)), Some(json!([CLAIM_PROTECTION])));
    }
}
