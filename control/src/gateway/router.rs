//! One watch of the store for all sessions of a server: each event is read once and told to those whom it concerns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use proto::mvccpb::event::EventType;
use store::View;
use store::api::{WatchBatch, WatchError, WatchSpec};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::index::{Id, Index};
use super::round::{Round, pause};
use super::select::{Change, Key, ROUTES, Selection, Shown, Told};
use crate::kind::{self, Kind};
use crate::registry::key;
use crate::registry::shell::{Registry, Target};

/// Batches that wait for one session; one that is slower begins anew.
const WAITING_MAX: usize = 1024;
/// Changes that a session behind the others takes in at one time, about.
const STEP: usize = 4096;

/// What one session is told at one time.
#[derive(Debug)]
struct Batch {
    /// Of the last change.
    revision: i64,
    news: News,
}

#[derive(Debug)]
enum News {
    /// Changes that concern this session, in the store's order.
    Own(Vec<Change>),
    /// What all sessions are told.
    All(Arc<Round>),
}

/// What is to be told next.
pub(super) struct Next {
    pub(super) told: Told,
    pub(super) rounds: Vec<Arc<Round>>,
    pub(super) revision: i64,
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
    /// Of the last event.
    revision: i64,
    /// Before it no round begins.
    next_round: Option<Instant>,
}

impl Inner {
    /// Tells one session; one that takes nothing ends.
    fn send(&mut self, id: Id, news: News) {
        let batch = Batch { revision: self.revision, news };
        if self.sinks.get(&id).is_none_or(|sink| sink.try_send(batch).is_err()) {
            self.sinks.remove(&id);
            self.index.close(id);
        }
    }

    /// When the next round is due; none while there is nothing to tell.
    fn due(&self, now: Instant) -> Option<Instant> {
        self.index.round_waits().then(|| self.next_round.unwrap_or(now))
    }

    /// Tells all what has changed for all, if it is time.
    fn round(&mut self, now: Instant) {
        if self.due(now).is_none_or(|due| due > now) {
            return;
        }
        if let (Some(round), sessions) = self.index.round() {
            self.next_round = Some(now + pause(sessions, round.size()));
            let (round, ids) = (Arc::new(round), self.sinks.keys().copied().collect::<Vec<Id>>());
            for id in ids {
                self.send(id, News::All(Arc::clone(&round)));
            }
        }
    }
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
                let due = self.inner.lock().due(Instant::now());
                tokio::select! {
                    batch = watcher.next() => match batch {
                        Ok(batch) => self.deliver(&batch),
                        Err(WatchError::Compacted { .. }) => break self.begin(),
                        Err(WatchError::Stopped) => return,
                    },
                    () = async { tokio::time::sleep_until(due.expect("checked").into()).await }, if due.is_some() => {
                        self.inner.lock().round(Instant::now());
                    }
                }
            };
        }
    }

    /// Makes the index anew; sessions end, because nobody knows what they have missed.
    fn begin(&self) -> i64 {
        let view = self.registry.store().view();
        let mut index = Index::default();
        everything(&self.registry, &view, |change| index.put(&change));
        let revision = view.revision();
        *self.inner.lock() = Inner { index, revision, ..Inner::default() };
        revision
    }

    fn deliver(&self, batch: &WatchBatch) {
        let changes: Vec<Change> = batch.events.iter().flat_map(|event| self.read(event)).collect();
        let mut inner = self.inner.lock();
        inner.revision = batch.revision;
        let told = inner.index.route(changes);
        // First what all are told: pods find their Services.
        inner.round(Instant::now());
        for (id, changes) in told {
            inner.send(id, News::Own(changes));
        }
    }

    fn read(&self, event: &proto::mvccpb::Event) -> Vec<Change> {
        let Some(kv) = event.kv.as_ref() else { return Vec::new() };
        let key = parse(&kv.key).filter(|key| self.inner.lock().index.concerns(key));
        let Some(key) = key else { return Vec::new() };
        let revision = kv.mod_revision;
        if event.r#type == i32::from(EventType::Delete) {
            return changes(key, revision, None);
        }
        match self.registry.open(kv) {
            Ok(stored) => changes(key, revision, Some(stored.shown())),
            Err(status) => {
                tracing::warn!(object = ?key, message = status.message, "an object cannot be read and is not told");
                Vec::new()
            }
        }
    }

    fn look(&self, view: &View, key: &Key) -> Option<Arc<Shown>> {
        let target = Target { kind: told_kind(&key.0)?, namespace: &key.1, name: &key.2, subresource: "" };
        let stored = self.registry.get(view, target).ok()?;
        let revision = stored.revision;
        Some(Arc::new(Shown::of(key, revision, stored.shown())))
    }

    /// Begins to tell a node: all that it needs now, and the revision that this is of.
    pub(super) fn open(self: &Arc<Self>, node: &str) -> (Subscription, Next) {
        let (sink, batches) = mpsc::channel(WAITING_MAX);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (whole, own) = {
            let mut inner = self.inner.lock();
            inner.sinks.insert(id, sink);
            inner.index.open(id, node)
        };
        let view = self.registry.store().view();
        let change = |key: Key| Change { revision: view.revision(), shown: self.look(&view, &key), key };
        let changes: Vec<Change> = own.into_iter().map(change).collect();
        let selection = Selection::new(node);
        let mut subscription = Subscription { router: Arc::clone(self), id, selection, batches };
        let (told, rounds) = (subscription.step(&changes), vec![Arc::new(whole)]);
        (subscription, Next { told, rounds, revision: view.revision() })
    }
}

impl Subscription {
    /// What is to be told next; none when this server can no longer follow.
    pub(super) async fn next(&mut self) -> Option<Next> {
        let Batch { mut revision, news } = self.batches.recv().await?;
        let (mut changes, mut rounds) = (Vec::new(), Vec::new());
        let mut take = |news: News| {
            match news {
                News::Own(more) => changes.extend(more),
                News::All(round) => rounds.push(round),
            }
            changes.len() < STEP
        };
        // Whoever is behind catches up in one step: many changes of an object are told as the last one.
        let mut room = take(news);
        while room && let Ok(more) = self.batches.try_recv() {
            revision = more.revision;
            room = take(more.news);
        }
        let told = if changes.is_empty() { Told::default() } else { self.step(&changes) };
        Some(Next { told, rounds, revision })
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

/// What a change of an object means to agents: a Node is told whole to its own, its route to all.
fn changes(key: Key, revision: i64, object: Option<serde_json::Value>) -> Vec<Change> {
    let mut changes = Vec::with_capacity(2);
    if key.0 == "nodes" {
        let route = object.as_ref().and_then(|node| Shown::route(&key.2, revision, node));
        let shown = route.map(Arc::new);
        changes.push(Change { key: (ROUTES.to_owned(), String::new(), key.2.clone()), revision, shown });
    }
    let shown = object.map(|object| Arc::new(Shown::of(&key, revision, object)));
    changes.push(Change { key, revision, shown });
    changes
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
    for kind in ["endpointslices", "nodes", "pods", "services"].into_iter().filter_map(told_kind) {
        let prefix = key::prefix(kind, "");
        for kv in view.range(prefix.as_bytes(), &key::range_end(&prefix)) {
            if let (Some(key), Ok(stored)) = (parse(&kv.key), registry.open(&kv)) {
                changes(key, kv.mod_revision, Some(stored.shown())).into_iter().for_each(&mut each);
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
