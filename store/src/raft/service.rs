//! What other members ask of this one.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesResponse;
use proto::peer;
use proto::peer::peer_server::Peer;
use tonic::{Request, Response, Status, Streaming};

use crate::Error;
use crate::group::datagrams::Datagrams;
use crate::group::lessor::Lessor;
use crate::group::members::told;
use crate::group::{Group, failure};
use crate::machine::Machine;
use crate::raft::checkpoint::Checkpoints;
use crate::raft::peers::names_a_member;
use crate::raft::{heal, receive, wire};

/// The peers' service of one member.
pub(crate) struct Service {
    pub(crate) group: Arc<Group>,
    pub(crate) machine: Machine,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) lessor: Arc<Lessor>,
    pub(crate) datagrams: Arc<Datagrams>,
}

fn bad(error: std::io::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

type Answers = Pin<Box<dyn Stream<Item = Result<peer::AppendResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for Service {
    type AppendStream = Answers;

    async fn append(&self, request: Request<Streaming<peer::AppendRequest>>) -> Result<Response<Answers>, Status> {
        names_a_member(request.metadata())?;
        if !self.group.agreement.takes_entries() {
            return Err(Status::unavailable("this member gets its state anew"));
        }
        let group = self.group.clone();
        let healing = async move { group.agreement.healing().await };
        // A broken stream ends; the leader opens another one.
        let requests =
            request.into_inner().scan((), |(), part| ready(part.ok().and_then(|part| wire::parse_append(part).ok())));
        let answers = self.group.raft.stream_append(Box::pin(requests.take_until(Box::pin(healing))));
        Ok(Response::new(Box::pin(answers.map(|answer| answer.map(|answer| wire::streamed(&answer)).map_err(stopped)))))
    }

    async fn heartbeat(&self, request: Request<peer::AppendRequest>) -> Result<Response<peer::AppendResponse>, Status> {
        names_a_member(request.metadata())?;
        let request = wire::parse_append(request.into_inner()).map_err(bad)?;
        let answer = self.group.raft.append_entries(request).await.map_err(stopped)?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.group.hear();
        }
        Ok(Response::new(wire::appended(&answer)))
    }

    async fn vote(&self, request: Request<peer::VoteRequest>) -> Result<Response<peer::VoteResponse>, Status> {
        names_a_member(request.metadata())?;
        let request = request.into_inner();
        let asked = wire::parse_ask(&request).map_err(bad)?;
        let raft = &self.group.raft;
        let answer = if request.pre_vote { raft.pre_vote(asked).await } else { raft.vote(asked).await };
        Ok(Response::new(wire::voted(&answer.map_err(stopped)?)))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<peer::SnapshotAnswer, Status>> + Send>>;

    async fn snapshot(
        &self,
        request: Request<Streaming<peer::SnapshotPart>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        names_a_member(request.metadata())?;
        let (raft, checkpoints) = (self.group.raft.clone(), self.checkpoints.clone());
        Ok(Response::new(Box::pin(receive::answers(raft, checkpoints, request.into_inner())?)))
    }

    async fn transfer_leader(
        &self,
        request: Request<peer::TransferRequest>,
    ) -> Result<Response<peer::TransferResponse>, Status> {
        names_a_member(request.metadata())?;
        let request = request.into_inner();
        let from = wire::required_vote(request.from.as_ref()).map_err(bad)?;
        let last = request.last_log_id.as_ref().map(wire::parse_log_id);
        let asked = openraft::raft::TransferLeaderRequest::new(from, request.to, last);
        let answer = self.group.raft.handle_transfer_leader(asked).await.map_err(stopped)?;
        let refused = answer.err().map(|refused| refused.to_string()).unwrap_or_default();
        Ok(Response::new(peer::TransferResponse { refused }))
    }

    type ProposeStream = stream::Iter<std::vec::IntoIter<Result<peer::ProposeResponse, Status>>>;

    async fn propose(&self, request: Request<peer::ProposeRequest>) -> Result<Response<Self::ProposeStream>, Status> {
        let parts = self.group.forwarded(request.into_inner()).await;
        Ok(Response::new(stream::iter(parts.into_iter().map(Ok).collect::<Vec<_>>())))
    }

    async fn read_index(
        &self,
        _: Request<peer::ReadIndexRequest>,
    ) -> Result<Response<peer::ReadIndexResponse>, Status> {
        Ok(Response::new(match self.group.read_index().await {
            Ok(id) => peer::ReadIndexResponse { log_id: Some(wire::log_id(&id)), failure: None },
            Err(error) => peer::ReadIndexResponse { log_id: None, failure: Some(failure(&error)) },
        }))
    }

    async fn join(&self, request: Request<peer::JoinRequest>) -> Result<Response<peer::JoinResponse>, Status> {
        let request = request.into_inner();
        let result = match (request.node, self.group.peers.cluster.get()) {
            (_, None) => Err(Error::NoLeader),
            (_, Some(_)) if request.returning => self.group.belongs(request.id).await,
            (Some(node), Some(_)) => self.group.join(request.id, node).await,
            (None, Some(_)) => Err(Error::Invalid("a join without a node".to_owned())),
        };
        let cluster_id = self.group.peers.cluster.get().copied().unwrap_or(0);
        Ok(Response::new(peer::JoinResponse { cluster_id, failure: told(result) }))
    }

    async fn lease(&self, request: Request<peer::LeaseRequest>) -> Result<Response<peer::LeaseResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(match self.lessor.left_here(request.id, request.renew).await {
            Ok(left) => left.map_or_else(peer::LeaseResponse::default, |(ttl, remaining)| peer::LeaseResponse {
                found: true,
                ttl,
                remaining,
                failure: None,
            }),
            Err(error) => peer::LeaseResponse { failure: Some(failure(&error)), ..peer::LeaseResponse::default() },
        }))
    }

    async fn change(&self, request: Request<peer::ChangeRequest>) -> Result<Response<peer::ChangeResponse>, Status> {
        let change = request.into_inner().change.ok_or_else(|| Status::invalid_argument("an empty change"))?;
        Ok(Response::new(match self.group.change(change).await {
            Ok(changed) => peer::ChangeResponse { failure: None, seats: changed.seats, added: changed.added },
            Err(error) => peer::ChangeResponse { failure: Some(failure(&error)), ..peer::ChangeResponse::default() },
        }))
    }

    async fn members(&self, request: Request<peer::MembersRequest>) -> Result<Response<peer::MembersResponse>, Status> {
        let cluster_id = self.group.peers.cluster.get().copied().unwrap_or(0);
        let nodes = self.group.nodes().await.into_iter().collect();
        let held = self.group.held_by(request.into_inner().asks).map(|id| wire::log_id(&id));
        Ok(Response::new(peer::MembersResponse { cluster_id, nodes, held }))
    }

    async fn room(&self, _: Request<peer::RoomRequest>) -> Result<Response<peer::RoomResponse>, Status> {
        Ok(Response::new(peer::RoomResponse { full: self.group.space.full(), unfit: !self.group.fit() }))
    }

    async fn heal(&self, request: Request<peer::HealRequest>) -> Result<Response<peer::HealResponse>, Status> {
        let (machine, checkpoints) = (self.machine.clone(), self.checkpoints.clone());
        heal::push(&self.group, machine, checkpoints, request.into_inner().id).await?;
        Ok(Response::new(peer::HealResponse {}))
    }

    async fn sums(&self, _: Request<peer::SumsRequest>) -> Result<Response<peer::SumsResponse>, Status> {
        let sum = |(revision, hash)| peer::Sum { revision, hash };
        Ok(Response::new(peer::SumsResponse { sums: self.machine.sums().into_iter().map(sum).collect() }))
    }

    async fn datagrams(
        &self,
        request: Request<Streaming<peer::Datagram>>,
    ) -> Result<Response<peer::DatagramsResponse>, Status> {
        let mut arriving = request.into_inner();
        while let Some(datagram) = arriving.message().await? {
            self.datagrams.receive(datagram);
        }
        Ok(Response::new(peer::DatagramsResponse {}))
    }
}
