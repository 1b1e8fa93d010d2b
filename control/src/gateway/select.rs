//! PURE: what changes for one node: from changed objects to what its agent is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use proto::agent::{Object, Reference};
use serde_json::{Value, json};

/// Resource, namespace, name.
pub(crate) type Key = (String, String, String);

/// What of a Node every other one is told: agents know it as the Node.
pub(crate) const ROUTES: &str = "routes";
/// Kinds of which a node needs every object.
pub(crate) const WHOLE: [&str; 3] = [ROUTES, "services", "endpointslices"];

/// How agents name what has a key here.
pub(crate) fn reference((resource, namespace, name): &Key) -> Reference {
    let resource = if resource == ROUTES { "nodes" } else { resource }.to_owned();
    Reference { resource, namespace: namespace.clone(), name: name.clone() }
}

/// An object as agents are told of it; shared by all that are.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) revision: i64,
    /// As it is sent: an encoded [`Object`].
    pub(crate) object: Bytes,
    /// The part of it that is the object itself.
    json: Bytes,
    /// Of a pod: where it runs.
    pub(crate) node: Option<String>,
    /// Of a node: somebody wrote that it is silent.
    pub(crate) given_up: bool,
    /// What it refers to.
    needs: BTreeSet<Key>,
}

impl Shown {
    pub(crate) fn of(key: &Key, revision: i64, mut object: Value) -> Shown {
        let conditions = object["status"]["conditions"].as_array().filter(|_| key.0 == "nodes");
        let unknown = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "Unknown";
        let given_up = conditions.into_iter().flatten().any(unknown);
        let node = object["spec"]["nodeName"].as_str().filter(|_| key.0 == "pods").map(str::to_owned);
        let needs = needs(key, &object);
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        Shown { node, given_up, needs, ..Shown::encoded(key, revision, &object) }
    }

    /// What a route to a node is made of; none while it has no address.
    pub(crate) fn route(name: &str, revision: i64, node: &Value) -> Option<Shown> {
        let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
        let internal: Vec<&Value> = addresses.filter(|address| address["type"] == "InternalIP").collect();
        if internal.is_empty() {
            return None;
        }
        let spec: serde_json::Map<String, Value> = ["podCIDR", "podCIDRs"]
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), node["spec"].get(*field)?.clone())))
            .collect();
        let object = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name }, "spec": spec,
            "status": { "addresses": internal },
        });
        let key = (ROUTES.to_owned(), String::new(), name.to_owned());
        Some(Shown::encoded(&key, revision, &object))
    }

    fn encoded(key: &Key, revision: i64, object: &Value) -> Shown {
        let json: Bytes = serde_json::to_vec(object).expect("a value is JSON").into();
        let length = json.len();
        let object = Bytes::from(Object { reference: Some(reference(key)), revision, json }.encode_to_vec());
        // Fields are written in the order of their numbers: the last one ends the message.
        let json = object.slice(object.len() - length..);
        Shown { revision, object, json, ..Shown::default() }
    }

    /// Whether agents would be told the same, but for the revision.
    pub(crate) fn same(&self, other: &Shown) -> bool {
        self.json == other.json
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
            "nodes" => key.2 == self.node,
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
            let own = |key: &Key| key.0 == "pods" || key.0 == "nodes";
            let idle: Vec<Key> = self.held.keys().filter(|key| !own(key) && !needed.contains(*key)).cloned().collect();
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
        let shown = object.map(|object| Arc::new(Shown::of(&key, revision, object)));
        Change { key, revision, shown }
    }

    fn look(key: &Key) -> Option<Arc<Shown>> {
        match key.2.as_str() {
            "data" => Some(Arc::new(Shown::of(key, 3, json!({ "spec": { "volumeName": "disk" } })))),
            "pull" => None,
            _ => Some(Arc::new(Shown::of(key, 2, json!({})))),
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
    fn other_nodes_pods_are_not_told_and_the_own_node_is() {
        let mut selection = Selection::new("n");
        let node = |name: &str| change(key("nodes", name), 5, Some(json!({})));
        let told = selection.step(&[change(key("pods", "p"), 5, Some(pod("m"))), node("m"), node("n")], look);
        assert_eq!(told.upserts.keys().cloned().collect::<Vec<_>>(), [key("nodes", "n")]);
    }

    #[test]
    fn a_route_is_the_address_and_the_range_whatever_else_changes() {
        let node = |ready: &str| {
            json!({ "metadata": { "name": "n", "resourceVersion": ready }, "spec": { "podCIDR": "10.0.1.0/24", "taints": [] },
                "status": { "addresses": [{ "type": "Hostname", "address": "n" }, { "type": "InternalIP", "address": "10.9.0.1" }],
                    "conditions": [{ "type": "Ready", "status": ready }] } })
        };
        let first = Shown::route("n", 5, &node("False")).expect("it has an address");
        let then = Shown::route("n", 6, &node("True")).expect("it has an address");
        assert!(first.same(&then) && first.object != then.object);
        let told = Object::decode(then.object.clone()).expect("an Object");
        assert_eq!(
            told.reference.expect("named"),
            Reference { resource: "nodes".into(), name: "n".into(), ..Reference::default() }
        );
        let read: Value = serde_json::from_slice(&told.json).expect("JSON");
        assert_eq!(
            (told.revision, read["spec"]["podCIDR"].as_str(), &read["status"]["addresses"][0]["address"]),
            (6, Some("10.0.1.0/24"), &json!("10.9.0.1"))
        );
        let mut moved = node("True");
        moved["spec"]["podCIDR"] = "10.0.2.0/24".into();
        assert!(!Shown::route("n", 7, &moved).expect("it has an address").same(&then));
        assert!(Shown::route("n", 8, &json!({ "status": {} })).is_none());
    }

    #[test]
    fn owners_of_fields_are_not_told() {
        let object = json!({ "metadata": { "name": "p", "managedFields": [{ "manager": "m" }] } });
        let shown = Shown::of(&key("pods", "p"), 1, object);
        let told = Object::decode(shown.object).expect("an Object");
        assert_eq!(&told.json[..], br#"{"metadata":{"name":"p"}}"#);
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
