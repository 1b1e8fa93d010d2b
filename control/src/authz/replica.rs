//! The authorizer of a server: the index, kept at the revision that the server has applied.
//!
//! Whoever asks first after a change takes it in: a decision is never older than the replica, and nobody waits.

use std::sync::Arc;

use futures_util::FutureExt;
use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::Mutex;
use proto::mvccpb::KeyValue;
use proto::mvccpb::event::EventType;
use serde_json::Value;
use store::api::{Occurrence, WatchError, WatchSpec};
use store::{Store, View, Watcher};

use super::index::Index;
use super::node::{self, Graph};
use super::{Attributes, Decision, rbac};
use crate::identity::User;
use crate::kind::{self, Kind};
use crate::registry::key::{self, Key};

/// The kinds that decisions depend on.
const KINDS: [&str; 4] = ["clusterrolebindings", "clusterroles", "rolebindings", "roles"];
const GROUP: &str = "rbac.authorization.k8s.io";

/// Decides who may, by the local replica; cheap to share.
pub struct Authorizer {
    store: Store,
    followed: Mutex<Followed>,
}

/// The index and where it has got to.
struct Followed {
    index: Arc<Index>,
    watcher: Watcher,
}

fn kind(resource: &str) -> &'static Kind {
    kind::find(GROUP, "v1", resource).expect("a row of the table")
}

impl Followed {
    fn load(store: &Store) -> Followed {
        let (view, mut index) = (store.view(), Index::default());
        for kind in KINDS.map(kind) {
            let prefix = key::prefix(kind, "");
            for kv in view.range(prefix.as_bytes(), &key::range_end(&prefix)) {
                put(&mut index, &kv, false);
            }
        }
        let spec = WatchSpec {
            key: key::prefix(kind(KINDS[0]), "").into(),
            range_end: key::range_end(&key::prefix(kind(KINDS[3]), "")).into(),
            start_revision: view.revision() + 1,
            prev_kv: false,
        };
        Followed { index: Arc::new(index), watcher: store.watch(&spec) }
    }

    fn take(&mut self, events: &[Arc<Occurrence>]) {
        let ours = |event: &&Arc<Occurrence>| event.kv.as_ref().is_some_and(|kv| place(kv).is_some());
        for event in events.iter().filter(ours) {
            if let Some(kv) = &event.kv {
                put(Arc::make_mut(&mut self.index), kv, event.r#type() == EventType::Delete);
            }
        }
    }
}

/// Which role or binding a key of the store is.
fn place(kv: &KeyValue) -> Option<Key> {
    key::parse(&kv.key).filter(|key| key.kind.group == GROUP)
}

fn put(index: &mut Index, kv: &KeyValue, gone: bool) {
    let Some(key) = place(kv) else { return };
    let object = if gone { None } else { serde_json::from_slice(&kv.value).ok() };
    index.put(key.kind.resource, &key.namespace, &key.name, object);
}

impl Authorizer {
    /// Over a store.
    pub fn new(store: Store) -> Self {
        let followed = Mutex::new(Followed::load(&store));
        Authorizer { store, followed }
    }

    /// Roles and bindings as the replica has them now.
    pub fn index(&self) -> Arc<Index> {
        let mut followed = self.followed.lock();
        while followed.watcher.synced() < self.store.revision() {
            // What is there already is handed over at once; the rest would be newer than this question.
            match followed.watcher.next().now_or_never() {
                Some(Ok(batch)) => followed.take(&batch.events),
                Some(Err(WatchError::Compacted { .. })) => *followed = Followed::load(&self.store),
                Some(Err(WatchError::Stopped)) | None => break,
            }
        }
        Arc::clone(&followed.index)
    }

    /// Decides one request: nodes by what they have, then everybody by roles.
    pub fn decide(&self, user: &User, attributes: &Attributes) -> Decision {
        let index = self.index();
        let own = node::node_of(user)
            .and_then(|_| node::decide(&index, &Replica { view: self.store.view() }, user, attributes));
        if let Some(own) = own.as_ref().filter(|own| own.allowed) {
            return own.clone();
        }
        let mut decision = rbac::decide(&index, user, attributes);
        if let Some(why) = own.map(|own| own.reason).filter(|why| !why.is_empty() && !decision.allowed) {
            let both = [why, decision.reason];
            decision.reason = both.into_iter().filter(|reason| !reason.is_empty()).collect::<Vec<_>>().join("\n");
        }
        decision
    }

    /// Every rule that holds for a user in a namespace, and what is missing.
    pub fn rules(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        rbac::rules_for(&self.index(), user, namespace)
    }
}

/// Pods and volumes as the replica has them.
struct Replica {
    view: View,
}

impl Replica {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let kv = self.view.get(key::object(kind::core(resource), namespace, name).as_bytes())?;
        serde_json::from_slice(&kv.value).ok()
    }
}

impl Graph for Replica {
    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get("pods", namespace, name)
    }

    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Value> {
        let prefix = key::prefix(kind::core("pods"), namespace);
        let rows = self.view.range(prefix.as_bytes(), &key::range_end(&prefix));
        let pods = rows.filter_map(|kv| serde_json::from_slice::<Value>(&kv.value).ok());
        pods.filter(|pod| pod["spec"]["nodeName"] == node).collect()
    }

    fn claim(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get("persistentvolumeclaims", namespace, name)
    }

    fn volume(&self, name: &str) -> Option<Value> {
        self.get("persistentvolumes", "", name)
    }
}
