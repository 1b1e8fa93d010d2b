//! The newest events, shared by all watchers, bounded by count and bytes.
//!
//! Keys fall into topics by the first parts of their path. A watcher of one topic is woken by its events alone, and finds
//! them without looking at others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::api::{Occurrence, Revision};

/// Events at most.
const EVENTS_MAX: usize = 1 << 16;
/// Bytes of keys and values at most.
const BYTES_MAX: usize = 8 << 20;
/// The newest events keep what readers noted about them.
const NOTES_MAX: usize = 256;
/// Bytes of wanted events at once, about: whole revisions are never cut.
const STEP_BYTES: usize = 512 << 10;
/// Topics; several paths may share one.
const TOPICS: usize = 64;

/// A group of keys.
pub(super) type Topic = usize;

/// See the module.
pub(crate) struct Ring {
    inner: RwLock<Inner>,
    newest: watch::Sender<Revision>,
    /// What is compacted: watches cannot begin below it.
    compacted: AtomicI64,
    /// The newest event of each topic.
    topics: Vec<watch::Sender<Revision>>,
}

struct Inner {
    events: VecDeque<(Revision, Arc<Occurrence>)>,
    /// The number of the first event here.
    first: u64,
    bytes: usize,
    /// Every event from this revision on is here.
    complete_from: Revision,
    newest: Revision,
    topics: Vec<OfTopic>,
}

#[derive(Clone, Default)]
struct OfTopic {
    /// Numbers of its events here.
    numbers: VecDeque<u64>,
    /// Every event after this revision is here.
    dropped: Revision,
}

impl Inner {
    fn new(revision: Revision) -> Self {
        let topic = OfTopic { numbers: VecDeque::new(), dropped: revision };
        Inner {
            events: VecDeque::new(),
            first: 0,
            bytes: 0,
            complete_from: revision + 1,
            newest: revision,
            topics: vec![topic; TOPICS],
        }
    }

    fn at(&self, number: u64) -> &(Revision, Arc<Occurrence>) {
        &self.events[usize::try_from(number - self.first).expect("numbers of events that are here")]
    }

    /// Adds an event; answers its topic.
    fn push(&mut self, revision: Revision, event: Arc<Occurrence>) -> Option<Topic> {
        let number = self.first + self.events.len() as u64;
        let topic = event.kv.as_ref().map(|kv| topic(&kv.key));
        if let Some(topic) = topic {
            self.topics[topic].numbers.push_back(number);
        }
        self.bytes += size(&event);
        self.events.push_back((revision, event));
        if let Some(aged) = self.events.len().checked_sub(NOTES_MAX + 1) {
            self.events[aged].1.forget();
        }
        topic
    }

    fn pop(&mut self) -> bool {
        let Some((revision, event)) = self.events.pop_front() else { return false };
        if let Some(kv) = &event.kv {
            let of = &mut self.topics[topic(&kv.key)];
            of.numbers.pop_front();
            of.dropped = revision;
        }
        self.first += 1;
        self.bytes -= size(&event);
        self.complete_from = revision + 1;
        true
    }
}

impl Ring {
    /// Of a store at a revision.
    pub(crate) fn new(revision: Revision) -> Self {
        let topics = (0..TOPICS).map(|_| watch::Sender::new(revision)).collect();
        let (inner, newest) = (RwLock::new(Inner::new(revision)), watch::Sender::new(revision));
        Ring { inner, newest, compacted: AtomicI64::new(0), topics }
    }

    /// Notes what is compacted.
    pub(crate) fn compact(&self, revision: Revision) {
        self.compacted.store(revision, Ordering::Relaxed);
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted.load(Ordering::Relaxed)
    }

    /// The newest revision, and every change of it.
    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// The newest event of a topic, and every later one.
    pub(super) fn topic(&self, topic: Topic) -> watch::Receiver<Revision> {
        self.topics[topic].subscribe()
    }

