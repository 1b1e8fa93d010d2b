//! What is to be told to a server: the newest status of each pod, whenever it has changed or somebody has written another
//! one, and all of them when a session begins.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use proto::agent::{PodStatus, Statuses};
use tokio::sync::Notify;

/// Events that wait at most.
const EVENTS_MAX: usize = 256;

/// The pods' statuses; bounded by the pods of the node, because the newest of a pod replaces the one before.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    sequence: u64,
    /// By uid.
    pods: BTreeMap<String, Entry>,
    /// The node's own status (JSON).
    node: Option<(Bytes, Sent)>,
    /// Events (JSON), told once: nobody acknowledges them.
    events: VecDeque<Bytes>,
}

#[derive(Debug)]
struct Entry {
    status: PodStatus,
    sent: Sent,
    /// The pod is gone from the node: no longer needed once committed.
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    No,
    /// With this message.
    With(u64),
    Committed,
}

impl Outbox {
    /// Puts a pod's newest status in the place of any before.
    pub fn put(&self, status: PodStatus) {
        let entry = Entry { status, sent: Sent::No, ended: false };
        self.inner.lock().pods.insert(entry.status.uid.clone(), entry);
        self.filled.notify_one();
    }

    /// A pod's status goes out again if it was committed: what is stored says something else by now.
    pub fn again(&self, uid: &str) {
        let mut inner = self.inner.lock();
        if let Some(entry) = inner.pods.get_mut(uid).filter(|entry| entry.sent == Sent::Committed) {
            entry.sent = Sent::No;
            self.filled.notify_one();
        }
    }

    /// Puts the node's own newest status in the place of any before.
    pub fn put_node(&self, status_json: Bytes) {
        self.inner.lock().node = Some((status_json, Sent::No));
        self.filled.notify_one();
    }

    /// Tells people of something; when nobody listens for long, the oldest is forgotten.
    pub fn say(&self, event_json: Bytes) {
        let mut inner = self.inner.lock();
        if inner.events.len() >= EVENTS_MAX {
            inner.events.pop_front();
        }
        inner.events.push_back(event_json);
        drop(inner);
        self.filled.notify_one();
    }

    /// What people are to be told.
    pub fn take_events(&self) -> Vec<Bytes> {
        self.inner.lock().events.drain(..).collect()
    }

    /// A pod is gone from the node: its last status is forgotten when it is committed.
    pub fn end(&self, uid: &str) {
        let mut inner = self.inner.lock();
        if let Some(entry) = inner.pods.get_mut(uid) {
            entry.ended = true;
            if entry.sent == Sent::Committed {
                inner.pods.remove(uid);
            }
        }
    }

    /// Waits until there may be something to send.
    pub async fn wait(&self) {
        self.filled.notified().await;
    }

    /// The statuses not sent yet, as the next message; None when there are none.
    pub fn take(&self) -> Option<Statuses> {
        let mut inner = self.inner.lock();
        let sequence = inner.sequence + 1;
        let unsent = inner.pods.values_mut().filter(|entry| entry.sent == Sent::No);
        let pods: Vec<_> = unsent
            .map(|entry| {
                entry.sent = Sent::With(sequence);
                entry.status.clone()
            })
            .collect();
        let node = inner.node.as_mut().filter(|(_, sent)| *sent == Sent::No).map(|(json, sent)| {
            *sent = Sent::With(sequence);
            json.clone()
        });
        if pods.is_empty() && node.is_none() {
            return None;
        }
        inner.sequence = sequence;
        Some(Statuses { sequence, pods, node_status_json: node.unwrap_or_default() })
    }

    /// All messages up to this one are committed.
    pub fn acknowledge(&self, sequence: u64) {
        let mut inner = self.inner.lock();
        for entry in inner.pods.values_mut().filter(|entry| matches!(entry.sent, Sent::With(at) if at <= sequence)) {
            entry.sent = Sent::Committed;
        }
        if let Some((_, sent)) =
            inner.node.as_mut().filter(|(_, sent)| matches!(sent, Sent::With(at) if *at <= sequence))
        {
            *sent = Sent::Committed;
        }
        inner.pods.retain(|_, entry| !(entry.ended && entry.sent == Sent::Committed));
    }

    /// A new session begins: numbers start anew and every status goes out again.
    pub fn restart(&self) {
        let mut inner = self.inner.lock();
        inner.sequence = 0;
        inner.pods.values_mut().for_each(|entry| entry.sent = Sent::No);
        inner.node.iter_mut().for_each(|(_, sent)| *sent = Sent::No);
        drop(inner);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins_and_stays_until_it_is_acknowledged() {
        let outbox = Outbox::default();
        let put = |uid: &str, text: &str| {
            let status_json = text.to_owned().into_bytes().into();
            outbox.put(PodStatus { uid: uid.to_owned(), status_json, ..PodStatus::default() });
        };
        put("a", "1");
        put("a", "2");
        let first = outbox.take().expect("a message");
        assert_eq!((first.sequence, first.pods.len(), &first.pods[0].status_json[..]), (1, 1, &b"2"[..]));
        assert!(outbox.take().is_none(), "nothing new");
        put("a", "3");
        outbox.acknowledge(1);
        assert_eq!(&outbox.take().expect("the newer one").pods[0].status_json[..], b"3");
        outbox.restart();
        assert_eq!(outbox.take().expect("again").sequence, 1);
        outbox.acknowledge(1);
        assert!(outbox.take().is_none());
        outbox.restart();
        assert_eq!(&outbox.take().expect("a new session is told everything").pods[0].status_json[..], b"3");
        outbox.again("a");
        assert!(outbox.take().is_none(), "it is on its way");
        outbox.acknowledge(1);
        outbox.again("a");
        assert_eq!(&outbox.take().expect("somebody wrote another").pods[0].status_json[..], b"3");
        outbox.end("a");
        outbox.acknowledge(2);
        outbox.restart();
        assert!(outbox.take().is_none(), "a pod that is gone is not told for ever");
        outbox.put_node(Bytes::from_static(b"{}"));
        assert_eq!(&outbox.take().expect("the node's").node_status_json[..], b"{}");
        outbox.acknowledge(1);
        assert!(outbox.take().is_none());
        outbox.restart();
        assert_eq!(&outbox.take().expect("a new session is told").node_status_json[..], b"{}");
    }
}
