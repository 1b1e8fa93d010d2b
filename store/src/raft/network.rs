//! What openraft sends to other members.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend};
use proto::peer;

use crate::api::MemberId;
use crate::edge::drive::Defect;
use crate::edge::planted::Planted;
use crate::raft::checkpoint::Checkpoint;
use crate::raft::peers::{Client, Peers, Purpose};
use crate::raft::planted::{self, Answers};
use crate::raft::transfer;
use crate::raft::types::{Snapshot, Types, Vote};
use crate::raft::wire;
use crate::seal::vault::Vault;

/// A follower that owes answers and gives none for so long is cut off: what it was sent holds up the log's purge.
const STALL: Duration = Duration::from_secs(5);

/// Makes a connection per member and purpose.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) peers: Arc<Peers>,
    /// What a call may take at least: openraft's own limit is a heartbeat, which one slow fsync would break.
    pub(crate) patience: Duration,
    /// The keys of snapshots that are sent.
    pub(crate) vault: Option<Arc<Vault>>,
    pub(crate) planted: Planted,
}

/// One member, for one purpose.
pub(crate) struct Link {
    network: Network,
    to: MemberId,
    name: String,
    urls: Vec<String>,
    purpose: Purpose,
    /// Whether the last heartbeat arrived.
    reached: bool,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, to: MemberId, node: &peer::Node) -> Link {
        self.link(to, node, Purpose::Log)
    }

    async fn new_heartbeat_client(&mut self, to: MemberId, node: &peer::Node) -> Link {
        self.link(to, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, to: MemberId, node: &peer::Node) -> Link {
        self.link(to, node, Purpose::Snapshot)
    }
}

impl Network {
    fn link(&self, to: MemberId, node: &peer::Node, purpose: Purpose) -> Link {
        let (name, urls) = (node.name.clone(), node.peer_urls.clone());
        Link { network: self.clone(), to, name, urls, purpose, reached: true }
    }
}

