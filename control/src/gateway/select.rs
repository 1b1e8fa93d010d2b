//! What changes for one node: pure, from changed objects to what its agent is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// Resource, namespace, name.
pub(crate) type Key = (String, String, String);

/// Kinds of which a node needs every object.
pub(crate) const WHOLE: [&str; 3] = ["nodes", "services", "endpointslices"];

/// An object as agents are told of it; shared by all that are.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) revision: i64,
    pub(crate) json: Bytes,
    /// Of a pod: where it runs.
    pub(crate) node: Option<String>,
    /// Of a node: somebody wrote that it is silent.
    pub(crate) given_up: bool,
    /// What it refers to.
    needs: BTreeSet<Key>,
}

impl Shown {
    pub(crate) fn of(key: &Key, revision: i64, object: &Value) -> Shown {
        let conditions = object["status"]["conditions"].as_array().filter(|_| key.0 == "nodes");
        let unknown = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "Unknown";
        Shown {
            revision,
            json: serde_json::to_vec(object).expect("a value is JSON").into(),
            node: object["spec"]["nodeName"].as_str().filter(|_| key.0 == "pods").map(str::to_owned),
            given_up: conditions.into_iter().flatten().any(unknown),
            needs: needs(key, object),
        }
    }
}

/// One object's change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) key: Key,
    /// When it happened.
    pub(crate) revision: i64,
    /// None: it is gone.
    pub(crate) shown: Option<Arc<Shown>>,
}

/// What to tell.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) upserts: BTreeMap<Key, Arc<Shown>>,
    pub(crate) deletes: BTreeSet<Key>,
}

/// What a node has been told so far.
#[derive(Debug)]
pub(crate) struct Selection {
    node: String,
    /// Each with its revision.
    held: BTreeMap<Key, i64>,
    /// What each held pod or claim needs.
    needs: BTreeMap<Key, BTreeSet<Key>>,
}

impl Selection {
    pub(crate) fn new(node: &str) -> Self {
        Selection { node: node.to_owned(), held: BTreeMap::new(), needs: BTreeMap::new() }
    }

    /// Takes changes in; `look` finds what is newly needed. News older than what is held changes nothing.
    pub(crate) fn step<'a>(
        &mut self,
        changes: impl IntoIterator<Item = &'a Change>,
        look: impl FnMut(&Key) -> Option<Arc<Shown>>,
    ) -> Told {
        let mut told = Told::default();
        for Change { key, revision, shown } in changes {
            if self.held.get(key).is_some_and(|held| held > revision) {
                continue;
            }
            let shown = shown.clone().filter(|shown| self.wants(key, shown));
            self.put(key.clone(), shown, &mut told);
        }
        self.settle(&mut told, look);
        told
    }

    fn wants(&self, key: &Key, shown: &Shown) -> bool {
        match key.0.as_str() {
            "pods" => shown.node.as_ref() == Some(&self.node),
            whole if WHOLE.contains(&whole) => true,
            _ => self.needs.values().any(|needs| needs.contains(key)),
        }
    }

    /// All that is referred to, whether or not it is there.
    pub(crate) fn needed(&self) -> BTreeSet<Key> {
        self.needs.values().flatten().cloned().collect()
    }

    fn put(&mut self, key: Key, shown: Option<Arc<Shown>>, told: &mut Told) {
        match shown {
            Some(shown) => {
                if !shown.needs.is_empty() || self.needs.contains_key(&key) {
                    self.needs.insert(key.clone(), shown.needs.clone());
                }
                self.held.insert(key.clone(), shown.revision);
                told.deletes.remove(&key);
                told.upserts.insert(key, shown);
            }
            None => {
                self.needs.remove(&key);
                told.upserts.remove(&key);
                if self.held.remove(&key).is_some() {
                    told.deletes.insert(key);
                }
            }
        }
    }

    /// Fetches what has become needed and drops what no longer is; claims need volumes, so twice.
    fn settle(&mut self, told: &mut Told, mut look: impl FnMut(&Key) -> Option<Arc<Shown>>) {
        for _ in 0..2 {
            let needed = self.needed();
            let missing: Vec<Key> = needed.iter().filter(|key| !self.held.contains_key(*key)).cloned().collect();
            for key in missing {
                let shown = look(&key);
                if shown.is_some() {
                    self.put(key, shown, told);
                }
            }
            let whole = |key: &Key| key.0 == "pods" || WHOLE.contains(&key.0.as_str());
            let idle: Vec<Key> =
                self.held.keys().filter(|key| !whole(key) && !needed.contains(*key)).cloned().collect();
            for key in idle {
                self.put(key, None, told);
            }
        }
    }
}

