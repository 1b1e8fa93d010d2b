//! PURE: claims get volumes: one that fits, or a directory on the node of the pod that asks.
//!
//! Source: k8s.io/kubernetes `pkg/controller/volume/persistentvolume`; the provisioner of local directories is ours.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::controllers::{Observed, Plan, status_update};
use crate::kind::{self, Kind};
use crate::quantity;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;
use crate::selector::Labels;

/// Makes directories on the node of the first pod that uses a claim.
pub(crate) const PROVISIONER: &str = "raftsman.io/local";
/// Where those directories lie on each node.
const DIRECTORY: &str = "/var/lib/raftsman/volumes";
/// Says on a class that claims without one get it.
pub(crate) const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Says of a volume or a claim that the other one was found for it.
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

fn claims() -> &'static Kind {
    kind::core("persistentvolumeclaims")
}

fn volumes() -> &'static Kind {
    kind::core("persistentvolumes")
}

pub(crate) fn wakes(world: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "persistentvolumeclaims") {
        keys.push(changed.key.clone());
        let volume = changed.both().find_map(|claim| claim.value["spec"]["volumeName"].as_str());
        keys.extend(volume.map(|name| Key { kind: volumes(), namespace: String::new(), name: name.to_owned() }));
    } else if changed.is("", "persistentvolumes") || changed.is("storage.k8s.io", "storageclasses") {
        keys.push(changed.key.clone());
        keys.extend(world.list(claims(), "").filter(|claim| !bound(claim)).map(|claim| claim.key.clone()));
    } else if changed.is("", "pods") {
        for pod in changed.new.iter().filter(|pod| pod.node().is_some()) {
            keys.extend(claims_of(&pod.value).map(|name| Key {
                kind: claims(),
                namespace: changed.key.namespace.clone(),
                name: name.to_owned(),
            }));
        }
    }
}

/// Names of the claims that a pod uses.
pub(crate) fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    match (observed.world.get(key), key.kind.resource) {
        (Some(claim), "persistentvolumeclaims") => of_claim(observed, claim),
        (Some(volume), "persistentvolumes") => of_volume(observed, volume),
        _ => Plan::default(),
    }
}

fn bound(claim: &Item) -> bool {
    claim.value["status"]["phase"] == "Bound"
}

fn of_claim(observed: &Observed<'_>, claim: &Arc<Item>) -> Plan {
    if claim.deleting() {
        return Plan::default();
    }
    if let Some(name) = claim.value["spec"]["volumeName"].as_str() {
        return match observed.world.named(volumes(), "", name) {
            Some(volume) if volume.value["spec"]["claimRef"].is_null() && !volume.deleting() => bind(claim, volume),
            Some(volume) if refers(volume, claim) && !bound(claim) => finish(claim, volume),
            _ => Plan::default(),
        };
    }
    let class = claim.value["spec"]["storageClassName"].as_str();
    let Some(class) = class else { return defaulted(observed, claim) };
    let fitting = observed.world.list(volumes(), "").filter(|volume| fits(volume, claim, class));
    if let Some(volume) = fitting.min_by_key(|volume| (!refers(volume, claim), capacity(volume))) {
        return bind(claim, volume);
    }
    provision(observed, claim, class)
}

/// A claim without a class gets the default one, if there is one.
fn defaulted(observed: &Observed<'_>, claim: &Item) -> Plan {
    let classes = kind::find("storage.k8s.io", "v1", "storageclasses").expect("a row of the table");
    let chosen =
        observed.world.list(classes, "").find(|class| class.value["metadata"]["annotations"][DEFAULT_CLASS] == "true");
    let Some(class) = chosen else { return Plan::default() };
    let mut object = claim.value.clone();
    object["spec"]["storageClassName"] = class.key.name.clone().into();
    Plan::of(vec![Change::Update { kind: claims(), part: Part::Main, object }])
}

fn capacity(volume: &Item) -> i64 {
    quantity::units(&volume.value["spec"]["capacity"]["storage"])
}

fn refers(volume: &Item, claim: &Item) -> bool {
    let reference = &volume.value["spec"]["claimRef"];
    let same = reference["uid"].as_str().is_none_or(|uid| uid == claim.uid());
    reference["name"] == claim.key.name.as_str() && reference["namespace"] == claim.key.namespace.as_str() && same
}