    /// Adds the events of whole revisions, all newer than what is here, and wakes the watchers.
    pub(crate) fn publish(&self, events: Vec<(Revision, Arc<Occurrence>)>, revision: Revision) {
        let mut touched = [false; TOPICS];
        let mut inner = self.inner.write();
        for (revision, event) in events {
            if let Some(topic) = inner.push(revision, event) {
                touched[topic] = true;
            }
        }
        while (inner.events.len() > EVENTS_MAX || inner.bytes > BYTES_MAX) && inner.pop() {}
        inner.newest = revision;
        drop(inner);
        self.newest.send_if_modified(|newest| std::mem::replace(newest, revision) != revision);
        for (sender, _) in self.topics.iter().zip(touched).filter(|(_, touched)| *touched) {
            sender.send_replace(revision);
        }
    }

    /// Forgets everything: the state was replaced by one at this revision.
    pub(crate) fn reset(&self, revision: Revision) {
        *self.inner.write() = Inner::new(revision);
        self.newest.send_replace(revision);
        for sender in &self.topics {
            sender.send_replace(revision);
        }
    }

    /// Wanted events of whole revisions from `next` on, of one topic if it is given, after looking at about `limit`, with
    /// the last revision looked at. None when `next` is no longer here.
    pub(crate) fn events(
        &self,
        next: Revision,
        limit: usize,
        topic: Option<Topic>,
        wants: impl Fn(&Bytes) -> bool,
    ) -> Option<(Vec<Arc<Occurrence>>, Revision)> {
        let inner = self.inner.read();
        let mut look = Look { wanted: Vec::new(), looked: 0, bytes: 0, last: next };
        let mut take = |(revision, event): &(Revision, Arc<Occurrence>)| look.at(*revision, event, limit, &wants);
        let end = if let Some(topic) = topic {
            let of = &inner.topics[topic];
            if next <= of.dropped {
                return None;
            }
            let start = of.numbers.partition_point(|number| inner.at(*number).0 < next);
            let whole = of.numbers.range(start..).all(|number| take(inner.at(*number)));
            whole.then_some(inner.newest)
        } else {
            if next < inner.complete_from {
                return None;
            }
            let start = inner.events.partition_point(|(revision, _)| *revision < next);
            inner.events.range(start..).all(&mut take);
            None
        };
        Some((look.wanted, end.unwrap_or(look.last).max(look.last)))
    }
}

/// What was found so far.
struct Look {
    wanted: Vec<Arc<Occurrence>>,
    looked: usize,
    bytes: usize,
    last: Revision,
}

impl Look {
    /// Whether to look further: whole revisions are never cut.
    fn at(
        &mut self,
        revision: Revision,
        event: &Arc<Occurrence>,
        limit: usize,
        wants: &impl Fn(&Bytes) -> bool,
    ) -> bool {
        if (self.looked >= limit || self.bytes >= STEP_BYTES) && revision != self.last {
            return false;
        }
        self.looked += 1;
        self.last = revision;
        if event.kv.as_ref().is_some_and(|kv| wants(&kv.key)) {
            self.bytes += size(event);
            self.wanted.push(Arc::clone(event));
        }
        true
    }
}

/// Up to and with the third slash: `/registry/pods/`.
fn path(key: &[u8]) -> Option<&[u8]> {
    let third = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(2);
    third.map(|(at, _)| &key[..=at])
}

fn topic(key: &[u8]) -> Topic {
    // FNV-1a.
    let hash = path(key)
        .unwrap_or(key)
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from((hash >> 32) % TOPICS as u64).unwrap_or(0)
}

/// The topic that holds every key of a range, if one does.
pub(super) fn topic_of(from: &[u8], to: Option<&[u8]>) -> Option<Topic> {
    let path = path(from)?;
    let mut next = path.to_vec();
    *next.last_mut()? += 1;
    (to? <= next.as_slice()).then(|| topic(from))
}

fn size(event: &Occurrence) -> usize {
    let of = |kv: &Option<proto::mvccpb::KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    of(&event.kv) + of(&event.prev_kv)
}

#[cfg(test)]
mod tests {
    use proto::mvccpb::{Event, KeyValue};

    use super::*;

