//! The way down: everything a node needs, then what changes of it.

use std::time::Duration;

use proto::agent::{Hello, Object, Reference, ToNode, Update, to_node};
use proto::mvccpb::event::EventType;
use store::View;
use store::api::{WatchBatch, WatchSpec};
use tokio::sync::mpsc;

use super::select::{Found, Key, Selection, Told, WHOLE};
use crate::kind::{self, Kind};
use crate::registry::key;
use crate::registry::prepare::meta_str;
use crate::registry::shell::{Registry, Target};

/// A replica that is behind what the agent knows may take so long to catch up.
const CATCH_UP: Duration = Duration::from_secs(5);

/// The kind of a resource of which a node is told.
fn told_kind(resource: &str) -> Option<&'static Kind> {
    match resource {
        "endpointslices" => kind::find("discovery.k8s.io", "v1", resource),
        "pods" | "nodes" | "services" | "configmaps" | "secrets" | "persistentvolumes" | "persistentvolumeclaims" => {
            kind::find("", "v1", resource)
        }
        _ => None,
    }
}

/// What a key in the store names, if it is of a kind that nodes are told of.
fn parse(place: &[u8]) -> Option<Key> {
    let place = std::str::from_utf8(place).ok()?.strip_prefix(key::ROOT)?;
    let (resource, rest) = place.split_once('/')?;
    let namespaced = told_kind(resource)?.namespaced;
    let (namespace, name) = if namespaced { rest.split_once('/')? } else { ("", rest) };
    Some((resource.to_owned(), namespace.to_owned(), name.to_owned()))
}

fn look(registry: &Registry, view: &View, wanted: &Key) -> Option<Found> {
    let target = Target { kind: told_kind(&wanted.0)?, namespace: &wanted.1, name: &wanted.2, subresource: "" };
    let stored = registry.get(view, target).ok()?;
    let revision = stored.revision;
    Some((revision, stored.shown()))
}

/// Feeds an agent until it hangs up, or the watch ends; the text says why.
pub(crate) async fn feed(registry: &Registry, hello: &Hello, down: &mpsc::Sender<ToNode>) -> Result<(), String> {
    let store = registry.store();
    let mut leadership = store.leadership();
    let ready = async {
        store.barrier().await.map_err(|e| e.to_string())?;
        store.applied(hello.revision).await.map_err(|e| e.to_string())?;
        leadership.wait_for(|held| held.epoch >= hello.epoch).await.map_err(|e| e.to_string())?;
        Ok::<_, String>(())
    };
    let ready = tokio::time::timeout(CATCH_UP, ready).await;
    ready.map_err(|_| "this server is behind what the node knows".to_owned())??;
    let mut selection = Selection::new(&hello.node);
    let view = store.view();
    let told = selection.step(everything(registry, &view), |key| look(registry, &view, key));
    let mut epoch = leadership.borrow().epoch;
    send(down, update(epoch, view.revision(), true, told)).await?;
    let start_revision = view.revision() + 1;
    drop(view);
    let spec = WatchSpec {
        key: key::ROOT.into(),
        range_end: key::range_end(key::ROOT).into(),
        start_revision,
        prev_kv: false,
    };
    let mut watcher = store.watch(&spec);
    loop {
        let batch = watcher.next().await.map_err(|error| error.to_string())?;
        let view = store.view();
        let told = selection.step(changes(registry, &batch), |key| look(registry, &view, key));
        drop(view);
        if told != Told::default() {
            epoch = leadership.borrow().epoch.max(epoch);
            send(down, update(epoch, batch.revision, false, told)).await?;
        }
    }
}

/// All objects of the kinds that are told by themselves.
fn everything(registry: &Registry, view: &View) -> Vec<(Key, Option<Found>)> {
    let kinds = WHOLE.iter().chain(&["pods"]).filter_map(|resource| told_kind(resource));
    let mut all = Vec::new();
    for kind in kinds {
        let prefix = key::prefix(kind, "");
        for kv in view.range(prefix.as_bytes(), &key::range_end(&prefix)) {
            if let (Some(key), Ok(stored)) = (parse(&kv.key), registry.open(&kv)) {
                all.push((key, Some((stored.revision, stored.shown()))));
            }
        }
    }
    all
}

fn changes(registry: &Registry, batch: &WatchBatch) -> Vec<(Key, Option<Found>)> {
    let change = |event: &std::sync::Arc<proto::mvccpb::Event>| {
        let kv = event.kv.as_ref()?;
        let key = parse(&kv.key)?;
        if event.r#type == i32::from(EventType::Delete) {
            return Some((key, None));
        }
        match registry.open(kv) {
            Ok(stored) => Some((key, Some((stored.revision, stored.shown())))),
            Err(status) => {
                tracing::warn!(object = ?key, message = status.message, "an object cannot be read and is not told");
                None
            }
        }
    };
    batch.events.iter().filter_map(change).collect()
}

fn update(epoch: u64, revision: i64, reset: bool, told: Told) -> Update {
    let reference = |(resource, namespace, name): Key| Reference { resource, namespace, name };
    let object = |(key, (revision, value)): (Key, Found)| {
        debug_assert_eq!(meta_str(&value, "name"), key.2);
        let json = serde_json::to_vec(&value).expect("a value is JSON").into();
        Object { reference: Some(reference(key)), revision, json }
    };
    let upserts = told.upserts.into_iter().map(object).collect();
    Update { epoch, revision, reset, upserts, deletes: told.deletes.into_iter().map(reference).collect() }
}

async fn send(down: &mpsc::Sender<ToNode>, update: Update) -> Result<(), String> {
    let message = ToNode { message: Some(to_node::Message::Update(update)) };
    down.send(message).await.map_err(|_| "the agent hung up".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_told_kinds_are_understood() {
        let key = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(parse(b"/registry/pods/ns/p"), key("pods", "ns", "p"));
        assert_eq!(parse(b"/registry/nodes/n"), key("nodes", "", "n"));
        assert_eq!(parse(b"/registry/deployments/ns/d"), None);
        assert_eq!(parse(b"/raftsman/x"), None);
    }
}
