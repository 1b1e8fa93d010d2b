//! Who leads, told to everyone who acts on it.

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{Epoch, Leadership};
use crate::raft::types::Raft;

/// Follows the Raft core until it ends or is told to. `epoch_base` is added to terms.
pub(crate) async fn follow(
    raft: Raft,
    base: impl Fn() -> Epoch,
    told: watch::Sender<Leadership>,
    cancel: CancellationToken,
) {
    let mut metrics = raft.metrics();
    loop {
        let now = metrics.borrow_watched().clone();
        let leads = now.state == ServerState::Leader && now.running_state.is_ok();
        // The first entry of a leadership is its own: once applied, everything of earlier ones is applied too.
        let own = now.last_applied.is_some_and(|id| id.leader_id.term == now.current_term);
        let leadership = Leadership {
            epoch: if now.current_leader.is_some() { base() + now.current_term } else { 0 },
            leader: now.current_leader,
            acting: leads && own,
        };
        told.send_if_modified(|held| std::mem::replace(held, leadership.clone()) != leadership);
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { break },
            () = cancel.cancelled() => break,
        }
    }
    told.send_replace(Leadership::default());
}