/// What a pod or a claim refers to.
fn needs(key: &Key, object: &Value) -> BTreeSet<Key> {
    let mut needs = BTreeSet::new();
    match key.0.as_str() {
        "pods" => gather(&object["spec"], &key.1, &mut needs),
        "persistentvolumeclaims" => {
            if let Some(name) = object["spec"]["volumeName"].as_str().filter(|name| !name.is_empty()) {
                needs.insert(("persistentvolumes".to_owned(), String::new(), name.to_owned()));
            }
        }
        _ => {}
    }
    needs
}

/// Fields of a pod's spec that name another object, wherever they are: the field, the resource, where the name is.
const REFERENCES: [(&str, &str, &str); 9] = [
    ("configMapKeyRef", "configmaps", "name"),
    ("configMapRef", "configmaps", "name"),
    ("configMap", "configmaps", "name"),
    ("secretKeyRef", "secrets", "name"),
    ("secretRef", "secrets", "name"),
    ("secret", "secrets", "secretName"),
    ("secret", "secrets", "name"),
    ("imagePullSecrets", "secrets", "name"),
    ("persistentVolumeClaim", "persistentvolumeclaims", "claimName"),
];

/// The objects that a pod's spec names.
pub(crate) fn references(spec: &Value, namespace: &str) -> BTreeSet<Key> {
    let mut found = BTreeSet::new();
    gather(spec, namespace, &mut found);
    found
}

fn gather(value: &Value, namespace: &str, needs: &mut BTreeSet<Key>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, namespace, needs)),
        Value::Object(fields) => {
            for (field, inner) in fields {
                for (_, resource, place) in REFERENCES.iter().filter(|(name, ..)| name == field) {
                    let items = inner.as_array().map_or(std::slice::from_ref(inner), Vec::as_slice);
                    for name in items.iter().filter_map(|item| item[*place].as_str()) {
                        needs.insert(((*resource).to_owned(), namespace.to_owned(), name.to_owned()));
                    }
                }
                gather(inner, namespace, needs);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(resource: &str, name: &str) -> Key {
        let namespace = if resource == "persistentvolumes" { "" } else { "ns" };
        (resource.to_owned(), namespace.to_owned(), name.to_owned())
    }

    fn pod(node: &str) -> Value {
        json!({ "spec": { "nodeName": node, "imagePullSecrets": [{ "name": "pull" }],
            "containers": [{ "envFrom": [{ "configMapRef": { "name": "conf" } }] }],
            "volumes": [{ "secret": { "secretName": "cred" } }, { "persistentVolumeClaim": { "claimName": "data" } }] } })
    }

    fn change(key: Key, revision: i64, object: Option<Value>) -> Change {
        let shown = object.map(|object| Arc::new(Shown::of(&key, revision, &object)));
        Change { key, revision, shown }
    }

    fn look(key: &Key) -> Option<Arc<Shown>> {
        match key.2.as_str() {
            "data" => Some(Arc::new(Shown::of(key, 3, &json!({ "spec": { "volumeName": "disk" } })))),
            "pull" => None,
            _ => Some(Arc::new(Shown::of(key, 2, &json!({})))),
        }
    }

    #[test]
    fn a_pod_brings_what_it_refers_to_and_takes_it_away() {
        let mut selection = Selection::new("n");
        let told = selection.step(&[change(key("pods", "p"), 5, Some(pod("n")))], look);
        let names: Vec<_> = told.upserts.keys().map(|key| key.2.as_str()).collect();
        assert_eq!(names, ["conf", "data", "disk", "p", "cred"]);
        assert!(selection.needed().contains(&key("secrets", "pull")), "it is waited for");
        // A secret that comes later is told; one that nobody needs is not.
        let late = ["pull", "other"].map(|name| change(key("secrets", name), 6, Some(json!({}))));
        let told = selection.step(&late, look);
        assert_eq!(told.upserts.keys().cloned().collect::<Vec<_>>(), [key("secrets", "pull")]);
        let told = selection.step(&[change(key("pods", "p"), 7, None)], look);
        assert_eq!((told.upserts.len(), told.deletes.len()), (0, 6));
        assert!(selection.held.is_empty() && selection.needs.is_empty());
    }

    #[test]
    fn other_nodes_pods_are_not_told_and_services_are() {
        let mut selection = Selection::new("n");
        let changes = [change(key("pods", "p"), 5, Some(pod("m"))), change(key("services", "s"), 5, Some(json!({})))];
        let told = selection.step(&changes, look);
        assert_eq!(told.upserts.keys().cloned().collect::<Vec<_>>(), [key("services", "s")]);
    }

    #[test]
    fn old_news_changes_nothing() {
        let mut selection = Selection::new("n");
        selection.step(&[change(key("pods", "p"), 9, Some(pod("n")))], look);
        // Its predecessor of the same name, and that one's end: told late.
        let late = [change(key("pods", "p"), 7, Some(pod("n"))), change(key("pods", "p"), 8, None)];
        assert_eq!(selection.step(&late, look), Told::default());
        assert_eq!(selection.step(&[change(key("pods", "p"), 10, None)], look).deletes.len(), 5);
    }
}
