//! Datagrams between members: at most once, never waited for, lost when a member is slow or away.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use proto::peer::Datagram;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::api::MemberId;
use crate::group::Group;
use crate::raft::peers::Purpose;

/// A datagram at most, bytes.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Datagrams that wait for a member, or for a reader here, at most.
const WAITING_MAX: usize = 256;

/// A member's URLs, and what waits to be sent there.
type Waiting = (Vec<String>, mpsc::Sender<Bytes>);

/// See the module.
pub(crate) struct Datagrams {
    group: Arc<Group>,
    arrived: broadcast::Sender<(MemberId, Bytes)>,
    /// One queue per other member.
    queues: Mutex<HashMap<MemberId, Waiting>>,
}

impl Datagrams {
    pub(crate) fn new(group: Arc<Group>) -> Self {
        Datagrams { group, arrived: broadcast::channel(WAITING_MAX).0, queues: Mutex::default() }
    }

    /// Sends to every other member.
    pub(crate) fn broadcast(&self, payload: &Bytes) {
        if payload.len() > DATAGRAM_BYTES_MAX {
            tracing::warn!(bytes = payload.len(), most = DATAGRAM_BYTES_MAX, "a datagram is too large and is not sent");
            return;
        }
        for (_, queue) in self.queues.lock().values() {
            // Full: the member is slow. Newer datagrams matter more than waiting.
            let _ = queue.try_send(payload.clone());
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<(MemberId, Bytes)> {
        self.arrived.subscribe()
    }

    /// Hands on what another member sent.
    pub(crate) fn receive(&self, datagram: Datagram) {
        let members = self.group.raft.server_metrics().borrow_watched().membership_config.clone();
        if datagram.payload.len() <= DATAGRAM_BYTES_MAX && members.get_node(&datagram.from).is_some() {
            // An error only means that nobody listens.
            let _ = self.arrived.send((datagram.from, datagram.payload));
        }
    }

    /// Keeps a queue and a connection per other member, until told to end.
    pub(crate) async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let mut members = self.group.raft.server_metrics();
        let mut senders = JoinSet::new();
        loop {
            self.follow_members(&mut senders);
            tokio::select! {
                changed = members.changed() => if changed.is_err() { break },
                Some(_) = senders.join_next() => {}
                () = cancel.cancelled() => break,
            }
        }
        self.queues.lock().clear();
        senders.shutdown().await;
    }

    fn follow_members(&self, senders: &mut JoinSet<()>) {
        let members = self.group.raft.server_metrics().borrow_watched().membership_config.clone();
        let mut queues = self.queues.lock();
        queues.retain(|id, (urls, _)| members.get_node(id).is_some_and(|node| node.peer_urls == *urls));
        for (id, node) in members.nodes().filter(|(id, _)| **id != self.group.id) {
            queues.entry(*id).or_insert_with(|| {
                let (queue, waiting) = mpsc::channel(WAITING_MAX);
                senders.spawn(deliver(self.group.clone(), *id, node.peer_urls.clone(), waiting));
                (node.peer_urls.clone(), queue)
            });
        }
    }
}

/// Sends what waits for one member over one call, and begins another call when it breaks.
async fn deliver(group: Arc<Group>, to: MemberId, urls: Vec<String>, mut waiting: mpsc::Receiver<Bytes>) {
    let from = group.id;
    while let Some(first) = waiting.recv().await {
        let Ok(mut client) = group.peers.client(Some(to), &urls, Purpose::Datagram) else { return };
        let (queue, sent) = mpsc::channel(1);
        let pump = async {
            let mut next = Some(first);
            while let Some(payload) = next {
                if queue.send(Datagram { from, payload }).await.is_err() {
                    return;
                }
                next = waiting.recv().await;
            }
        };
        tokio::select! {
            _ = client.datagrams(ReceiverStream::new(sent)) => {}
            () = pump => {}
        }
        // What waited for the broken call is stale: one attempt per news, not one per datagram.
        while waiting.try_recv().is_ok() {}
    }
}