    fn event(key: &str, revision: Revision) -> (Revision, Arc<Occurrence>) {
        let kv = KeyValue { key: key.to_owned().into(), mod_revision: revision, ..KeyValue::default() };
        (revision, Arc::new(Occurrence::new(Event { kv: Some(kv), ..Event::default() })))
    }

    fn found(ring: &Ring, next: Revision, topic: Option<Topic>, prefix: &str) -> Option<(Vec<Revision>, Revision)> {
        let (events, last) = ring.events(next, 1024, topic, |key| key.starts_with(prefix.as_bytes()))?;
        let revisions = events.iter().map(|event| event.kv.as_ref().expect("has a key").mod_revision).collect();
        Some((revisions, last))
    }

    #[test]
    fn a_range_lies_in_a_topic_or_in_several() {
        let of = |from: &str, to: &str| topic_of(from.as_bytes(), Some(to.as_bytes()));
        let pods = topic(b"/registry/pods/x/y");
        assert_eq!(of("/registry/pods/", "/registry/pods0"), Some(pods));
        assert_eq!(of("/registry/pods/x/", "/registry/pods/x0"), Some(pods));
        assert_eq!(of("/registry/pods/x/y", "/registry/pods/x/y\0"), Some(pods));
        assert_eq!((of("/registry/", "/registry0"), of("/registry/pods", "/registry/pods0")), (None, None));
        assert_eq!((of("/registry/pods/", "/registry/q"), of("a", "b"), topic_of(b"/a/b/", None)), (None, None, None));
    }

    #[test]
    fn a_topic_is_complete_while_only_others_are_forgotten() {
        let (ring, pods, leases) = (Ring::new(1), topic(b"/registry/pods/"), topic(b"/registry/leases/"));
        assert_ne!(pods, leases);
        ring.publish(vec![event("/registry/leases/a/b", 2)], 2);
        ring.publish(vec![event("/registry/pods/a/b", 3)], 3);
        let many = EVENTS_MAX as i64;
        for revision in 4..many + 3 {
            ring.publish(vec![event("/registry/leases/a/b", revision)], revision);
        }
        // The first lease is gone, the pod is the first that is left.
        assert_eq!(found(&ring, 2, Some(pods), "/registry/pods/"), Some((vec![3], many + 2)));
        assert_eq!(found(&ring, 4, Some(pods), "/registry/pods/"), Some((vec![], many + 2)));
        assert_eq!((found(&ring, 2, Some(leases), ""), found(&ring, 2, None, "")), (None, None));
        assert!(found(&ring, 3, Some(leases), "").is_some());
        assert_eq!((*ring.topic(pods).borrow(), *ring.revisions().borrow()), (3, many + 2));
        ring.publish(vec![event("/registry/leases/a/b", many + 3)], many + 3);
        assert_eq!(found(&ring, 3, Some(pods), ""), None, "it was dropped unseen");
        assert_eq!(found(&ring, 4, Some(pods), ""), Some((vec![], many + 3)));
        ring.reset(9_000_000);
        assert_eq!(found(&ring, 9_000_000, Some(pods), ""), None);
    }

    #[test]
    fn whole_revisions_are_looked_at() {
        let ring = Ring::new(1);
        ring.publish((0..4).map(|at| event("/registry/pods/a/b", 2 + at / 2)).collect(), 3);
        for topic in [None, Some(topic(b"/registry/pods/"))] {
            let (events, last) = ring.events(2, 1, topic, |_| true).expect("here");
            assert_eq!((events.len(), last), (2, 2));
        }
    }

    #[test]
    fn notes_are_made_once_and_forgotten_in_time() {
        let ring = Ring::new(1);
        let (_, first) = event("/registry/pods/a/b", 2);
        ring.publish(vec![(2, Arc::clone(&first))], 2);
        assert_eq!((*first.note(|| 7), *first.note(|| 8)), (7, 7));
        assert_eq!(*first.note(|| "another type"), "another type");
        for revision in 3..3 + NOTES_MAX as i64 {
            ring.publish(vec![event("/registry/pods/a/b", revision)], revision);
        }
        assert_eq!(*first.note(|| 9), 9);
    }
}
