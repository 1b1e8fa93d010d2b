//! What is to be told to a server: the newest status of each pod, until it is known to be committed.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use proto::agent::{PodStatus, Statuses};
use tokio::sync::Notify;

/// Statuses waiting to be sent; bounded by the pods of the node, because the newest of a pod replaces the one before.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    sequence: u64,
    /// By uid: the status, and the message it went out with (None: not sent yet).
    pods: BTreeMap<String, (PodStatus, Option<u64>)>,
}

impl Outbox {
    /// Puts a pod's newest status in the place of any before.
    pub fn put(&self, status: PodStatus) {
        self.inner.lock().pods.insert(status.uid.clone(), (status, None));
        self.filled.notify_one();
    }

    /// Waits until there may be something to send.
    pub async fn wait(&self) {
        self.filled.notified().await;
    }

    /// The statuses not sent yet, as the next message; None when there are none.
    pub fn take(&self) -> Option<Statuses> {
        let mut inner = self.inner.lock();
        let sequence = inner.sequence + 1;
        let unsent = inner.pods.values_mut().filter(|(_, sent)| sent.is_none());
        let pods: Vec<_> = unsent
            .map(|(status, sent)| {
                *sent = Some(sequence);
                status.clone()
            })
            .collect();
        if pods.is_empty() {
            return None;
        }
        inner.sequence = sequence;
        Some(Statuses { sequence, pods, ..Statuses::default() })
    }

    /// All messages up to this one are committed: what went out with them is forgotten.
    pub fn acknowledge(&self, sequence: u64) {
        self.inner.lock().pods.retain(|_, (_, sent)| sent.is_none_or(|at| at > sequence));
    }

    /// A new session begins: numbers start anew and whatever is not known to be committed goes out again.
    pub fn restart(&self) {
        let mut inner = self.inner.lock();
        inner.sequence = 0;
        inner.pods.values_mut().for_each(|(_, sent)| *sent = None);
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
        outbox.restart();
        assert!(outbox.take().is_none());
    }
}
