//! Who belongs to the group: joining, promotion, removal, and handing leadership over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::type_config::alias::InstantOf;
use openraft::{ChangeMembers, Instant as _, RaftMetrics, ServerState};
use proto::peer;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::api::{Member, MemberId};
use crate::group::{Group, Leader, failure, parse_failure};
use crate::raft::types::{StoredMembership, Types};

/// A learner that lacks at most so many entries is promoted.
const CAUGHT_UP: u64 = 100;

/// A voter that lacks more entries is not in reach.
const REACH: u64 = 5000;

/// Between two questions of a member that nobody leads.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);

impl Group {
    /// The group as this member knows it; the owner's words are left to the caller.
    pub(crate) fn members(&self) -> Vec<Member> {
        let now = self.raft.metrics().borrow_watched().clone();
        let describe = |(id, node): (&MemberId, &peer::Node)| Member {
            id: *id,
            name: node.name.clone(),
            peer_urls: node.peer_urls.clone(),
            client_urls: node.client_urls.clone(),
            voter: votes(&now, *id),
            learner: node.learner,
            lag: lag(&now, *id),
            context: bytes::Bytes::new(),
        };
        now.membership_config.nodes().map(describe).collect()
    }

    /// Adds a member as a learner; it is promoted when it has caught up. Asking again changes nothing.
    ///
    /// # Errors
    /// When no leader takes it in.
    pub(crate) async fn join(&self, id: MemberId, node: peer::Node) -> Result<(), Error> {
        match self.leader().await? {
            Leader::Me => {
                let _changing = self.changing.lock().await;
                let held = self.raft.metrics().borrow_watched().membership_config.clone();
                if held.get_node(&id) == Some(&node) {
                    return Ok(());
                }
                if held.nodes().any(|(other, held)| *other != id && held.name == node.name) {
                    return Err(Error::Invalid(format!(
                        "a server called {:?} belongs to the cluster already; choose another --name",
                        node.name
                    )));
                }
                self.raft.add_learner(id, node, false).await.map(|_| ()).map_err(changed)
            }
            Leader::Other(leader, at) => {
                self.ask(leader, &at, peer::JoinRequest { id, node: Some(node), returning: false }).await
            }
        }
    }

    async fn ask(&self, leader: MemberId, at: &peer::Node, request: peer::JoinRequest) -> Result<(), Error> {
        let answer = self.client(leader, at)?.join(request).await.map_err(|_| Error::NoLeader)?.into_inner();
        answer.failure.as_ref().map_or(Ok(()), |failure| Err(parse_failure(failure)))
    }

    /// Whether a member that has belonged to the group still does, as its leader knows for sure.
    ///
    /// # Errors
    /// `Invalid` when it does not, others when nobody knows.
    pub(crate) async fn belongs(&self, id: MemberId) -> Result<(), Error> {
        match self.leader().await? {
            Leader::Me => {
                // One that was deposed does not know whom its successor took in.
                self.read_index().await?;
                let now = self.raft.metrics().borrow_watched().clone();
                let known = [&now.membership_config, &now.committed_membership_config];
                if known.iter().any(|held| held.get_node(&id).is_some()) {
                    return Ok(());
                }
                Err(Error::Invalid(removed(id)))
            }
            Leader::Other(leader, at) => {
                self.ask(leader, &at, peer::JoinRequest { id, node: None, returning: true }).await
            }
        }
    }

    /// Openraft names the last leader until there is another one, so it is no answer.
    pub(super) fn is_led(&self) -> bool {
        let leads = self.raft.metrics().borrow_watched().state == ServerState::Leader;
        leads || self.heard.borrow().is_some_and(|at| at.elapsed() < self.silence())
    }

    /// Notes that a leader was heard from and is followed.
    pub(crate) fn hear(&self) {
        self.heard.send_replace(Some(Instant::now()));
    }

