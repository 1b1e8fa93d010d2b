//! PURE: the objects of the cluster as of one revision, and the indexes that planners look them up by.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde_json::Value;
use store::api::Revision;

use crate::controllers::MANAGER;
use crate::kind::Kind;
use crate::registry::key::Key;
use crate::registry::prepare::{meta_str, metadata};
use crate::scheduler::Footprint;

/// An object at a revision.
#[derive(Debug)]
pub struct Item {
    /// Which one.
    pub key: Key,
    /// As the API shows it, but for `managedFields`.
    pub value: Value,
    /// Its resourceVersion.
    pub revision: Revision,
    /// When somebody last became the owner of a field of it, or it was made.
    pub written: Option<Timestamp>,
    /// Whether controllers own a field of it.
    pub controlled: bool,
    /// Of a pod, once somebody has asked.
    footprint: OnceLock<Footprint>,
}

impl Item {
    /// From what the store holds.
    pub fn new(key: Key, mut value: Value, revision: Revision) -> Item {
        let meta = metadata(&mut value);
        let managers = meta.remove("managedFields").unwrap_or_default();
        let entries = || managers.as_array().into_iter().flatten();
        let times = entries().map(|entry| &entry["time"]).chain(meta.get("creationTimestamp"));
        // All are written alike, so the greatest text is the last time.
        let written = times.filter_map(Value::as_str).max().and_then(|time| time.parse().ok());
        let controlled = entries().any(|entry| entry["manager"] == MANAGER);
        meta.insert("resourceVersion".into(), revision.to_string().into());
        Item { key, value, revision, written, controlled, footprint: OnceLock::new() }
    }

    /// Of a pod: what it takes of its node; found out once, as planners look at all pods again and again.
    pub(crate) fn footprint(&self) -> &Footprint {
        self.footprint.get_or_init(|| Footprint::of(self))
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        meta_str(&self.value, "uid")
    }

    /// Whether its deletion has begun.
    pub fn deleting(&self) -> bool {
        !self.value["metadata"]["deletionTimestamp"].is_null()
    }

    /// Its owners, as references.
    pub fn owners(&self) -> impl Iterator<Item = &Value> {
        self.value["metadata"]["ownerReferences"].as_array().into_iter().flatten()
    }

    /// The owner that controls it.
    pub fn controller(&self) -> Option<&Value> {
        self.owners().find(|owner| owner["controller"] == true)
    }

    /// The node it runs on, if it is a pod that runs somewhere.
    pub fn node(&self) -> Option<&str> {
        let pod = (self.key.kind.group, self.key.kind.resource) == ("", "pods");
        self.value["spec"]["nodeName"].as_str().filter(|name| pod && !name.is_empty())
    }
}

/// What an event did to an object.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Which one.
    pub key: Key,
    /// Before; none: it is new.
    pub old: Option<Arc<Item>>,
    /// After; none: it is gone.
    pub new: Option<Arc<Item>>,
}

impl Changed {
    /// The object before and after, as far as there is one.
    pub fn both(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.old.iter().chain(&self.new)
    }

    /// Whether the object is of this kind.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        (self.key.kind.group, self.key.kind.resource) == (group, resource)
    }
}

/// All objects.
#[derive(Debug, Default)]
pub struct World {
    objects: BTreeMap<Key, Arc<Item>>,
    owned: BTreeMap<String, BTreeSet<Key>>,
    /// Pods by their node; under no name those that have none.
    on_node: BTreeMap<String, BTreeSet<Key>>,
    uids: BTreeMap<String, Key>,
    /// Everything up to here is in it.
    pub revision: Revision,
}

impl World {
    /// Takes the next version of an object.
    pub fn put(&mut self, item: Item) -> Changed {
        let (key, item) = (item.key.clone(), Arc::new(item));
        let old = self.objects.insert(key.clone(), Arc::clone(&item));
        if let Some(old) = &old {
            self.forget(old);
        }
        for owner in item.owners().filter_map(|owner| owner["uid"].as_str()) {
            self.owned.entry(owner.to_owned()).or_default().insert(key.clone());
        }
        if let Some(node) = place(&item) {
            self.on_node.entry(node.to_owned()).or_default().insert(key.clone());
        }
        self.uids.insert(item.uid().to_owned(), key.clone());
        Changed { key, old, new: Some(item) }
    }

