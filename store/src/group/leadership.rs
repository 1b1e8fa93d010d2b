//! Who leads, told to everyone who acts on it.

use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{Epoch, Leadership};
use crate::raft::types::{Membership, Raft, Types};

/// Follows the Raft core until it ends or is told to. `epoch_base` is added to terms.
pub(crate) async fn follow(
    raft: Raft,
    base: impl Fn() -> Epoch,
    told: watch::Sender<Leadership>,
    cancel: CancellationToken,
) {
    let (mut metrics, mut news) = (raft.metrics(), raft.server_metrics());
    let mut ticking = true;
    loop {
        let Some(now) = fresh(&mut metrics, &news).await else { break };
        let needed = !alone(now.state, now.membership_config.membership());
        if std::mem::replace(&mut ticking, needed) != needed {
            raft.runtime_config().tick(needed);
        }
        let leads = now.state == ServerState::Leader && now.running_state.is_ok();
        // The first entry of a leadership is its own: once applied, everything of earlier ones is applied too.
        let own = now.last_applied.is_some_and(|id| id.leader_id.term == now.current_term);
        let leadership = Leadership {
            epoch: if now.current_leader.is_some() { base() + now.current_term } else { 0 },
            leader: now.current_leader,
            acting: leads && own,
        };
        told.send_if_modified(|held| std::mem::replace(held, leadership.clone()) != leadership);
        // One that leads waits for its own first entry; otherwise entries change nothing here.
        tokio::select! {
            changed = metrics.changed(), if leads && !own => if changed.is_err() { break },
            changed = news.changed() => if changed.is_err() { break },
            () = cancel.cancelled() => break,
        }
    }
    told.send_replace(Leadership::default());
}

/// What the core says of itself, once it includes the news: that is told first. None when the core has ended.
pub(super) async fn fresh(
    metrics: &mut WatchReceiverOf<Types, RaftMetrics<Types>>,
    news: &WatchReceiverOf<Types, RaftServerMetrics<Types>>,
) -> Option<RaftMetrics<Types>> {
    loop {
        let (now, told) = (metrics.borrow_watched().clone(), news.borrow_watched().clone());
        let includes = now.running_state.is_err()
            || (now.vote == told.vote
                && now.state == told.state
                && now.current_leader == told.current_leader
                && now.membership_config == told.membership_config
                && now.committed_membership_config == told.committed_membership_config);
        if includes {
            return Some(now);
        }
        metrics.changed().await.ok()?;
    }
}

/// Whether nobody is there to be told that this member leads, or to lose a leadership to. Raft's clock, which ticks a
/// hundred times a second, changes nothing then.
fn alone(state: ServerState, membership: &Membership) -> bool {
    state == ServerState::Leader && membership.nodes().count() == 1
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use proto::peer::Node;

    #[test]
    fn the_clock_rests_only_while_a_leader_is_alone() {
        let membership = |voters: &[u64], all: &[u64]| {
            let nodes: BTreeMap<u64, Node> = all.iter().map(|id| (*id, Node::default())).collect();
            Membership::new(vec![voters.iter().copied().collect::<BTreeSet<u64>>()], nodes).expect("valid")
        };
        let (one, learner, two) = (membership(&[1], &[1]), membership(&[1], &[1, 2]), membership(&[1, 2], &[1, 2]));
        assert!(alone(ServerState::Leader, &one));
        for state in [ServerState::Follower, ServerState::Candidate, ServerState::Learner] {
            assert!(!alone(state, &one), "it must stand for election");
        }
        assert!(!alone(ServerState::Leader, &learner) && !alone(ServerState::Leader, &two));
    }
}