    /// Asks the others whether this member still belongs to the group; answers why it does not.
    async fn ask_whether_removed(&self) -> Option<String> {
        let now = self.raft.metrics().borrow_watched().clone();
        // Only one that has belonged to a group can have been removed from it.
        self.peers.cluster.get()?;
        for (id, node) in now.membership_config.nodes().filter(|(id, _)| **id != self.id) {
            let Ok(mut client) = self.client(*id, node) else { continue };
            let request = peer::JoinRequest { id: self.id, node: None, returning: true };
            let answer = tokio::time::timeout(self.patience, client.join(request)).await;
            let Ok(Ok(answer)) = answer else { continue };
            match answer.into_inner().failure.as_ref().map(parse_failure) {
                None => return None,
                Some(Error::Invalid(why)) => return Some(why),
                Some(_) => {}
            }
        }
        None
    }

    /// Waits until this member has been removed from the group; answers the words about it.
    ///
    /// Nobody tells a removed member: it notices that nobody leads it, or that the membership lacks it, and asks.
    pub(crate) async fn until_removed(&self) -> String {
        let mut again = tokio::time::interval(ASK_AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            let belongs = self.raft.metrics().borrow_watched().membership_config.get_node(&self.id).is_some();
            if !(belongs && self.is_led())
                && let Some(why) = self.ask_whether_removed().await
            {
                return why;
            }
        }
    }

    pub(super) async fn remove(&self, id: MemberId) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let now = self.raft.metrics().borrow_watched().clone();
        if now.membership_config.get_node(&id).is_none() {
            return Err(Error::Invalid(format!("member {id:016x} does not belong to this cluster")));
        }
        let voters: BTreeSet<MemberId> = now.membership_config.voter_ids().collect();
        if voters == BTreeSet::from([id]) {
            return Err(Error::Invalid("the last voter cannot be removed".to_owned()));
        }
        if voters.contains(&id) {
            self.quorum_without(id).await?;
            self.change_to(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await?;
        }
        let still = self.raft.metrics().borrow_watched().membership_config.get_node(&id).is_some();
        if still && id != self.id {
            self.change_to(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false).await?;
        }
        Ok(())
    }

    /// One change of the membership. What takes too long, since voters died in the middle, is left to `tend`.
    pub(super) async fn change_to(
        &self,
        to: impl Into<ChangeMembers<MemberId, peer::Node>>,
        retain: bool,
    ) -> Result<(), Error> {
        // One at a time: openraft refuses the next, and says so to the operator, until the last is committed.
        let committed = |now: &RaftMetrics<Types>| now.membership_config == now.committed_membership_config;
        let last = self.raft.wait(Some(self.patience)).metrics(committed, "the last change of the membership").await;
        last.map_err(|_| Error::NoLeader)?;
        let done = tokio::time::timeout(self.patience, self.raft.change_membership(to, retain)).await;
        let index = done.map_err(|_| Error::Unknown)?.map_err(changed)?.log_id.index;
        // Whoever looks next sees it: openraft panics when a leader that removed itself is asked for a further change.
        let wait = self.raft.wait(Some(self.patience));
        let seen = wait.applied_index_at_least(Some(index), "a change of the membership").await;
        seen.map(|_| ()).map_err(|_| Error::Unknown)
    }

    /// Waits until enough other voters have answered from now on: those that did before may have died since.
    async fn quorum_without(&self, id: MemberId) -> Result<(), Error> {
        let (mut metrics, asked) = (self.raft.metrics(), InstantOf::<Types>::now());
        let until = tokio::time::Instant::now() + self.patience;
        loop {
            let (reached, left) = reach_without(&metrics.borrow_watched().clone(), id, asked);
            if reached > left / 2 {
                return Ok(());
            }
            if !matches!(tokio::time::timeout_at(until, metrics.changed()).await, Ok(Ok(()))) {
                let text =
                    format!("without it only {reached} of {left} voters would be in reach: the cluster would stop");
                return Err(Error::Invalid(text));
            }
        }
    }