    /// Takes an object away; none when it was not there.
    pub fn remove(&mut self, key: &Key) -> Option<Changed> {
        let old = self.objects.remove(key)?;
        self.forget(&old);
        Some(Changed { key: key.clone(), old: Some(old), new: None })
    }

    fn forget(&mut self, old: &Item) {
        for owner in old.owners().filter_map(|owner| owner["uid"].as_str()) {
            unlist(&mut self.owned, owner, &old.key);
        }
        if let Some(node) = place(old) {
            unlist(&mut self.on_node, node, &old.key);
        }
        if self.uids.get(old.uid()) == Some(&old.key) {
            self.uids.remove(old.uid());
        }
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Item>> {
        self.objects.get(key)
    }

    /// One object, by its name.
    pub fn named(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<&Arc<Item>> {
        self.get(&Key { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// All objects of a kind; of one namespace, unless it is empty.
    pub fn list<'a>(&'a self, kind: &'static Kind, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Item>> {
        let from = Key { kind, namespace: namespace.to_owned(), name: String::new() };
        let same = move |key: &Key| {
            (key.kind.resource, key.kind.group) == (kind.resource, kind.group)
                && (namespace.is_empty() || key.namespace == namespace)
        };
        self.objects
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(key, _)| same(key))
            .map(|(_, item)| item)
    }

    /// The objects that name an owner.
    pub fn owned<'a>(&'a self, uid: &str) -> impl Iterator<Item = &'a Arc<Item>> {
        self.owned.get(uid).into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// The pods bound to a node.
    pub fn pods_on<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Arc<Item>> {
        self.on_node.get(node).into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// The pods that are bound to no node.
    pub fn pods_nowhere(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.pods_on("")
    }

    /// The object with a uid.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Item>> {
        self.uids.get(uid).and_then(|key| self.objects.get(key))
    }

    /// Everything, as if it had just appeared.
    pub fn appeared(&self) -> impl Iterator<Item = Changed> {
        self.objects.values().map(|item| Changed { key: item.key.clone(), old: None, new: Some(Arc::clone(item)) })
    }
}

/// Where a pod is listed.
fn place(item: &Item) -> Option<&str> {
    let pod = (item.key.kind.group, item.key.kind.resource) == ("", "pods");
    pod.then(|| item.node().unwrap_or_default())
}

fn unlist(index: &mut BTreeMap<String, BTreeSet<Key>>, under: &str, key: &Key) {
    if let Some(keys) = index.get_mut(under) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(under);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;
    use serde_json::json;

    fn pod(name: &str, owner: &str, node: &str, revision: Revision) -> Item {
        let key = Key { kind: kind::core("pods"), namespace: "ns".into(), name: name.into() };
        let value = json!({
            "metadata": { "name": name, "namespace": "ns", "uid": format!("u-{name}"), "managedFields": [1],
                "ownerReferences": [{ "uid": owner, "controller": true }] },
            "spec": { "nodeName": node },
        });
        Item::new(key, value, revision)
    }

    #[test]
    fn indexes_follow_the_objects() {
        let mut world = World::default();
        assert!(world.put(pod("a", "rs", "", 5)).old.is_none());
        world.put(pod("b", "rs", "n1", 6));
        let moved = world.put(pod("a", "other", "n2", 7));
        assert_eq!(moved.old.expect("was there").revision, 5);
        let names = |items: Vec<&Arc<Item>>| items.iter().map(|item| item.key.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(world.owned("rs").collect()), ["b"]);
        assert_eq!(names(world.pods_on("n2").collect()), ["a"]);
        world.put(pod("c", "rs", "", 8));
        assert_eq!(names(world.pods_nowhere().collect()), ["c"]);
        world.put(pod("c", "other", "n3", 9));
        assert_eq!(world.pods_nowhere().count(), 0);
        assert_eq!(names(world.list(kind::core("pods"), "ns").collect()), ["a", "b", "c"]);
        assert_eq!(world.list(kind::core("pods"), "other").count() + world.list(kind::core("nodes"), "").count(), 0);
        assert_eq!(world.by_uid("u-a").expect("there").value["metadata"]["resourceVersion"], "7");
        assert!(world.by_uid("u-a").expect("there").value["metadata"]["managedFields"].is_null());
        let gone = world.remove(&moved.key).expect("was there");
        assert!(gone.new.is_none() && world.remove(&gone.key).is_none());
        assert_eq!((world.owned("other").count(), world.pods_on("n2").count()), (1, 0));
        assert!(world.by_uid("u-a").is_none());
    }
}
