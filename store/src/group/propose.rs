//! Writes and linearizable reads: decided by the leader, asked of any member.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::raft::linearizable_read::{Linearizer, ReadLogId};
use prost::Message;
use proto::command::Outcome;
use proto::peer;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Error;
use crate::edge::drive::Defect;
use crate::group::queue::{Read, Weight, Write, groups, proposal};
use crate::group::{Group, Leader, failure, parse_failure};
use crate::raft::types::{LogId, Proposal, Types};
use crate::raft::wire;

/// Between two attempts while the leadership stays what it is.
const AGAIN: Duration = Duration::from_millis(20);
/// Bytes of outcomes in a message, about.
const PART_BYTES: usize = 4 << 20;

impl Group {
    /// Commits an encoded command wherever the leader is, and waits until this member has applied it too.
    ///
    /// # Errors
    /// `NoLeader` and `Overloaded` when nothing was proposed, `Unknown` when it may have been.
    pub(crate) async fn propose(&self, command: Bytes, weight: Weight) -> Result<Outcome, Error> {
        self.agreement.ensure()?;
        let _room = self.room(command.len())?;
        let (told, outcome) = oneshot::channel();
        self.writes.push(Write { command, weight, until: Instant::now() + self.patience, told }).await?;
        outcome.await.unwrap_or(Err(Error::Unknown))
    }

    /// Proposes what waits, group by group, until dropped.
    pub(crate) async fn propose_groups(&self) {
        loop {
            let (late, due): (Vec<_>, Vec<_>) =
                self.writes.take().await.into_iter().partition(|write| write.until <= Instant::now());
            for write in late {
                // Nobody waits any more when this fails.
                let _ = write.told.send(Err(Error::NoLeader));
            }
            join_all(groups(due).into_iter().map(|group| self.propose_group(group))).await;
        }
    }

    async fn propose_group(&self, group: Vec<Write>) {
        let proposals: Vec<peer::Proposal> = group.iter().map(proposal).collect();
        let attempts = async {
            loop {
                let answer = match self.leader().await? {
                    Leader::Me => self.commit(&proposals).await.map(|(outcomes, _)| outcomes),
                    Leader::Other(id, node) => self.propose_there(id, &node, &proposals).await,
                };
                match answer {
                    // Nothing was proposed: the leadership moved on, so ask again who leads.
                    Err(Error::NoLeader) => self.leader_moves().await?,
                    Err(Error::Unknown) if self.planted.has(Defect::WritesRepeated) => self.leader_moves().await?,
                    answer => return answer,
                }
            }
        };
        match tokio::time::timeout(self.patience, attempts).await.unwrap_or(Err(Error::Unknown)) {
            Ok(outcomes) => group.into_iter().zip(outcomes).for_each(|(write, outcome)| {
                let _ = write.told.send(Ok(outcome));
            }),
            Err(error) => group.into_iter().for_each(|write| {
                let _ = write.told.send(Err(error.clone()));
            }),
        }
    }

    /// As the leader.
    pub(crate) async fn propose_here(&self, command: Bytes) -> Result<Outcome, Error> {
        let (mut outcomes, _) = self.commit(&[peer::Proposal { command, grows: false }]).await?;
        outcomes.pop().ok_or(Error::Unknown)
    }

    /// One entry for what is not refused; outcomes in the order of the proposals, and the entry's place.
    async fn commit(&self, proposals: &[peer::Proposal]) -> Result<(Vec<Outcome>, u64), Error> {
        self.agreement.ensure_leading()?;
        let refusal = self.space.refusal();
        let refused = |proposal: &peer::Proposal| refusal.clone().filter(|_| proposal.grows);
        let taken: Vec<Bytes> = proposals
            .iter()
            .filter(|proposal| refused(proposal).is_none())
            .map(|taken| taken.command.clone())
            .collect();
        let (mut applied, index) = if taken.is_empty() { (Vec::new(), 0) } else { self.write(taken).await? };
        let mut applied = applied.drain(..);
        let outcome = |proposal| refused(proposal).or_else(|| applied.next()).ok_or(Error::Unknown);
        Ok((proposals.iter().map(outcome).collect::<Result<_, _>>()?, index))
    }

    async fn write(&self, commands: Vec<Bytes>) -> Result<(Vec<Outcome>, u64), Error> {
        let written = self.raft.client_write(Proposal(commands)).await.map_err(unwritten)?;
        Ok((written.data, written.log_id.index))
    }