    /// While this member leads: lets another voter that can lead instead; answers which, if any did.
    pub(crate) async fn hand_over(&self) -> Option<MemberId> {
        for to in self.heirs() {
            match self.transfer(to).await {
                Ok(()) => return Some(to),
                Err(error) => tracing::debug!(to, %error, "it does not take over"),
            }
        }
        None
    }

    /// While this member leads: the voters that could lead instead.
    fn heirs(&self) -> Vec<MemberId> {
        let now = self.raft.metrics().borrow_watched().clone();
        let could = |id: &MemberId| *id != self.id && could_lead(&now, *id, self.silence());
        if now.state == ServerState::Leader {
            now.membership_config.voter_ids().filter(could).collect()
        } else {
            vec![]
        }
    }

    pub(super) async fn transfer(&self, to: MemberId) -> Result<(), Error> {
        if to == self.id {
            return Ok(());
        }
        let now = self.raft.metrics().borrow_watched().clone();
        // Openraft has no way back from a transfer to a member that cannot take over: it would stop all writes.
        if !could_lead(&now, to, self.silence()) {
            return Err(Error::Invalid(format!(
                "member {to:016x} does not take over: it is no voter that answers and has caught up"
            )));
        }
        if let Some(node) = now.membership_config.get_node(&to) {
            // A fresh answer: it may have died since the last one.
            let asked = self.client(to, node)?.room(peer::RoomRequest {}).await;
            let room = asked.map_err(|status| {
                Error::Invalid(format!("server {:?} does not take over, it does not answer: {status}", node.name))
            })?;
            let room = room.into_inner();
            if room.unfit {
                let text = format!("server {:?} does not take over, its state or its disk is not sound", node.name);
                return Err(Error::Invalid(text));
            }
            if room.full {
                return Err(Error::Invalid(format!("server {:?} does not take over, its disk is full", node.name)));
            }
        }
        self.raft.trigger().transfer_leader(to).await.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
        let wait = self.raft.wait(Some(self.patience));
        wait.current_leader(to, "leadership transfer").await.map(|_| ()).map_err(|_| Error::Unknown)
    }
}

/// Whether a member counts as a voter. While the voters change, a new one does not: until the change is committed, the
/// old ones decide as well, and the group stops without them.
pub(super) fn votes(now: &RaftMetrics<Types>, id: MemberId) -> bool {
    let known = [&now.membership_config, &now.committed_membership_config];
    known.iter().all(|held| held.get_joint_config().iter().all(|voters| voters.contains(&id)))
}

/// How many of the voters that stay are in reach, and how many stay.
fn reach_without(now: &RaftMetrics<Types>, id: MemberId, since: InstantOf<Types>) -> (usize, usize) {
    let staying: Vec<MemberId> = now.membership_config.voter_ids().filter(|voter| *voter != id).collect();
    let near = |voter: &&MemberId| answered(now, **voter, since) && lag(now, **voter).is_some_and(|lag| lag < REACH);
    (staying.iter().filter(near).count(), staying.len())
}

/// Whether the leader has heard from a member since then. Its lag alone says nothing: that of a dead one stays as it is
/// while nothing is written.
fn answered(now: &RaftMetrics<Types>, id: MemberId, since: InstantOf<Types>) -> bool {
    let heard = || now.heartbeat.as_ref()?.get(&id)?.as_ref().map(|at| **at);
    id == now.id || heard().is_some_and(|at| at >= since)
}

pub(super) fn answers(now: &RaftMetrics<Types>, id: MemberId, silence: Duration) -> bool {
    answered(now, id, InstantOf::<Types>::now() - silence)
}

fn could_lead(now: &RaftMetrics<Types>, id: MemberId, silence: Duration) -> bool {
    let voter = now.membership_config.voter_ids().any(|voter| voter == id);
    voter && answers(now, id, silence) && lag(now, id).is_some_and(|lag| lag <= CAUGHT_UP)
}

/// What a removed member is told.
pub(super) fn removed(id: MemberId) -> String {
    format!(
        "this server (member {id:016x}) was removed from the cluster: its data directory can never vote again; \
         join with an empty one, `raftsman join TOKEN`"
    )
}

