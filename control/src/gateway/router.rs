//! One watch of the store for all sessions of a server: each event is read once and told to those whom it concerns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use proto::mvccpb::event::EventType;
use store::View;
use store::api::{WatchBatch, WatchError, WatchSpec};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::index::{Id, Index};
use super::select::{Change, Key, Selection, Shown, Told, WHOLE};
use crate::kind::{self, Kind};
use crate::registry::key;
use crate::registry::shell::{Registry, Target};

/// Batches that wait for one session; one that is slower begins anew.
const WAITING_MAX: usize = 1024;
/// Changes that a session behind the others takes in at one time, about.
const STEP: usize = 4096;

/// Changes that concern one session, in the store's order.
#[derive(Debug)]
pub(super) struct Batch {
    /// Of the last of them.
    pub(super) revision: i64,
    changes: Vec<Change>,
}

/// See the module.
pub(super) struct Router {
    registry: Registry,
    next: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    index: Index,
    sinks: BTreeMap<Id, mpsc::Sender<Batch>>,
}

/// What one node is told: the way in, and what it knows already.
pub(super) struct Subscription {
    router: Arc<Router>,
    id: Id,
    selection: Selection,
    batches: mpsc::Receiver<Batch>,
}

impl Router {
    /// As the store is now; `run` is to go on from the revision.
    pub(super) fn new(registry: Registry) -> (Arc<Router>, i64) {
        let router = Arc::new(Router { registry, next: AtomicU64::new(0), inner: Mutex::default() });
        let from = router.begin();
        (router, from)
    }

    /// Whether somebody wrote that a node is silent.
    pub(super) fn given_up(&self, node: &str) -> bool {
        self.inner.lock().index.given_up(node)
    }

    /// Follows the store until told to stop.
    pub(super) async fn run(self: Arc<Self>, from: i64, stop: CancellationToken) {
        tokio::select! {
            () = self.follow(from) => {}
            () = stop.cancelled() => {}
        }
        self.inner.lock().sinks.clear();
    }

    async fn follow(&self, mut from: i64) {
        loop {
            let (key, range_end) = (key::ROOT.into(), key::range_end(key::ROOT).into());
            let spec = WatchSpec { key, range_end, start_revision: from + 1, prev_kv: false };
            let mut watcher = self.registry.store().watch(&spec);
            from = loop {
                match watcher.next().await {
                    Ok(batch) => self.deliver(&batch),
                    Err(WatchError::Compacted { .. }) => break self.begin(),
                    Err(WatchError::Stopped) => return,
                }
            };
        }
    }

    /// Makes the index anew; sessions end, because nobody knows what they have missed.
    fn begin(&self) -> i64 {
        let view = self.registry.store().view();
        let mut index = Index::default();
        everything(&self.registry, &view, |change| index.put(&change));
        *self.inner.lock() = Inner { index, sinks: BTreeMap::new() };
        view.revision()
    }

    fn deliver(&self, batch: &WatchBatch) {
        let changes: Vec<Change> = batch.events.iter().filter_map(|event| self.read(event)).collect();
        let mut inner = self.inner.lock();
        for (id, changes) in inner.index.route(changes) {
            let sent = Batch { revision: batch.revision, changes };
            if inner.sinks.get(&id).is_none_or(|sink| sink.try_send(sent).is_err()) {
                inner.sinks.remove(&id);
                inner.index.close(id);
            }
        }
    }

    fn read(&self, event: &proto::mvccpb::Event) -> Option<Change> {
        let kv = event.kv.as_ref()?;
        let key = parse(&kv.key).filter(|key| self.inner.lock().index.concerns(key))?;
        let revision = kv.mod_revision;
        if event.r#type == i32::from(EventType::Delete) {
            return Some(Change { key, revision, shown: None });
        }
        match self.registry.open(kv) {
            Ok(stored) => {
                let shown = Some(Arc::new(Shown::of(&key, revision, &stored.shown())));
                Some(Change { key, revision, shown })
            }
            Err(status) => {
                tracing::warn!(object = ?key, message = status.message, "an object cannot be read and is not told");
                None
            }
        }
    }

    fn look(&self, view: &View, key: &Key) -> Option<Arc<Shown>> {
        let target = Target { kind: told_kind(&key.0)?, namespace: &key.1, name: &key.2, subresource: "" };
        let stored = self.registry.get(view, target).ok()?;
        let revision = stored.revision;
        Some(Arc::new(Shown::of(key, revision, &stored.shown())))
    }

    /// Begins to tell a node: all that it needs now, and the revision that this is of.
    pub(super) fn open(self: &Arc<Self>, node: &str) -> (Subscription, Told, i64) {
        let (sink, batches) = mpsc::channel(WAITING_MAX);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (mut changes, pods) = {
            let mut inner = self.inner.lock();
            inner.sinks.insert(id, sink);
            inner.index.open(id, node)
        };
        let view = self.registry.store().view();
        for key in pods {
            let shown = self.look(&view, &key);
            changes.push(Change { key, revision: view.revision(), shown });
        }
        let selection = Selection::new(node);
        let mut subscription = Subscription { router: Arc::clone(self), id, selection, batches };
        let told = subscription.step(&changes);
        (subscription, told, view.revision())
    }
}

impl Subscription {
    /// What is to be told next, and its revision; none when this server can no longer follow.
    pub(super) async fn next(&mut self) -> Option<(Told, i64)> {
        let mut batch = self.batches.recv().await?;
        // Whoever is behind catches up in one step: many changes of an object are told as the last one.
        while batch.changes.len() < STEP {
            let Ok(more) = self.batches.try_recv() else { break };
            batch.revision = more.revision;
            batch.changes.extend(more.changes);
        }
        Some((self.step(&batch.changes), batch.revision))
    }

    fn step(&mut self, changes: &[Change]) -> Told {
        let (router, id) = (&self.router, self.id);
        // Changes of what is needed are told from before it is looked up: none is missed.
        let look = |key: &Key| {
            router.inner.lock().index.need(id, key);
            router.look(&router.registry.store().view(), key)
        };
        let told = self.selection.step(changes, look);
        router.inner.lock().index.keep(id, &self.selection.needed());
        told
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut inner = self.router.inner.lock();
        inner.sinks.remove(&self.id);
        inner.index.close(self.id);
    }
}

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

/// All objects of the kinds that are told by themselves.
fn everything(registry: &Registry, view: &View, mut each: impl FnMut(Change)) {
    for kind in WHOLE.iter().chain(&["pods"]).filter_map(|resource| told_kind(resource)) {
        let prefix = key::prefix(kind, "");
        for kv in view.range(prefix.as_bytes(), &key::range_end(&prefix)) {
            if let (Some(key), Ok(stored)) = (parse(&kv.key), registry.open(&kv)) {
                let shown = Some(Arc::new(Shown::of(&key, stored.revision, &stored.shown())));
                each(Change { key, revision: kv.mod_revision, shown });
            }
        }
    }
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
