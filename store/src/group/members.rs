//! Who belongs to the group: joining, promotion, removal, and handing leadership over.

use std::collections::{BTreeMap, BTreeSet};

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics, ServerState};
use proto::peer::{self, change_request::Change};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::api::{Member, MemberId};
use crate::group::{Group, Leader, failure, parse_failure};
use crate::raft::types::Types;

/// A learner that lacks at most so many entries is promoted.
const CAUGHT_UP: u64 = 100;

/// A voter that lacks more entries is not in reach.
const REACH: u64 = 5000;

impl Group {
    /// The group as this member knows it; the owner's words are left to the caller.
    pub(crate) fn members(&self) -> Vec<Member> {
        let now = self.raft.metrics().borrow_watched().clone();
        let voters: BTreeSet<MemberId> = now.membership_config.voter_ids().collect();
        let describe = |(id, node): (&MemberId, &peer::Node)| Member {
            id: *id,
            name: node.name.clone(),
            peer_address: node.peer_address.clone(),
            client_address: node.client_address.clone(),
            voter: voters.contains(id),
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
                let held = self.raft.metrics().borrow_watched().membership_config.get_node(&id).cloned();
                if held.as_ref() == Some(&node) {
                    return Ok(());
                }
                self.raft.add_learner(id, node, false).await.map(|_| ()).map_err(changed)
            }
            Leader::Other(leader, at) => {
                let request = peer::JoinRequest { id, node: Some(node) };
                let answer = self.client(leader, &at)?.join(request).await.map_err(|_| Error::NoLeader)?.into_inner();
                answer.failure.as_ref().map_or(Ok(()), |failure| Err(parse_failure(failure)))
            }
        }
    }

    /// Removes a member, or hands leadership over.
    ///
    /// # Errors
    /// When the group refuses; the text says why.
    pub(crate) async fn change(&self, change: Change) -> Result<(), Error> {
        match self.leader().await? {
            Leader::Me => {
                let until = tokio::time::Instant::now() + self.patience;
                loop {
                    let done = match change {
                        Change::Remove(id) => self.remove(id).await,
                        Change::TransferTo(id) => self.transfer(id).await,
                    };
                    // A new leader refuses for a moment; nothing was proposed then.
                    match done {
                        Err(Error::NoLeader) => {
                            let news = tokio::time::timeout_at(until, self.leader_moves()).await;
                            news.unwrap_or(Err(Error::NoLeader))?;
                        }
                        done => return done,
                    }
                }
            }
            Leader::Other(leader, at) => {
                let request = peer::ChangeRequest { change: Some(change) };
                let answer = self.client(leader, &at)?.change(request).await.map_err(|_| Error::NoLeader)?.into_inner();
                answer.failure.as_ref().map_or(Ok(()), |failure| Err(parse_failure(failure)))
            }
        }
    }

    async fn remove(&self, id: MemberId) -> Result<(), Error> {
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
            self.raft
                .change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false)
                .await
                .map_err(changed)?;
        }
        let still = self.raft.metrics().borrow_watched().membership_config.get_node(&id).is_some();
        if still && id != self.id {
            self.raft
                .change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false)
                .await
                .map_err(changed)?;
        }
        Ok(())
    }

    /// Waits until enough other voters have answered: a new leader has not heard from them yet.
    async fn quorum_without(&self, id: MemberId) -> Result<(), Error> {
        let mut metrics = self.raft.metrics();
        let until = tokio::time::Instant::now() + self.patience;
        loop {
            let (reached, left) = reach_without(&metrics.borrow_watched().clone(), id);
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

    async fn transfer(&self, to: MemberId) -> Result<(), Error> {
        if to == self.id {
            return Ok(());
        }
        let now = self.raft.metrics().borrow_watched().clone();
        let voter = now.membership_config.voter_ids().any(|id| id == to);
        // Openraft has no way back from a transfer to a member that cannot take over: it would stop all writes.
        if !voter || lag(&now, to).is_none_or(|lag| lag > CAUGHT_UP) {
            return Err(Error::Invalid(format!("member {to:016x} is not a voter that has caught up")));
        }
        self.raft.trigger().transfer_leader(to).await.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
        let wait = self.raft.wait(Some(self.patience));
        wait.current_leader(to, "leadership transfer").await.map(|_| ()).map_err(|_| Error::Unknown)
    }
}

/// How many of the voters that stay are in reach, and how many stay.
fn reach_without(now: &RaftMetrics<Types>, id: MemberId) -> (usize, usize) {
    let staying: Vec<MemberId> = now.membership_config.voter_ids().filter(|voter| *voter != id).collect();
    let reached = staying.iter().filter(|voter| lag(now, **voter).is_some_and(|lag| lag < REACH)).count();
    (reached, staying.len())
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

fn duty(now: &RaftMetrics<Types>) -> Option<Duty> {
    if now.state != ServerState::Leader {
        return None;
    }
    if let [_, .., last] = now.membership_config.get_joint_config().as_slice() {
        return Some(Duty::Finish(last.clone()));
    }
    let voters: BTreeSet<MemberId> = now.membership_config.voter_ids().collect();
    let ready =
        |(id, _): &(&MemberId, &peer::Node)| !voters.contains(id) && lag(now, **id).is_some_and(|lag| lag <= CAUGHT_UP);
    now.membership_config.nodes().find(ready).map(|(id, _)| Duty::Promote(*id))
}

/// While this member leads: finishes changes of the membership and promotes learners, until told to end.
pub(crate) async fn tend(group: &Group, cancel: CancellationToken) {
    let mut metrics = group.raft.metrics();
    loop {
        let now = metrics.borrow_watched().clone();
        if let Some(duty) = duty(&now) {
            let _changing = group.changing.lock().await;
            let done = match &duty {
                Duty::Finish(voters) => group.raft.change_membership(voters.clone(), true).await,
                Duty::Promote(id) => {
                    let node = now.membership_config.get_node(id).cloned().unwrap_or_default();
                    group.raft.change_membership(ChangeMembers::AddVoters(BTreeMap::from([(*id, node)])), true).await
                }
            };
            match done {
                Ok(_) => tracing::info!(?duty, "membership changed"),
                Err(error) => tracing::warn!(?duty, %error, "membership not changed yet"),
            }
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            () = cancel.cancelled() => return,
        }
    }
}

/// Failure of a call as an answer.
pub(crate) fn told(result: Result<(), Error>) -> Option<peer::Failure> {
    result.err().as_ref().map(failure)
}