fn lag(now: &RaftMetrics<Types>, id: MemberId) -> Option<u64> {
    let last = now.last_log_index.unwrap_or(0);
    if id == now.id {
        return Some(0);
    }
    let matched = now.replication.as_ref()?.get(&id)?.as_ref()?.index;
    Some(last.saturating_sub(matched))
}

fn changed(error: RaftError<Types, ClientWriteError<Types>>) -> Error {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Error::NoLeader,
        // Left half done by a leader before; `tend` finishes it.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_))) => {
            Error::NoLeader
        }
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Error::Unknown,
        RaftError::APIError(error) => Error::Invalid(error.to_string()),
        RaftError::Fatal(fatal) => Error::Stopped(fatal.to_string()),
    }
}

/// What a leader has to do about its group now.
#[derive(Debug, PartialEq, Eq)]
enum Duty {
    /// A leader before this one left the change half done.
    Finish(BTreeSet<MemberId>),
    /// A learner has caught up.
    Promote(MemberId),
}

fn duty(now: &RaftMetrics<Types>, silence: Duration) -> Option<Duty> {
    if now.state != ServerState::Leader {
        return None;
    }
    if let [_, .., last] = now.membership_config.get_joint_config().as_slice() {
        return Some(Duty::Finish(last.clone()));
    }
    let voters: BTreeSet<MemberId> = now.membership_config.voter_ids().collect();
    if !voters.contains(&now.id) {
        return None;
    }
    // One that died after it had caught up must not become a vote that is missing.
    let ready = |(id, node): &(&MemberId, &peer::Node)| {
        !voters.contains(id)
            && !node.learner
            && answers(now, **id, silence)
            && lag(now, **id).is_some_and(|lag| lag <= CAUGHT_UP)
    };
    now.membership_config.nodes().find(ready).map(|(id, _)| Duty::Promote(*id))
}

/// While this member leads: finishes changes of the membership and promotes learners, until told to end.
pub(crate) async fn tend(group: &Group, cancel: CancellationToken) {
    let (mut metrics, mut news) = (group.raft.metrics(), group.raft.server_metrics());
    loop {
        let told = news.borrow_watched().clone();
        // What is to be done shows in how far others are, which the core says of itself later than the news: until nobody
        // is on the way, each change of that is looked at.
        let looks = told.state == ServerState::Leader && !at_rest(&told.membership_config);
        let due = || duty(&metrics.borrow_watched().clone(), group.silence());
        if looks && due().is_some() {
            let _changing = group.changing.lock().await;
            // Another change may have come before this one.
            let now = metrics.borrow_watched().clone();
            let Some(duty) = duty(&now, group.silence()) else { continue };
            let done = match &duty {
                Duty::Finish(voters) => group.change_to(voters.clone(), true).await,
                Duty::Promote(id) => {
                    let node = now.membership_config.get_node(id).cloned().unwrap_or_default();
                    group.change_to(ChangeMembers::AddVoters(BTreeMap::from([(*id, node)])), true).await
                }
            };
            match done {
                Ok(()) => tracing::info!(?duty, "membership changed"),
                Err(error) => tracing::warn!(?duty, %error, "membership not changed yet"),
            }
        }
        tokio::select! {
            changed = metrics.changed(), if looks => if changed.is_err() { return },
            changed = news.changed() => if changed.is_err() { return },
            () = cancel.cancelled() => return,
        }
    }
}

/// Whether nobody is on the way in or out: until that changes, no entry makes a duty.
fn at_rest(stored: &StoredMembership) -> bool {
    let voters: BTreeSet<MemberId> = stored.voter_ids().collect();
    stored.get_joint_config().len() == 1 && stored.nodes().all(|(id, node)| voters.contains(id) || node.learner)
}

/// Failure of a call as an answer.
pub(crate) fn told(result: Result<(), Error>) -> Option<peer::Failure> {
    result.err().as_ref().map(failure)
}