    async fn propose_there(
        &self,
        id: u64,
        node: &peer::Node,
        proposals: &[peer::Proposal],
    ) -> Result<Vec<Outcome>, Error> {
        let mut client = self.client(id, node)?;
        let call = async {
            // A call that failed on its way may have arrived.
            let failed = |status| if refused(&status) { Error::NoLeader } else { Error::Unknown };
            let request = peer::ProposeRequest { proposals: proposals.to_vec() };
            let mut answers = client.propose(request).await.map_err(failed)?.into_inner();
            let (mut outcomes, mut index) = (Vec::with_capacity(proposals.len()), 0);
            while let Some(answer) = answers.message().await.map_err(failed)? {
                if let Some(failure) = answer.failure {
                    return Err(parse_failure(&failure));
                }
                let parsed = answer.outcomes.into_iter().map(Outcome::decode).collect::<Result<Vec<_>, _>>();
                outcomes.extend(parsed.map_err(|_| Error::Unknown)?);
                index = answer.index;
            }
            Ok((outcomes, index))
        };
        let (outcomes, index) = self.while_leading(id, call).await.unwrap_or(Err(Error::Unknown))?;
        if outcomes.len() != proposals.len() {
            return Err(Error::Unknown);
        }
        self.caught_up(index).await?;
        Ok(outcomes)
    }

    /// What another member forwarded; answers in parts that fit into messages.
    pub(crate) async fn forwarded(&self, request: peer::ProposeRequest) -> Vec<peer::ProposeResponse> {
        let bytes = request.proposals.iter().map(|proposal| proposal.command.len()).sum();
        let committed = match self.room(bytes) {
            Err(error) => Err(error),
            Ok(_room) => self.commit(&request.proposals).await,
        };
        match committed {
            Ok((outcomes, index)) => parts(&outcomes, index),
            Err(error) => vec![peer::ProposeResponse { failure: Some(failure(&error)), ..Default::default() }],
        }
    }

    /// Waits until local reads include everything acknowledged before the call. Never by lease: a voter that restarts
    /// forgets having promised one.
    ///
    /// # Errors
    /// When no leader confirms in time.
    pub(crate) async fn barrier(&self) -> Result<(), Error> {
        let (told, confirmed) = oneshot::channel();
        self.reads.push(Read { until: Instant::now() + self.patience, told }).await?;
        confirmed.await.unwrap_or_else(|_| Err(Error::Stopped("the store has shut down".to_owned())))
    }

    /// Confirms for what waits, group by group, until dropped.
    pub(crate) async fn confirm_groups(&self) {
        loop {
            // Only then: a confirmation holds for reads that were asked for before it.
            let reads = self.reads.take().await;
            let until = reads.iter().map(|read| read.until).max().unwrap_or_else(Instant::now);
            let confirmed = tokio::time::timeout_at(until, self.confirm()).await.unwrap_or(Err(Error::NoLeader));
            for read in reads {
                let _ = read.told.send(confirmed.clone());
            }
        }
    }

