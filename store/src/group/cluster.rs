//! Changes of the group as etcd's Cluster service asks for them, and what members say of themselves.
//!
//! A voter that is announced (`MemberAdd`) is taken in as a learner, and the leader promotes it by itself once it has
//! started and caught up. In etcd it counts for the quorum from the start: a group of one stops until the second one comes.
//! What clients see is the same: such a member is listed as one that votes, and the same requests are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use proto::peer::{self, change_request::Change};

use crate::Error;
use crate::api::MemberId;
use crate::config::parse_all;
use crate::group::members::{ASK_AGAIN, answers, removed, votes};
use crate::group::propose::refused;
use crate::group::strict::{self, NOT_FOUND, Seat, UNHEALTHY};
use crate::group::{Group, Leader, parse_failure};
use crate::store::announced_id;

/// What a change came to.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// The group afterwards, as its leader knows it.
    pub(crate) seats: Vec<peer::Seat>,
    /// Of a member that was added.
    pub(crate) added: MemberId,
}

impl Group {
    /// Whom the group holds, for one that starts: as the leader knows it, where there is one.
    pub(crate) async fn nodes(&self) -> BTreeMap<MemberId, peer::Node> {
        if self.is_led() {
            // What this member knows is better than no answer.
            let _ = tokio::time::timeout(self.silence(), self.barrier()).await;
        }
        let now = self.raft.metrics().borrow_watched().clone();
        now.membership_config.nodes().map(|(id, node)| (*id, node.clone())).collect()
    }

    /// Whether this member only learns until it is promoted on request.
    pub(crate) fn learns(&self) -> bool {
        self.learns.load(Ordering::Relaxed)
    }

    /// Keeps up with what the membership says of this member and of the URLs of all, which may change while they run.
    pub(crate) async fn follow_membership(&self) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let membership = metrics.borrow_watched().membership_config.clone();
            let votes = membership.voter_ids().any(|voter| voter == self.id);
            let learner = membership.get_node(&self.id).is_some_and(|node| node.learner);
            self.learns.store(learner && !votes, Ordering::Relaxed);
            self.peers.place(membership.nodes().map(|(id, node)| (*id, node.peer_urls.clone())));
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes the membership, or hands leadership over.
    ///
    /// # Errors
    /// When the group refuses; the text says why.
    pub(crate) async fn change(&self, change: Change) -> Result<Changed, Error> {
        let until = tokio::time::Instant::now() + self.patience;
        let leaving = leaving(&change);
        let mut unanswered = false;
        loop {
            let done = match self.leader().await? {
                Leader::Me if self.leaves(&change) && self.hand_over().await.is_some() => continue,
                Leader::Me => self.change_here(&change).await,
                Leader::Other(leader, at) => self.change_there(leader, &at, change.clone()).await,
            };
            let late = tokio::time::Instant::now() >= until;
            match done {
                // A new leader refuses for a moment; nothing was proposed then.
                Err(Error::NoLeader) if !late => self.leader_moves().await?,
                // A leader that is removed takes the answer along when it goes: what it did can be asked for again.
                Err(Error::Unknown) if !late && leaving.is_some() => {
                    unanswered = true;
                    self.leader_moves().await?;
                }
                Err(Error::Invalid(_)) if unanswered && self.lacks(leaving).await => {
                    return Ok(Changed { seats: self.seats(), added: 0 });
                }
                done => return done,
            }
        }
    }

    /// Whether the group is known not to hold a member any more.
    async fn lacks(&self, member: Option<MemberId>) -> bool {
        let held = |id| self.raft.metrics().borrow_watched().membership_config.get_node(&id).is_some();
        self.barrier().await.is_ok() && member.is_some_and(|id| !held(id))
    }

    async fn change_there(&self, leader: MemberId, at: &peer::Node, change: Change) -> Result<Changed, Error> {
        let request = peer::ChangeRequest { change: Some(change) };
        let mut client = self.client(leader, at)?;
        let answer = self.while_leading(leader, client.change(request)).await.ok_or(Error::Unknown)?;
        let answer = answer.map_err(|status| if refused(&status) { Error::NoLeader } else { Error::Unknown })?;
        let answer = answer.into_inner();
        match answer.failure.as_ref().map(parse_failure) {
            Some(failure) => Err(failure),
            None => Ok(Changed { seats: answer.seats, added: answer.added }),
        }
    }

    /// Whether a change removes this member. As a leader it hands over first: nobody waits for an election then.
    fn leaves(&self, change: &Change) -> bool {
        match change {
            Change::Remove(id) => *id == self.id,
            Change::Expel(id) => *id == self.id && strict::may_remove(&self.seen(), self.id, *id).is_ok(),
            _ => false,
        }
    }

    async fn change_here(&self, change: &Change) -> Result<Changed, Error> {
        let mut added = 0;
        match change {
            Change::Remove(id) => self.remove(*id).await,
            Change::TransferTo(id) => self.transfer(*id).await,
            Change::Publish(of) => self.publish(of).await,
            Change::Add(addition) => {
                added = self.add(addition).await?;
                Ok(())
            }
            Change::Update(of) => self.update(of).await,
            Change::Promote(id) => self.promote(*id).await,
            Change::Expel(id) => self.expel(*id).await,
        }?;
        Ok(Changed { seats: self.seats(), added })
    }

