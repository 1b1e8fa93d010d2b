//! The sessions of this server: through them logs are asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use proto::agent::{LogCancel, LogChunk, LogCredit, LogRequest, ToNode, to_node};
use tokio::sync::mpsc;

/// Chunks of one log that wait for its reader: a node sends no more than it has credit for.
const CHUNKS_MAX: usize = 64;
/// Credit is given back in parts of this size.
const CREDIT: u32 = 16;

/// Nodes that are connected here.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    nodes: Mutex<BTreeMap<String, Arc<Session>>>,
}

/// A connected agent.
#[derive(Debug)]
pub(super) struct Session {
    down: mpsc::Sender<ToNode>,
    next: AtomicU64,
    logs: Mutex<BTreeMap<u64, mpsc::Sender<LogChunk>>>,
}

/// A log on its way; dropping it tells the node to stop.
pub(crate) struct Log {
    id: u64,
    session: Arc<Session>,
    chunks: mpsc::Receiver<LogChunk>,
    /// Since credit was given back.
    taken: u32,
}

impl Sessions {
    /// A session begins; a node that comes again has left its old one.
    pub(super) fn open(&self, node: &str, down: mpsc::Sender<ToNode>) -> Arc<Session> {
        let session = Arc::new(Session { down, next: AtomicU64::new(1), logs: Mutex::default() });
        self.nodes.lock().insert(node.to_owned(), Arc::clone(&session));
        session
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.nodes.lock().len()
    }

    /// A session has ended; its logs end with it.
    pub(super) fn close(&self, node: &str, session: &Arc<Session>) {
        session.logs.lock().clear();
        let mut nodes = self.nodes.lock();
        if nodes.get(node).is_some_and(|held| Arc::ptr_eq(held, session)) {
            nodes.remove(node);
        }
    }

    /// Asks a node for a log; none when it is not connected here.
    pub(super) async fn log(&self, node: &str, mut request: LogRequest) -> Option<Log> {
        let session = self.nodes.lock().get(node).cloned()?;
        request.id = session.next.fetch_add(1, Ordering::Relaxed);
        let (id, (sink, chunks)) = (request.id, mpsc::channel(CHUNKS_MAX));
        session.logs.lock().insert(id, sink);
        let log = Log { id, session: Arc::clone(&session), chunks, taken: 0 };
        let message = ToNode { message: Some(to_node::Message::LogRequest(request)) };
        session.down.send(message).await.ok().map(|()| log)
    }
}

impl Session {
    /// A chunk has come. A node that sends more than its credit loses the log: its other messages must not wait.
    pub(super) fn chunk(&self, chunk: LogChunk) {
        let mut logs = self.logs.lock();
        let (id, end) = (chunk.id, chunk.end);
        let gone = logs.get(&id).is_none_or(|sink| sink.try_send(chunk).is_err());
        if gone || end {
            logs.remove(&id);
        }
    }
}

impl Log {
    /// The next chunk; none when the node is gone.
    pub(crate) async fn next(&mut self) -> Option<LogChunk> {
        let chunk = self.chunks.recv().await?;
        self.taken += 1;
        if self.taken == CREDIT {
            self.taken = 0;
            let credit = to_node::Message::LogCredit(LogCredit { id: self.id, chunks: CREDIT });
            self.session.down.send(ToNode { message: Some(credit) }).await.ok()?;
        }
        Some(chunk)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.session.logs.lock().remove(&self.id).is_some() || !self.chunks.is_closed() {
            let cancel = to_node::Message::LogCancel(LogCancel { id: self.id });
            // A node that is told nothing finds out when nobody takes its chunks.
            let _ = self.session.down.try_send(ToNode { message: Some(cancel) });
        }
    }
}