    async fn confirm(&self) -> Result<(), Error> {
        loop {
            let answer = match self.leader().await? {
                Leader::Me => self.read_index().await,
                Leader::Other(id, node) => self.read_index_there(id, &node).await,
            };
            match answer {
                Ok(_) if self.planted.has(Defect::ReadsUnawaited) => return Ok(()),
                Ok(id) => return self.reached(id).await,
                Err(Error::NoLeader) => self.leader_moves().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// As the leader: the position that a linearizable read must have seen.
    pub(crate) async fn read_index(&self) -> Result<LogId, Error> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(*linearizer.read_log_id().log_id()),
            Err(RaftError::APIError(_)) => Err(Error::NoLeader),
            Err(RaftError::Fatal(fatal)) => Err(Error::Stopped(fatal.to_string())),
        }
    }

    async fn read_index_there(&self, id: u64, node: &peer::Node) -> Result<LogId, Error> {
        let mut client = self.client(id, node)?;
        let answer = self.while_leading(id, client.read_index(peer::ReadIndexRequest {})).await;
        let answer = answer.ok_or(Error::NoLeader)?.map_err(|_| Error::NoLeader)?.into_inner();
        match (answer.log_id, answer.failure) {
            (Some(id), None) => Ok(wire::parse_log_id(&id)),
            (_, Some(failure)) => Err(parse_failure(&failure)),
            (None, None) => Err(Error::NoLeader),
        }
    }

    /// A call of a leader; None when another one is known and the call is still not answered a little later: a leader that
    /// is cut off would be waited for in vain, one that handed over has its answers on the way.
    pub(super) async fn while_leading<T>(&self, id: u64, call: impl Future<Output = T>) -> Option<T> {
        let mut metrics = self.raft.metrics();
        let superseded = async {
            while metrics.borrow_watched().current_leader.is_none_or(|leader| leader == id) {
                if metrics.changed().await.is_err() {
                    break;
                }
            }
            tokio::time::sleep(self.patience / 15).await;
        };
        tokio::select! {
            answer = call => Some(answer),
            () = superseded => None,
        }
    }

    async fn reached(&self, id: LogId) -> Result<(), Error> {
        let linearizer = Linearizer::<Types>::new(self.id, ReadLogId::from_log_id(id), None);
        let reached = linearizer.await_ready(&self.raft).await;
        reached.map(|_| ()).map_err(|fatal| Error::Stopped(fatal.to_string()))
    }

    /// Waits until this member has applied an entry.
    ///
    /// # Errors
    /// `Unknown` when it does not in time.
    pub(crate) async fn caught_up(&self, index: u64) -> Result<(), Error> {
        let wait = self.raft.wait(Some(self.patience));
        wait.applied_index_at_least(Some(index), "an entry").await.map(|_| ()).map_err(|_| Error::Unknown)
    }

    /// Waits until the leadership is another one, or for a moment: it may have been the news that came before.
    pub(super) async fn leader_moves(&self) -> Result<(), Error> {
        let mut metrics = self.raft.server_metrics();
        let leadership = |now: &RaftServerMetrics<Types>| (now.vote, now.state, now.current_leader);
        let before = leadership(&metrics.borrow_watched());
        let moved = async {
            while leadership(&metrics.borrow_watched()) == before {
                metrics.changed().await.map_err(|_| Error::Stopped("the store has shut down".to_owned()))?;
            }
            Ok(())
        };
        tokio::time::timeout(AGAIN, moved).await.unwrap_or(Ok(()))
    }
}

/// PURE: what became of an entry that was not written. Only one that surely was not proposed may be proposed again.
fn unwritten(error: RaftError<Types, ClientWriteError<Types>>) -> Error {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(ForwardToLeader { .. })) => Error::NoLeader,
        // A core that fails, for want of its disk for instance, may have sent the entry to the others before.
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) | RaftError::Fatal(_) => Error::Unknown,
        RaftError::APIError(error) => Error::Invalid(error.to_string()),
    }
}

/// PURE: outcomes as messages that are small enough, whatever each of them holds.
fn parts(outcomes: &[Outcome], index: u64) -> Vec<peer::ProposeResponse> {
    let mut parts = vec![peer::ProposeResponse { index, ..Default::default() }];
    let mut room = PART_BYTES;
    for outcome in outcomes {
        let outcome = Bytes::from(outcome.encode_to_vec());
        if outcome.len() > room && parts.last().is_some_and(|part| !part.outcomes.is_empty()) {
            parts.push(peer::ProposeResponse { index, ..Default::default() });
            room = PART_BYTES;
        }
        room = room.saturating_sub(outcome.len());
        parts.last_mut().expect("begins with one").outcomes.push(outcome);
    }
    parts
}

/// Whether a call surely never reached its member.
pub(super) fn refused(status: &tonic::Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = error.source();
    }
    status.code() == tonic::Code::FailedPrecondition
}

#[cfg(test)]
mod tests {
    use openraft::errors::Fatal;

    use super::*;

    #[test]
    fn a_write_that_a_failing_leader_may_have_sent_is_not_tried_again() {
        let fatal = unwritten(RaftError::Fatal(Fatal::Stopped));
        assert!(matches!(fatal, Error::Unknown), "{fatal:?}");
        // What another member is told of it is not taken for a leader that never had it.
        let told = parse_failure(&failure(&fatal));
        assert!(matches!(told, Error::Unknown), "{told:?}");
        let elsewhere = unwritten(RaftError::APIError(ClientWriteError::ForwardToLeader(ForwardToLeader::empty())));
        assert!(matches!(elsewhere, Error::NoLeader), "{elsewhere:?}");
    }

    #[test]
    fn large_outcomes_travel_in_parts() {
        let outcome = |bytes: usize| {
            let text = "x".repeat(bytes);
            let refusal = proto::command::Refusal { message: text, ..Default::default() };
            Outcome { response: Some(proto::command::outcome::Response::Refusal(refusal)) }
        };
        let sizes =
            |outcomes: &[Outcome]| parts(outcomes, 7).iter().map(|part| part.outcomes.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0]);
        assert_eq!(sizes(&[outcome(1), outcome(1), outcome(1)]), [3]);
        assert_eq!(sizes(&[outcome(1), outcome(PART_BYTES), outcome(1), outcome(1)]), [1, 1, 2]);
        assert!(parts(&[outcome(1), outcome(PART_BYTES)], 7).iter().all(|part| part.index == 7));
    }
}
