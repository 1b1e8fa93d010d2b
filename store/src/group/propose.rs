//! Writes and linearizable reads: decided by the leader, asked of any member.

use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::raft::linearizable_read::{Linearizer, ReadLogId};
use prost::Message;
use proto::command::Outcome;
use proto::peer::{self, propose_response::Result as Answer};

use crate::Error;
use crate::group::{Group, Leader, failure, parse_failure};
use crate::raft::types::{LogId, Proposal, Types};
use crate::raft::wire;

/// Between two attempts while the leadership stays what it is.
const AGAIN: Duration = Duration::from_millis(20);

impl Group {
    /// Commits an encoded command wherever the leader is, and waits until this member has applied it too.
    ///
    /// # Errors
    /// `NoLeader` and `Overloaded` when nothing was proposed, `Unknown` when it may have been.
    pub(crate) async fn propose(&self, command: Bytes, grows: bool) -> Result<Outcome, Error> {
        let _room = self.room(&command)?;
        let attempts = async {
            loop {
                let answer = match self.leader().await? {
                    Leader::Me => match self.space.refusal().filter(|_| grows) {
                        Some(refused) => Ok(refused),
                        None => self.propose_here(command.clone()).await,
                    },
                    Leader::Other(id, node) => self.propose_there(id, &node, command.clone(), grows).await,
                };
                match answer {
                    // Nothing was proposed: the leadership moved on, so ask again who leads.
                    Err(Error::NoLeader) => self.leader_moves().await?,
                    answer => return answer,
                }
            }
        };
        tokio::time::timeout(self.patience, attempts).await.unwrap_or(Err(Error::Unknown))
    }

    /// As the leader.
    pub(crate) async fn propose_here(&self, command: Bytes) -> Result<Outcome, Error> {
        self.commit(command).await.map(|(outcome, _)| outcome)
    }

    async fn commit(&self, command: Bytes) -> Result<(Outcome, u64), Error> {
        match self.raft.client_write(Proposal(command)).await {
            Ok(written) => Ok((written.data, written.log_id.index)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(ForwardToLeader { .. }))) => Err(Error::NoLeader),
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Err(Error::Unknown),
            Err(RaftError::APIError(error)) => Err(Error::Invalid(error.to_string())),
            Err(RaftError::Fatal(fatal)) => Err(Error::Stopped(fatal.to_string())),
        }
    }

    async fn propose_there(&self, id: u64, node: &peer::Node, command: Bytes, grows: bool) -> Result<Outcome, Error> {
        let mut client = self.client(id, node)?;
        let answer = self.while_leading(id, client.propose(peer::ProposeRequest { command, grows })).await;
        // A call that failed on its way may have arrived.
        let answer = answer.ok_or(Error::Unknown)?;
        let answer =
            answer.map_err(|status| if refused(&status) { Error::NoLeader } else { Error::Unknown })?.into_inner();
        match answer.result {
            Some(Answer::Outcome(outcome)) => {
                self.caught_up(answer.index).await?;
                Outcome::decode(outcome).map_err(|_| Error::Unknown)
            }
            Some(Answer::Failure(failure)) => Err(parse_failure(&failure)),
            None => Err(Error::Unknown),
        }
    }

    /// What another member forwarded.
    pub(crate) async fn forwarded(&self, request: peer::ProposeRequest) -> peer::ProposeResponse {
        let committed = match (self.room(&request.command), self.space.refusal().filter(|_| request.grows)) {
            (Err(error), _) => Err(error),
            (Ok(_), Some(refused)) => Ok((refused, 0)),
            (Ok(_room), None) => self.commit(request.command).await,
        };
        match committed {
            Ok((outcome, index)) => {
                let result = Some(Answer::Outcome(outcome.encode_to_vec().into()));
                peer::ProposeResponse { result, index }
            }
            Err(error) => peer::ProposeResponse { result: Some(Answer::Failure(failure(&error))), index: 0 },
        }
    }

    /// Waits until local reads include everything acknowledged before the call. Never by lease: a voter that restarts
    /// forgets having promised one.
    ///
    /// # Errors
    /// When no leader confirms in time.
    pub(crate) async fn barrier(&self) -> Result<(), Error> {
        let attempts = async {
            loop {
                let answer = match self.leader().await? {
                    Leader::Me => self.read_index().await,
                    Leader::Other(id, node) => self.read_index_there(id, &node).await,
                };
                match answer {
                    Ok(id) => return self.reached(id).await,
                    Err(Error::NoLeader) => self.leader_moves().await?,
                    Err(error) => return Err(error),
                }
            }
        };
        tokio::time::timeout(self.patience, attempts).await.unwrap_or(Err(Error::NoLeader))
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
    async fn while_leading<T>(&self, id: u64, call: impl Future<Output = T>) -> Option<T> {
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
        wait.applied_index_at_least(Some(index), "a forwarded write").await.map(|_| ()).map_err(|_| Error::Unknown)
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

/// Whether a call surely never reached its member.
fn refused(status: &tonic::Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = error.source();
    }
    status.code() == tonic::Code::FailedPrecondition
}