    pub(crate) fn seats(&self) -> Vec<peer::Seat> {
        let now = self.raft.metrics().borrow_watched().clone();
        let seat = |(id, node): (&MemberId, &peer::Node)| peer::Seat {
            id: *id,
            node: Some(node.clone()),
            voter: votes(&now, *id),
        };
        now.membership_config.nodes().map(seat).collect()
    }

    /// The last entry that a member is known to have on its disk, where this one leads.
    pub(crate) fn held_by(&self, member: MemberId) -> Option<crate::raft::types::LogId> {
        *self.raft.metrics().borrow_watched().replication.as_ref()?.get(&member)?
    }

    /// What etcd's checks go by, on the leader.
    fn seen(&self) -> Vec<Seat> {
        let now = self.raft.metrics().borrow_watched().clone();
        let matched = |id: &MemberId| now.replication.as_ref()?.get(id)?.as_ref().map(|held| held.index);
        let voters: BTreeSet<MemberId> = now.membership_config.voter_ids().collect();
        let seat = |(id, node): (&MemberId, &peer::Node)| Seat {
            id: *id,
            started: !node.name.is_empty(),
            learner: node.learner && !voters.contains(id),
            peer_urls: node.peer_urls.clone(),
            answers: answers(&now, *id, self.silence()),
            matched: if *id == self.id { now.last_log_index.unwrap_or(0) } else { matched(id).unwrap_or(0) },
        };
        now.membership_config.nodes().map(seat).collect()
    }

    async fn add(&self, addition: &peer::Addition) -> Result<MemberId, Error> {
        let _changing = self.changing.lock().await;
        let mut node = addition.node.clone().unwrap_or_default();
        let urls = parse_all(&node.peer_urls).map_err(|_| invalid(strict::BAD_URLS))?;
        node.peer_urls = urls.iter().map(ToString::to_string).collect();
        let now = crate::edge::since_epoch();
        let id = announced_id(&urls, now.as_nanos());
        let most = usize::try_from(addition.learners_max).unwrap_or(usize::MAX);
        strict::may_add(&self.seen(), self.id, id, &node, most).map_err(invalid)?;
        self.change_to(ChangeMembers::AddNodes(BTreeMap::from([(id, node)])), true).await?;
        Ok(id)
    }

    async fn update(&self, of: &peer::NodeOf) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let said = of.node.clone().unwrap_or_default();
        let now = self.raft.metrics().borrow_watched().clone();
        let held = now.membership_config.get_node(&of.id).ok_or_else(|| invalid(NOT_FOUND))?;
        let urls = parse_all(&said.peer_urls).map_err(|_| invalid(strict::BAD_URLS))?;
        let peer_urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
        strict::may_move(&self.seen(), of.id, &peer_urls).map_err(invalid)?;
        let node = peer::Node { peer_urls, ..held.clone() };
        if node == *held {
            return Ok(());
        }
        // Safe although the log's members keep their ids: whoever answers there says who it is, and is refused otherwise.
        self.change_to(ChangeMembers::SetNodes(BTreeMap::from([(of.id, node)])), true).await
    }

    async fn promote(&self, id: MemberId) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        strict::may_promote(&self.seen(), self.id, id).map_err(invalid)?;
        let now = self.raft.metrics().borrow_watched().clone();
        let node = now.membership_config.get_node(&id).cloned().unwrap_or_default();
        let node = peer::Node { learner: false, ..node };
        let steps = vec![
            ChangeMembers::SetNodes(BTreeMap::from([(id, node)])),
            ChangeMembers::AddVoterIds(BTreeSet::from([id])),
        ];
        self.change_to(ChangeMembers::Batch(steps), true).await
    }

    async fn expel(&self, id: MemberId) -> Result<(), Error> {
        strict::may_remove(&self.seen(), self.id, id).map_err(invalid)?;
        // Its own check waits for fresh answers, and says in its own words that the rest would have no quorum.
        self.remove(id).await.map_err(|error| if let Error::Invalid(_) = error { invalid(UNHEALTHY) } else { error })
    }

    /// Notes what a member that has started says of itself.
    async fn publish(&self, of: &peer::NodeOf) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let now = self.raft.metrics().borrow_watched().clone();
        let (Some(held), Some(said)) = (now.membership_config.get_node(&of.id), &of.node) else {
            return Err(Error::Invalid(removed(of.id)));
        };
        let (name, client_urls) = (said.name.clone(), said.client_urls.clone());
        let node = peer::Node { name, client_urls, ..held.clone() };
        if node == *held {
            return Ok(());
        }
        self.change_to(ChangeMembers::SetNodes(BTreeMap::from([(of.id, node)])), true).await
    }

    /// Says to the group what this member is called and where clients reach it, until the group knows.
    pub(crate) async fn introduce(&self, said: peer::Node) {
        let mut again = tokio::time::interval(ASK_AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            let held = self.raft.metrics().borrow_watched().membership_config.get_node(&self.id).cloned();
            if held.is_some_and(|held| held.name == said.name && held.client_urls == said.client_urls) {
                return;
            }
            let of = peer::NodeOf { id: self.id, node: Some(said.clone()) };
            if let Err(error) = self.change(Change::Publish(of)).await {
                tracing::debug!(%error, "the group does not know this member's name and client URLs yet");
            }
        }
    }
}

/// Whom a change removes.
fn leaving(change: &Change) -> Option<MemberId> {
    match change {
        Change::Remove(id) | Change::Expel(id) => Some(*id),
        _ => None,
    }
}

fn invalid(text: &str) -> Error {
    Error::Invalid(text.to_owned())
}
