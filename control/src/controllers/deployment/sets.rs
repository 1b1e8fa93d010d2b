//! PURE: a deployment's ReplicaSets: which one is new, what they are called, what they carry.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::controllers::events::fnv64;
use crate::controllers::owner;
use crate::controllers::rollout::Goal;
use crate::reconcile::world::Item;
use crate::registry::commit::Change;
use crate::registry::prepare::metadata;

/// Which of a deployment's templates, counted from 1.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Tells pods of different templates apart.
const HASH: &str = "pod-template-hash";
/// Annotations of a deployment that its sets do not get.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];

/// The sets that a deployment controls.
pub(super) struct Sets {
    /// The one of the present template.
    pub(super) new: Option<Arc<Item>>,
    /// The others, oldest first.
    pub(super) old: Vec<Arc<Item>>,
}

impl Sets {
    pub(super) fn of(deployment: &Item, mut all: Vec<Arc<Item>>) -> Sets {
        all.sort_by_cached_key(|set| owner::age(set));
        let wanted = unhashed(&deployment.value["spec"]["template"]);
        let new = all.iter().position(|set| unhashed(&set.value["spec"]["template"]) == wanted);
        let new = new.map(|at| all.remove(at));
        Sets { new, old: all }
    }

    /// Those with pods wished for.
    pub(super) fn active(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.old.iter().chain(&self.new).filter(|set| replicas(set) > 0)
    }

    /// One more than any old set carries.
    pub(super) fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
    }

    /// The set of a new template, and the deployment with its revision.
    pub(super) fn birth(&self, deployment: &Item, size: i64, goal: Goal) -> Vec<Change> {
        let spec = &deployment.value["spec"];
        let collisions = deployment.value["status"]["collisionCount"].as_i64().unwrap_or(0);
        let words = format!("{}\0{collisions}", spec["template"]);
        let hash = safe(fnv64(words.as_bytes()) & 0xffff_ffff);
        let mut template = spec["template"].clone();
        metadata(&mut template).entry("labels").or_insert_with(|| json!({}))[HASH] = hash.clone().into();
        let mut selector = spec["selector"].clone();
        if !selector["matchLabels"].is_object() {
            selector["matchLabels"] = json!({});
        }
        selector["matchLabels"][HASH] = hash.clone().into();
        let annotations: serde_json::Map<String, Value> =
            passed_on(deployment).map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", deployment.key.name), "namespace": deployment.key.namespace,
                "labels": template["metadata"]["labels"], "annotations": annotations,
                "ownerReferences": [owner::reference(deployment)],
            },
            "spec": { "replicas": size, "selector": selector, "template": template },
        });
        if let Some(seconds) = spec.get("minReadySeconds") {
            object["spec"]["minReadySeconds"] = seconds.clone();
        }
        annotated(&mut object, goal);
        object["metadata"]["annotations"][REVISION] = self.next_revision().to_string().into();
        vec![Change::Create { kind: owner::apps("replicasets"), object }]
    }
}

/// The annotations of a deployment that its new set gets.
pub(super) fn passed_on(deployment: &Item) -> impl Iterator<Item = (&String, &Value)> {
    let all = deployment.value["metadata"]["annotations"].as_object().into_iter().flatten();
    all.filter(|(key, _)| !OWN.contains(&key.as_str()))
}

/// A set says what size its deployment was when it was sized.
pub(super) fn annotated(set: &mut Value, goal: Goal) {
    let notes = metadata(set).entry("annotations").or_insert_with(|| json!({}));
    notes[DESIRED] = goal.replicas.to_string().into();
    notes[MOST] = (goal.replicas + goal.surge).to_string().into();
}

fn note(item: &Item, key: &str) -> Option<i64> {
    item.value["metadata"]["annotations"][key].as_str()?.parse().ok()
}

/// Its revision; 0 where there is none.
pub(super) fn revision(item: &Item) -> i64 {
    note(item, REVISION).unwrap_or(0)
}

/// The deployment's size when the set was last sized.
pub(super) fn wished_replicas(set: &Item) -> Option<i64> {
    note(set, DESIRED)
}

/// The same with the surge.
pub(super) fn most_replicas(set: &Item) -> i64 {
    note(set, MOST).unwrap_or_else(|| replicas(set))
}

/// `spec.replicas`.
pub(super) fn replicas(set: &Item) -> i64 {
    set.value["spec"]["replicas"].as_i64().unwrap_or(1)
}

fn unhashed(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    drop_nulls(&mut template);
    template
}

/// Clients send what they leave out as null, e.g. `creationTimestamp` when they roll back.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A number in letters and digits that make no words (k8s.io/apimachinery `util/rand`, `SafeEncodeString`).
fn safe(hash: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}
