//! When each node was last heard, by any server: heartbeats never pass through consensus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

/// Starts each of our datagrams: others may come by the same way.
const TAG: &[u8] = b"liveness:";
/// Nodes per datagram, so that it fits: names have 63 bytes at most.
const NODES_PER_DATAGRAM: usize = 512;
/// Nodes remembered at most.
const NODES_MAX: usize = 16_384;

/// The table of one server.
#[derive(Debug, Default)]
pub struct Liveness {
    heard: Mutex<BTreeMap<String, Instant>>,
    /// Heard on own sessions since the last summary.
    fresh: Mutex<BTreeSet<String>>,
}

impl Liveness {
    /// A session of this server heard the node.
    pub(crate) fn heard(&self, node: &str) {
        self.note(node);
        self.fresh.lock().insert(node.to_owned());
    }

    fn note(&self, node: &str) {
        let mut heard = self.heard.lock();
        if heard.len() < NODES_MAX || heard.contains_key(node) {
            heard.insert(node.to_owned(), Instant::now());
        }
    }

    /// How long the node has been silent; None when this server never heard of it.
    pub fn silent_for(&self, node: &str) -> Option<Duration> {
        self.heard.lock().get(node).map(Instant::elapsed)
    }

    /// Datagrams with what own sessions heard since the last ones.
    pub(super) fn summaries(&self) -> Vec<Bytes> {
        let fresh: Vec<String> = std::mem::take(&mut *self.fresh.lock()).into_iter().collect();
        fresh.chunks(NODES_PER_DATAGRAM).map(|names| Bytes::from([TAG, names.join("\n").as_bytes()].concat())).collect()
    }

    /// Takes another server's summary in, if it is one.
    pub(super) fn receive(&self, bytes: &[u8]) {
        let names = bytes.strip_prefix(TAG).and_then(|names| std::str::from_utf8(names).ok());
        names.into_iter().flat_map(str::lines).for_each(|node| self.note(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_server_heard_counts() {
        let liveness = Liveness::default();
        assert!(liveness.silent_for("a").is_none());
        liveness.receive(b"liveness:a\nb");
        liveness.receive(b"other:c");
        assert!(liveness.silent_for("a").is_some() && liveness.silent_for("b").is_some());
        assert!(liveness.silent_for("c").is_none());
        assert!(liveness.fresh.lock().is_empty(), "not told again");
    }
}