fn unreachable(error: impl std::error::Error + 'static) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl Link {
    fn client(&self) -> Result<Client, RPCError<Types>> {
        self.connect().map_err(unreachable)
    }

    /// Openraft keeps a link as long as a member belongs to the group, also when it moves.
    fn connect(&self) -> io::Result<Client> {
        let urls = self.network.peers.urls(self.to).unwrap_or_else(|| self.urls.clone());
        self.network.peers.client(Some(self.to), &urls, self.purpose)
    }

    async fn within<T>(
        &self,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, RPCError<Types>> {
        let limit = option.hard_ttl().max(self.network.patience);
        let answer = tokio::time::timeout(limit, call).await.map_err(unreachable)?;
        Ok(answer.map_err(unreachable)?.into_inner())
    }

    /// Sends the requests of a stream, and answers with what the follower answers.
    async fn append<S>(&self, first: AppendEntriesRequest<Types>, rest: S) -> Result<Answers<'_>, RPCError<Types>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let planted = &self.network.planted;
        let works = planted::works(&first);
        let requests = stream::iter([first]).chain(rest);
        match self.purpose {
            Purpose::Log if planted.has(Defect::AcksAssumed) => {
                let (requests, sent) = planted::noted(requests);
                Ok(sent.acknowledged(self.open(requests).await?))
            }
            Purpose::Log if planted.has(Defect::CallsHang) => {
                let _turn = planted.turn(Defect::CallsHang).await;
                match self.open(requests).await {
                    Err(_) if works => std::future::pending().await,
                    opened => opened,
                }
            }
            _ => self.open(requests).await,
        }
    }

    async fn open<S>(&self, requests: S) -> Result<Answers<'_>, RPCError<Types>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + 'static,
    {
        let mut client = self.client()?;
        let owed = Arc::new(AtomicU64::new(0));
        let counted = owed.clone();
        let requests = requests.map(move |request| {
            counted.fetch_add(1, Ordering::Relaxed);
            wire::append(&request)
        });
        let begun = tokio::time::timeout(self.network.patience, client.append(requests)).await;
        let answers = begun.map_err(unreachable)?.map_err(unreachable)?.into_inner();
        Ok(Box::pin(watched(answers, owed)))
    }

    async fn heartbeat(
        &self,
        request: &AppendEntriesRequest<Types>,
        option: &RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let answer = self.within(option, client.heartbeat(wire::append(request))).await?;
        wire::parse_appended(&answer).map_err(unreachable)
    }

    /// Tells the operator when a member goes and when it is back, not every time that it is not there.
    fn note(&mut self, error: Option<&RPCError<Types>>) {
        match (std::mem::replace(&mut self.reached, error.is_none()), error) {
            (true, Some(error)) => {
                tracing::warn!(member = self.name, urls = ?self.urls, %error, "a member cannot be reached");
            }
            (false, None) => {
                tracing::info!(member = self.name, urls = ?self.urls, "a member can be reached again")
            }
            _ => {}
        }
    }

    async fn ask(
        &self,
        request: &VoteRequest<Types>,
        pre: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let boasts = self.network.planted.has(Defect::CandidatesBoast).then(|| planted::boasting(request));
        let request = wire::ask(boasts.as_ref().unwrap_or(request), pre);
        let answer = self.within(option, client.vote(request)).await?;
        wire::parse_voted(&answer).map_err(unreachable)
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Arc<Checkpoint>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = self.heartbeat(&request, &option).await;
        self.note(answer.as_ref().err());
        answer
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // openraft waits between attempts where it makes the first request: a connection that is refused before
            // anybody asks for one would be tried again at once, for ever.
            let Some(first) = input.next().await else { return Ok(Box::pin(stream::empty()) as BoxStream<'s, _>) };
            self.append(first, input).await
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(&request, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        // The default grants without asking, which would switch pre-votes off.
        self.ask(&request, true, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            StreamingError::Unreachable(Unreachable::new(&AnyError::error(error)))
        };
        if self.network.planted.has(Defect::SnapshotsUnsent) {
            return Err(failed(&io::Error::other("snapshots are not sent")));
        }
        let client = self.connect().map_err(|error| failed(&error))?;
        // No deadline over the whole, a big state may take long; `transfer` wants progress.
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            vote = transfer::send(client, &vote, &snapshot, self.network.vault.as_ref()) => {
                vote.map(SnapshotResponse::new).map_err(|error| failed(&error))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<Result<(), TransferLeaderError<Types>>, RPCError<Types>> {
        let mut client = self.client()?;
        let words = peer::TransferRequest {
            from: Some(wire::vote(request.from_leader())),
            to: *request.to_node_id(),
            last_log_id: request.last_log_id().map(wire::log_id),
        };
        let answer = self.within(&option, client.transfer_leader(words)).await?;
        if answer.refused.is_empty() { Ok(Ok(())) } else { Err(unreachable(io::Error::other(answer.refused))) }
    }
}

/// Ends when a follower owes an answer for too long.
fn watched(
    answers: tonic::Streaming<peer::AppendResponse>,
    owed: Arc<AtomicU64>,
) -> impl Stream<Item = Result<StreamAppendResult<Types>, RPCError<Types>>> + Send {
    stream::unfold(Some(answers), move |answers| {
        let owed = owed.clone();
        async move {
            let mut answers = answers?;
            loop {
                match tokio::time::timeout(STALL, answers.message()).await {
                    Err(_) if owed.load(Ordering::Relaxed) == 0 => {}
                    Err(elapsed) => return Some((Err(unreachable(elapsed)), None)),
                    Ok(Err(status)) => return Some((Err(unreachable(status)), None)),
                    Ok(Ok(None)) => return None,
                    Ok(Ok(Some(answer))) => {
                        owed.fetch_sub(1, Ordering::Relaxed);
                        return Some((wire::parse_streamed(&answer).map_err(unreachable), Some(answers)));
                    }
                }
            }
        }
    })
}
