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
    let (metrics, news) = (raft.metrics(), raft.server_metrics());
    let mut ticking = true;
    let ticks = |needed| {
        if std::mem::replace(&mut ticking, needed) != needed {
            raft.runtime_config().tick(needed);
        }
    };
    tokio::select! {
        () = tell(metrics, news, base, ticks, &told) => {}
        () = cancel.cancelled() => {}
    }
    told.send_replace(Leadership::default());
}

/// Tells of each leadership until the core has ended, and whether its clock is needed.
///
/// The core tells the news before it says of itself what it is, so the news are what is told: whoever looks at the other
/// when news come may find the last leader, and nothing wakes it again.
async fn tell(
    mut metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    mut news: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
    base: impl Fn() -> Epoch,
    mut ticks: impl FnMut(bool),
    told: &watch::Sender<Leadership>,
) {
    loop {
        let now = news.borrow_watched().clone();
        ticks(!alone(now.state, now.membership_config.membership()));
        // The vote is the one on the disk: a leader counts once that is for it, and so is the term.
        let elected = now.vote.leader_id;
        let leader = now.current_leader.filter(|id| now.vote.committed && elected.voted_for == *id);
        let leads = leader.is_some() && now.state == ServerState::Leader;
        // The first entry of a leadership is its own: once applied, everything of earlier ones is applied too.
        let own = metrics.borrow_watched().last_applied.is_some_and(|id| id.leader_id.term == elected.term);
        let leadership = Leadership {
            epoch: if leader.is_some() { base() + elected.term } else { 0 },
            leader,
            acting: leads && own,
        };
        told.send_if_modified(|held| std::mem::replace(held, leadership.clone()) != leadership);
        // One that leads waits for its own first entry; otherwise entries change nothing here.
        tokio::select! {
            changed = metrics.changed(), if leads && !own => if changed.is_err() { return },
            changed = news.changed() => if changed.is_err() { return },
        }
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

    use openraft::async_runtime::WatchSender;
    use openraft::type_config::TypeConfigExt;
    use openraft::type_config::alias::LeaderIdOf;
    use proto::peer::Node;

    use super::*;
    use crate::raft::types::Vote;

    #[tokio::test]
    async fn the_leader_in_the_news_is_told_of_though_the_core_says_it_of_itself_later() {
        let news = |term, leader, state, current| RaftServerMetrics::<Types> {
            id: 1,
            vote: Vote { leader_id: LeaderIdOf::<Types> { term, voted_for: leader }, committed: true },
            state,
            current_leader: Some(current),
            membership_config: Default::default(),
            committed_membership_config: Default::default(),
        };
        let follows = |term, leader, current| news(term, leader, ServerState::Follower, current);
        let (core, metrics) = Types::watch_channel(RaftMetrics::<Types>::new_initial(1));
        let (tells, heard) = Types::watch_channel(follows(1, 2, 2));
        let (told, mut known) = watch::channel(Leadership::default());
        let telling = async {
            tell(metrics, heard, || 100, |_| {}, &told).await;
        };
        let core_goes_on = async {
            let mut is = async |leader, epoch, acting| {
                let wanted = Leadership { epoch, leader, acting };
                known.wait_for(|held| *held == wanted).await.map(drop).expect("told");
            };
            is(Some(2), 101, false).await;
            tells.send(follows(2, 3, 3)).expect("heard");
            is(Some(3), 102, false).await;
            // Another one, in a term that is not on the disk yet.
            tells.send(follows(2, 3, 2)).expect("heard");
            is(None, 0, false).await;
            tells.send(news(3, 1, ServerState::Leader, 1)).expect("heard");
            is(Some(1), 103, false).await;
            let own = crate::raft::wire::parse_log_id(&proto::peer::LogId { term: 3, index: 7 });
            core.send(RaftMetrics { last_applied: Some(own), ..RaftMetrics::new_initial(1) }).expect("heard");
            is(Some(1), 103, true).await;
            drop((core, tells));
        };
        let both = async { tokio::join!(telling, core_goes_on) };
        tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("all of it is told");
    }

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
