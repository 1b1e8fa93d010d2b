//! What servers tell each other of the nodes that are connected to them, by datagrams: who was heard, and what is used.
//!
//! None of it passes through consensus; what is lost is told again soon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use proto::agent::UsagePart;
use store::Store;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::liveness::Liveness;
use super::usage::Reports;

/// Between summaries to the other servers.
const SUMMARY: Duration = Duration::from_millis(500);
/// Starts each datagram about usage: others may come by the same way.
const USAGE: &[u8] = b"usage:";
/// Parts sent at one time: fewer than a peer's queue holds. The others follow with the next summary.
const BURST: usize = 96;

/// Tells the other servers and listens to them, until told to stop.
pub(super) async fn run(liveness: Arc<Liveness>, reports: Arc<Mutex<Reports>>, store: Store, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SUMMARY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut arrived = store.datagrams();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                liveness.summaries().into_iter().for_each(|summary| store.broadcast(summary));
                let parts = reports.lock().parts(BURST);
                for part in parts {
                    store.broadcast(Bytes::from([USAGE, &part.encode_to_vec()].concat()));
                }
            }
            datagram = arrived.recv() => match datagram {
                Ok((_, bytes)) => receive(&liveness, &reports, &bytes),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

fn receive(liveness: &Liveness, reports: &Mutex<Reports>, bytes: &[u8]) {
    match bytes.strip_prefix(USAGE).map(UsagePart::decode) {
        Some(Ok(part)) => reports.lock().receive(part, Instant::now()),
        Some(Err(error)) => tracing::debug!(%error, "a datagram about usage is damaged"),
        None => liveness.receive(bytes),
    }
}
