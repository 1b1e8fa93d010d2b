//! PURE: who is to be told of a change: sessions by their node's name and by what their pods refer to.
//!
//! Without it every session would look at every pod of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::round::{Round, Whole};
use super::select::{Change, Key, WHOLE};

/// Names a session.
pub(super) type Id = u64;

/// What all sessions of a server need to know together.
#[derive(Debug, Default)]
pub(super) struct Index {
    whole: Whole,
    /// Where each pod runs, and what runs where.
    node_of: BTreeMap<Key, String>,
    pods_on: BTreeMap<String, BTreeSet<Key>>,
    /// Nodes that somebody wrote off.
    given_up: BTreeSet<String>,
    sessions: BTreeMap<Id, (String, BTreeSet<Key>)>,
    by_node: BTreeMap<String, BTreeSet<Id>>,
    by_need: BTreeMap<Key, BTreeSet<Id>>,
}

impl Index {
    /// Takes a change in without telling anybody.
    pub(super) fn put(&mut self, change: &Change) {
        let (key, shown) = (&change.key, change.shown.as_ref());
        match key.0.as_str() {
            "pods" => self.put_pod(key, shown.and_then(|shown| shown.node.as_deref())),
            "nodes" => {
                if shown.is_some_and(|shown| shown.given_up) {
                    self.given_up.insert(key.2.clone());
                } else {
                    self.given_up.remove(&key.2);
                }
            }
            kind if WHOLE.contains(&kind) => self.whole.put(key, shown),
            _ => {}
        }
    }

    fn put_pod(&mut self, key: &Key, node: Option<&str>) {
        if self.node_of.get(key).map(String::as_str) == node {
            return;
        }
        if let Some(old) = self.node_of.remove(key) {
            take(&mut self.pods_on, &old, key);
        }
        if let Some(node) = node {
            self.node_of.insert(key.clone(), node.to_owned());
            self.pods_on.entry(node.to_owned()).or_default().insert(key.clone());
        }
    }

    /// Whether anybody could want to know of an object.
    pub(super) fn concerns(&self, key: &Key) -> bool {
        let always = ["pods", "nodes"].contains(&key.0.as_str()) || WHOLE.contains(&key.0.as_str());
        always || self.by_need.contains_key(key)
    }

    /// Takes changes in; whom to tell what. What all are told waits for a round.
    pub(super) fn route(&mut self, changes: Vec<Change>) -> BTreeMap<Id, Vec<Change>> {
        let mut told: BTreeMap<Id, Vec<Change>> = BTreeMap::new();
        for change in changes {
            // A pod that is gone is told to the node it was on.
            let mut ids = self.readers(&change.key);
            self.put(&change);
            ids.extend(self.readers(&change.key));
            for id in ids {
                told.entry(id).or_default().push(change.clone());
            }
        }
        told
    }

    fn readers(&self, key: &Key) -> BTreeSet<Id> {
        match key.0.as_str() {
            "pods" => {
                let node = self.node_of.get(key);
                node.and_then(|node| self.by_node.get(node)).cloned().unwrap_or_default()
            }
            "nodes" => self.by_node.get(&key.2).cloned().unwrap_or_default(),
            _ => self.by_need.get(key).cloned().unwrap_or_default(),
        }
    }

    /// A session begins: all that every node is told, and the names of what it is told alone.
    pub(super) fn open(&mut self, id: Id, node: &str) -> (Round, BTreeSet<Key>) {
        self.sessions.insert(id, (node.to_owned(), BTreeSet::new()));
        self.by_node.entry(node.to_owned()).or_default().insert(id);
        let mut own = self.pods_on.get(node).cloned().unwrap_or_default();
        own.insert(("nodes".to_owned(), String::new(), node.to_owned()));
        (self.whole.all(), own)
    }

    /// Whether all have to be told something.
    pub(super) fn round_waits(&self) -> bool {
        self.whole.waits()
    }

    /// What all are told next, if anything, and how many they are.
    pub(super) fn round(&mut self) -> (Option<Round>, usize) {
        (self.whole.round(), self.sessions.len())
    }

