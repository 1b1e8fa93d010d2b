//! What changes for one node: pure, from changed objects to what its agent is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Resource, namespace, name.
pub(crate) type Key = (String, String, String);

/// Kinds of which a node needs every object.
pub(crate) const WHOLE: [&str; 3] = ["nodes", "services", "endpointslices"];

/// An object and its revision.
pub(crate) type Found = (i64, Value);

/// What to tell.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) upserts: BTreeMap<Key, Found>,
    pub(crate) deletes: BTreeSet<Key>,
}

/// What a node has been told so far.
#[derive(Debug)]
pub(crate) struct Selection {
    node: String,
    held: BTreeSet<Key>,
    /// What each held pod or claim needs.
    needs: BTreeMap<Key, BTreeSet<Key>>,
}

impl Selection {
    pub(crate) fn new(node: &str) -> Self {
        Selection { node: node.to_owned(), held: BTreeSet::new(), needs: BTreeMap::new() }
    }

    /// Takes changes in (an object, or None for one that is gone); `look` finds what is newly needed.
    pub(crate) fn step(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Found>)>,
        look: impl Fn(&Key) -> Option<Found>,
    ) -> Told {
        let mut told = Told::default();
        for (key, found) in changes {
            let found = found.filter(|(_, object)| self.wants(&key, object));
            self.put(key, found, &mut told);
        }
        self.settle(&mut told, look);
        told
    }

    fn wants(&self, key: &Key, object: &Value) -> bool {
        match key.0.as_str() {
            "pods" => object["spec"]["nodeName"].as_str() == Some(self.node.as_str()),
            whole if WHOLE.contains(&whole) => true,
            _ => self.needs.values().any(|needs| needs.contains(key)),
        }
    }

    fn needed(&self) -> BTreeSet<Key> {
        self.needs.values().flatten().cloned().collect()
    }

    fn put(&mut self, key: Key, found: Option<Found>, told: &mut Told) {
        match found {
            Some((revision, object)) => {
                let needs = needs(&key, &object);
                if !needs.is_empty() || self.needs.contains_key(&key) {
                    self.needs.insert(key.clone(), needs);
                }
                self.held.insert(key.clone());
                told.deletes.remove(&key);
                told.upserts.insert(key, (revision, object));
            }
            None => {
                self.needs.remove(&key);
                told.upserts.remove(&key);
                if self.held.remove(&key) {
                    told.deletes.insert(key);
                }
            }
        }
    }

    /// Fetches what has become needed and drops what no longer is; claims need volumes, so twice.
    fn settle(&mut self, told: &mut Told, look: impl Fn(&Key) -> Option<Found>) {
        for _ in 0..2 {
            let needed = self.needed();
            let missing: Vec<Key> = needed.difference(&self.held).cloned().collect();
            for key in missing {
                let found = look(&key);
                if found.is_some() {
                    self.put(key, found, told);
                }
            }
            let whole = |key: &Key| key.0 == "pods" || WHOLE.contains(&key.0.as_str());
            let idle: Vec<Key> = self.held.iter().filter(|key| !whole(key) && !needed.contains(key)).cloned().collect();
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

    fn look(key: &Key) -> Option<Found> {
        match key.2.as_str() {
            "data" => Some((3, json!({ "spec": { "volumeName": "disk" } }))),
            "pull" => None,
            _ => Some((2, json!({}))),
        }
    }

    #[test]
    fn a_pod_brings_what_it_refers_to_and_takes_it_away() {
        let mut selection = Selection::new("n");
        let told = selection.step([(key("pods", "p"), Some((5, pod("n"))))], look);
        let names: Vec<_> = told.upserts.keys().map(|key| key.2.as_str()).collect();
        assert_eq!(names, ["conf", "data", "disk", "p", "cred"]);
        // A secret that comes later is told; one that nobody needs is not.
        let late = [(key("secrets", "pull"), Some((6, json!({})))), (key("secrets", "other"), Some((6, json!({}))))];
        let told = selection.step(late, look);
        assert_eq!(told.upserts.keys().cloned().collect::<Vec<_>>(), [key("secrets", "pull")]);
        let told = selection.step([(key("pods", "p"), None)], look);
        assert_eq!((told.upserts.len(), told.deletes.len()), (0, 6));
        assert!(selection.held.is_empty() && selection.needs.is_empty());
    }

    #[test]
    fn other_nodes_pods_are_not_told_and_services_are() {
        let mut selection = Selection::new("n");
        let changes = [(key("pods", "p"), Some((5, pod("m")))), (key("services", "s"), Some((5, json!({}))))];
        let told = selection.step(changes, look);
        assert_eq!(told.upserts.keys().cloned().collect::<Vec<_>>(), [key("services", "s")]);
    }
}