#[cfg(test)]
mod tests {
    use openraft::{Membership, StoredMembership};

    use super::*;

    const SILENCE: Duration = Duration::from_secs(1);

    /// Member 1 leads; it heard from the others so long ago, and they hold its log up to an index.
    fn led(configs: &[&[u64]], nodes: &[u64], others: &[(u64, Duration, u64)]) -> RaftMetrics<Types> {
        let configs = configs.iter().map(|voters| voters.iter().copied().collect()).collect();
        let nodes: BTreeMap<u64, peer::Node> = nodes.iter().map(|id| (*id, peer::Node::default())).collect();
        let membership = StoredMembership::new(None, Membership::new(configs, nodes).expect("it fits"));
        let heard = |ago: &Duration| Some((InstantOf::<Types>::now() - *ago).into());
        let held = |index| crate::raft::wire::parse_log_id(&peer::LogId { term: 1, index });
        RaftMetrics {
            state: ServerState::Leader,
            last_log_index: Some(1000),
            membership_config: membership.into(),
            heartbeat: Some(others.iter().map(|(id, ago, _)| (*id, heard(ago))).collect()),
            replication: Some(others.iter().map(|(id, _, index)| (*id, Some(held(*index)))).collect()),
            ..RaftMetrics::new_initial(1)
        }
    }

    #[test]
    fn a_joint_membership_is_finished_before_anything_else() {
        let now = led(&[&[1, 2, 3], &[1, 2]], &[1, 2, 3, 4], &[(4, Duration::ZERO, 1000)]);
        assert_eq!(duty(&now, SILENCE), Some(Duty::Finish(BTreeSet::from([1, 2]))));
        let follows = RaftMetrics { state: ServerState::Follower, ..now };
        assert_eq!(duty(&follows, SILENCE), None);
    }

    #[test]
    fn a_new_voter_counts_once_its_change_is_committed() {
        let committed = |now: &RaftMetrics<Types>| now.membership_config.clone();
        let (joint, whole) = (led(&[&[1, 2], &[1, 2, 3]], &[1, 2, 3], &[]), led(&[&[1, 2, 3]], &[1, 2, 3], &[]));
        let appended = RaftMetrics { committed_membership_config: committed(&joint), ..whole.clone() };
        let done = RaftMetrics { committed_membership_config: committed(&whole), ..whole };
        assert_eq!([&joint, &appended, &done].map(|now| votes(now, 3)), [false, false, true]);
        assert_eq!([&joint, &appended, &done].map(|now| votes(now, 2)), [true; 3]);
    }

    #[test]
    fn a_learner_is_promoted_when_it_has_caught_up_and_answers() {
        let learner = |ago, index| led(&[&[1, 2]], &[1, 2, 4], &[(2, Duration::ZERO, 1000), (4, ago, index)]);
        assert_eq!(duty(&learner(Duration::ZERO, 950), SILENCE), Some(Duty::Promote(4)));
        assert_eq!(duty(&learner(Duration::ZERO, 850), SILENCE), None, "it lacks too much");
        assert_eq!(duty(&learner(2 * SILENCE, 1000), SILENCE), None, "it may be dead");
        let removed = led(&[&[2, 3]], &[2, 3, 4], &[(4, Duration::ZERO, 1000)]);
        assert_eq!(duty(&removed, SILENCE), None, "a leader that was removed goes");
    }

    #[test]
    fn only_voters_that_answer_count_for_a_quorum_or_for_leading() {
        let now = led(&[&[1, 2, 3]], &[1, 2, 3], &[(2, Duration::ZERO, 1000), (3, 2 * SILENCE, 1000)]);
        let since = InstantOf::<Types>::now() - SILENCE;
        assert_eq!(reach_without(&now, 2, since), (1, 2));
        assert_eq!(reach_without(&now, 3, since), (2, 2));
        assert_eq!([2, 3, 4].map(|id| could_lead(&now, id, SILENCE)), [true, false, false]);
    }
}