fn fits(volume: &Item, claim: &Item, class: &str) -> bool {
    let (spec, asked) = (&volume.value["spec"], &claim.value["spec"]);
    let modes = |spec: &Value| spec["accessModes"].as_array().cloned().unwrap_or_default();
    let offered = modes(spec);
    let selected = asked["selector"].is_null()
        || Labels::of(&asked["selector"])
            .is_some_and(|labels| labels.matches(volume.value["metadata"]["labels"].as_object()));
    let free = spec["claimRef"].is_null() || refers(volume, claim);
    let mode = |spec: &Value| spec["volumeMode"].as_str().unwrap_or("Filesystem").to_owned();
    !volume.deleting()
        && free
        && selected
        && volume.value["status"]["phase"] != "Released"
        && spec["storageClassName"].as_str().unwrap_or_default() == class
        && modes(asked).iter().all(|mode| offered.contains(mode))
        && mode(spec) == mode(asked)
        && capacity(volume) >= quantity::units(&asked["resources"]["requests"]["storage"])
}

fn reference(claim: &Item) -> Value {
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.key.namespace,
        "name": claim.key.name, "uid": claim.uid(), "resourceVersion": claim.value["metadata"]["resourceVersion"] })
}

/// Both name each other, in one transaction.
fn bind(claim: &Item, volume: &Item) -> Plan {
    let (mut held, mut object) = (volume.value.clone(), claim.value.clone());
    // Only what was chosen here, and not by whoever made the two, is undone when one of them goes.
    if held["spec"]["claimRef"].is_null() {
        held["metadata"]["annotations"][BY_CONTROLLER] = "yes".into();
    }
    if object["spec"]["volumeName"].as_str().is_none_or(str::is_empty) {
        object["metadata"]["annotations"][BY_CONTROLLER] = "yes".into();
    }
    held["spec"]["claimRef"] = reference(claim);
    object["spec"]["volumeName"] = volume.key.name.clone().into();
    object["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes".into();
    let change = |kind, object| Change::Update { kind, part: Part::Main, object };
    Plan::of(vec![change(volumes(), held), change(claims(), object)])
}

fn finish(claim: &Item, volume: &Item) -> Plan {
    let status = json!({
        "phase": "Bound", "accessModes": volume.value["spec"]["accessModes"], "capacity": volume.value["spec"]["capacity"],
    });
    Plan::of(vec![status_update(claim, status)])
}

/// A directory on the node of the first pod that uses the claim.
fn provision(observed: &Observed<'_>, claim: &Item, class: &str) -> Plan {
    let classes = kind::find("storage.k8s.io", "v1", "storageclasses").expect("a row of the table");
    let class = observed.world.named(classes, "", class).filter(|class| class.value["provisioner"] == PROVISIONER);
    let pods = observed.world.list(kind::core("pods"), &claim.key.namespace);
    let mut users = pods.filter(|pod| claims_of(&pod.value).any(|name| name == claim.key.name));
    let (Some(class), Some(node)) = (class, users.find_map(|pod| pod.node())) else { return Plan::default() };
    let name = format!("pvc-{}", claim.uid());
    let on_node =
        json!({ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] }] });
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": PROVISIONER } },
        "spec": {
            "capacity": { "storage": claim.value["spec"]["resources"]["requests"]["storage"] },
            "accessModes": claim.value["spec"]["accessModes"], "claimRef": reference(claim),
            "persistentVolumeReclaimPolicy": class.value["reclaimPolicy"].as_str().unwrap_or("Delete"),
            "storageClassName": class.key.name, "volumeMode": "Filesystem",
            "hostPath": { "path": format!("{DIRECTORY}/{name}"), "type": "DirectoryOrCreate" },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [on_node] } },
        },
    });
    Plan::of(vec![Change::Create { kind: volumes(), object }])
}

fn of_volume(observed: &Observed<'_>, volume: &Item) -> Plan {
    let reference = &volume.value["spec"]["claimRef"];
    let uid = reference["uid"].as_str();
    let claim = uid.and_then(|uid| observed.world.by_uid(uid));
    let phase = match (uid, claim) {
        (None, _) => "Available",
        (Some(_), Some(_)) => "Bound",
        (Some(_), None) => "Released",
    };
    let ours = volume.value["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == PROVISIONER;
    if phase == "Released" && ours && volume.value["spec"]["persistentVolumeReclaimPolicy"] == "Delete" {
        return Plan::of(vec![Change::Delete(volume.key.clone(), Default::default())]);
    }
    if volume.value["status"]["phase"] == phase {
        return Plan::default();
    }
    let mut status = volume.value["status"].clone();
    status["phase"] = phase.into();
    Plan::of(vec![status_update(volume, status)])
}
