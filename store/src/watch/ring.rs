//! The newest events, shared by all watchers, bounded by count and bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use proto::mvccpb::Event;
use tokio::sync::watch;

use crate::api::Revision;

/// Events at most.
const EVENTS_MAX: usize = 1 << 16;
/// Bytes of keys and values at most.
const BYTES_MAX: usize = 64 << 20;

/// See the module.
pub(crate) struct Ring {
    inner: RwLock<Inner>,
    newest: watch::Sender<Revision>,
}

struct Inner {
    events: VecDeque<(Revision, Arc<Event>)>,
    bytes: usize,
    /// Every event from this revision on is here.
    complete_from: Revision,
}

impl Ring {
    /// Of a store at a revision.
    pub(crate) fn new(revision: Revision) -> Self {
        let inner = Inner { events: VecDeque::new(), bytes: 0, complete_from: revision + 1 };
        Ring { inner: RwLock::new(inner), newest: watch::Sender::new(revision) }
    }

    /// The newest revision, and every change of it.
    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Adds the events of whole revisions, all newer than what is here, and wakes the watchers.
    pub(crate) fn publish(&self, events: Vec<(Revision, Arc<Event>)>, revision: Revision) {
        let mut inner = self.inner.write();
        for (revision, event) in events {
            inner.bytes += size(&event);
            inner.events.push_back((revision, event));
        }
        while inner.events.len() > EVENTS_MAX || inner.bytes > BYTES_MAX {
            let Some((revision, event)) = inner.events.pop_front() else { break };
            inner.bytes -= size(&event);
            inner.complete_from = revision + 1;
        }
        drop(inner);
        self.newest.send_if_modified(|newest| std::mem::replace(newest, revision) != revision);
    }

    /// Forgets everything: the state was replaced by one at this revision.
    pub(crate) fn reset(&self, revision: Revision) {
        *self.inner.write() = Inner { events: VecDeque::new(), bytes: 0, complete_from: revision + 1 };
        self.newest.send_replace(revision);
    }

    /// Wanted events of whole revisions from `next` on, after looking at about `limit`, with the last revision looked at.
    /// None when `next` is no longer here.
    pub(crate) fn events(
        &self,
        next: Revision,
        limit: usize,
        wants: impl Fn(&Bytes) -> bool,
    ) -> Option<(Vec<Arc<Event>>, Revision)> {
        let inner = self.inner.read();
        if next < inner.complete_from {
            return None;
        }
        let start = inner.events.partition_point(|(revision, _)| *revision < next);
        let mut wanted = Vec::new();
        let mut last = next;
        for (looked, (revision, event)) in inner.events.range(start..).enumerate() {
            if looked >= limit && *revision != last {
                return Some((wanted, last));
            }
            last = *revision;
            if event.kv.as_ref().is_some_and(|kv| wants(&kv.key)) {
                wanted.push(event.clone());
            }
        }
        Some((wanted, last))
    }
}

fn size(event: &Event) -> usize {
    let of = |kv: &Option<proto::mvccpb::KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    of(&event.kv) + of(&event.prev_kv)
}