    /// A session ends.
    pub(super) fn close(&mut self, id: Id) {
        if let Some((node, needs)) = self.sessions.remove(&id) {
            take(&mut self.by_node, &node, &id);
            needs.iter().for_each(|key| take(&mut self.by_need, key, &id));
        }
    }

    /// A session wants to know of an object that it does not have yet.
    pub(super) fn need(&mut self, id: Id, key: &Key) {
        if let Some((_, needs)) = self.sessions.get_mut(&id) {
            needs.insert(key.clone());
            self.by_need.entry(key.clone()).or_default().insert(id);
        }
    }

    /// What a session still needs; the rest is no concern of it any more.
    pub(super) fn keep(&mut self, id: Id, needed: &BTreeSet<Key>) {
        let Some((_, needs)) = self.sessions.get_mut(&id) else { return };
        let idle: Vec<Key> = needs.difference(needed).cloned().collect();
        for key in idle {
            needs.remove(&key);
            take(&mut self.by_need, &key, &id);
        }
    }

    /// Whether somebody wrote that a node is silent.
    pub(super) fn given_up(&self, node: &str) -> bool {
        self.given_up.contains(node)
    }
}

/// Takes an entry out of a set in a map, and an empty set out of the map.
fn take<K: Ord + Clone, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gateway::select::Shown;
    use serde_json::{Value, json};

    fn key(resource: &str, name: &str) -> Key {
        (resource.to_owned(), "ns".to_owned(), name.to_owned())
    }

    fn change(key: Key, revision: i64, object: Option<Value>) -> Change {
        let shown = object.map(|object| Arc::new(Shown::of(&key, revision, object)));
        Change { key, revision, shown }
    }

    fn on(node: &str) -> Option<Value> {
        Some(json!({ "spec": { "nodeName": node } }))
    }

    fn told(index: &mut Index, change: Change) -> Vec<Id> {
        index.route(vec![change]).into_keys().collect()
    }

    #[test]
    fn a_change_is_told_to_those_whom_it_concerns() {
        let mut index = Index::default();
        let (a, b, c) = (1, 2, 3);
        index.open(a, "a");
        index.open(b, "b");
        assert!(told(&mut index, change(key("pods", "p"), 1, Some(json!({ "spec": {} })))).is_empty());
        assert_eq!(told(&mut index, change(key("pods", "p"), 2, on("a"))), [a]);
        assert_eq!(told(&mut index, change(("nodes".into(), String::new(), "b".into()), 3, Some(json!({})))), [b]);
        assert!(told(&mut index, change(key("services", "s"), 3, Some(json!({})))).is_empty(), "a round tells it");
        assert!(index.round_waits() && index.round().0.is_some_and(|round| round.size() > 0));
        let secret = |revision| change(key("secrets", "x"), revision, Some(json!({})));
        assert!(told(&mut index, secret(4)).is_empty());
        index.need(b, &key("secrets", "x"));
        assert_eq!(told(&mut index, secret(5)), [b]);
        index.keep(b, &BTreeSet::new());
        assert!(!index.concerns(&key("secrets", "x")));
        let (whole, own) = index.open(c, "a");
        let node = ("nodes".to_owned(), String::new(), "a".to_owned());
        assert!(whole.size() > 0 && own == [key("pods", "p"), node].into());
        assert_eq!(told(&mut index, change(key("pods", "p"), 6, None)), [a, c], "the end is told as well");
        index.need(a, &key("secrets", "x"));
        index.close(a);
        index.close(c);
        assert!(!index.concerns(&key("secrets", "x")) && index.by_node.len() == 1);
    }

    #[test]
    fn a_node_is_given_up_until_it_is_ready_again() {
        let mut index = Index::default();
        let node = |status: &str| Some(json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } }));
        index.put(&change(key("nodes", "n"), 1, node("Unknown")));
        assert!(index.given_up("n"));
        index.put(&change(key("nodes", "n"), 2, node("True")));
        assert!(!index.given_up("n"));
    }
}
