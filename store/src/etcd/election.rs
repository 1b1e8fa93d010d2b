//! Elections: the leader of a name is the lease whose key under it is the oldest, and says what its value says.
//!
//! Source: etcd `server/etcdserver/api/v3election`, `client/v3/concurrency/election.go`.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use proto::mvccpb::KeyValue;
use proto::mvccpb::event::EventType;
use proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
    ResignRequest, ResignResponse, election_server,
};
use tonic::{Request, Response, Status};

use crate::Watcher;
use crate::api::Revision;
use crate::etcd::held::{Asker, Claim, first, oldest, op, revision, still};
use crate::etcd::kv::Kv;

/// See the module.
pub(super) struct Election {
    pub(super) kv: Kv,
}

fn missing() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

/// Changes what a leader says, while it is the leader.
async fn proclaim(asker: &Asker, leader: &LeaderKey, value: Bytes) -> Result<Option<pb::ResponseHeader>, Status> {
    let (key, lease) = (leader.key.clone(), leader.lease);
    let put = pb::PutRequest { key: key.clone(), value, lease, ..pb::PutRequest::default() };
    let compare = vec![still(&key, leader.rev)];
    let said = asker.txn(pb::TxnRequest { compare, success: vec![op(Op::RequestPut(put))], failure: Vec::new() });
    let said = said.await?;
    if said.succeeded { Ok(said.header) } else { Err(not_leader()) }
}

#[tonic::async_trait]
impl election_server::Election for Election {
    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<CampaignResponse>, Status> {
        let (asker, request) = Asker::new(&self.kv, request);
        let lease = asker.lease(request.lease).await?;
        let claim = Claim::new(&request.name, lease);
        let taken = asker.txn(claim.take(request.value.clone(), vec![claim.read()])).await?;
        let rev = claim.created(&taken);
        let leader = LeaderKey { name: request.name.clone(), key: claim.key.clone(), rev, lease };
        let given_up = claim.give_up_unless_kept(&asker);
        if first(&taken, 0).is_some_and(|held| !taken.succeeded && held.value != request.value) {
            proclaim(&asker, &leader, request.value).await?;
        }
        asker.wait_for_older(&claim.prefix, rev).await?;
        given_up.keep();
        Ok(Response::new(CampaignResponse { header: taken.header, leader: Some(leader) }))
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Result<Response<ProclaimResponse>, Status> {
        let (asker, request) = Asker::new(&self.kv, request);
        let leader = request.leader.ok_or_else(missing)?;
        asker.lease(leader.lease).await?;
        let header = proclaim(&asker, &leader, request.value).await?;
        Ok(Response::new(ProclaimResponse { header }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let (asker, request) = Asker::new(&self.kv, request);
        let found = asker.range(oldest(&Claim::new(&request.name, 0).prefix)).await?;
        let Some(kv) = found.kvs.into_iter().next() else { return Err(Status::unknown("election: no leader")) };
        Ok(Response::new(LeaderResponse { header: found.header, kv: Some(kv) }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let (asker, request) = Asker::new(&self.kv, request);
        let observer = Observer { prefix: Claim::new(&request.name, 0).prefix, asker, follows: None, told: Vec::new() };
        let observed = stream::unfold(observer, |mut observer| async move {
            let next = observer.next().await.transpose()?;
            Some((next, observer))
        });
        Ok(Response::new(Box::pin(observed.fuse())))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let (asker, request) = Asker::new(&self.kv, request);
        let leader = request.leader.ok_or_else(missing)?;
        asker.lease(leader.lease).await?;
        let delete = pb::DeleteRangeRequest { key: leader.key.clone(), ..pb::DeleteRangeRequest::default() };
        let (compare, success) = (vec![still(&leader.key, leader.rev)], vec![op(Op::RequestDeleteRange(delete))]);
        let resigned = asker.txn(pb::TxnRequest { compare, success, failure: Vec::new() }).await?;
        Ok(Response::new(ResignResponse { header: resigned.header }))
    }
}

/// Tells who leads, and what each leader says.
struct Observer {
    asker: Asker,
    prefix: Bytes,
    /// The key of the leader that was told of.
    follows: Option<Watcher>,
    /// What is to be told next, the last first.
    told: Vec<(Revision, KeyValue)>,
}

impl Observer {
    /// None when what was observed cannot be any more.
    async fn next(&mut self) -> Result<Option<LeaderResponse>, Status> {
        loop {
            if let Some((revision, kv)) = self.told.pop() {
                return Ok(Some(LeaderResponse { header: self.asker.header(revision), kv: Some(kv) }));
            }
            match &mut self.follows {
                None => {
                    let (revision, kv) = self.current().await?;
                    self.follows = Some(self.asker.watch(&kv.key, false, revision + 1));
                    self.told.push((revision, kv));
                }
                Some(watcher) => {
                    let Ok(batch) = watcher.next().await else { return Ok(None) };
                    let put = |event: &&std::sync::Arc<crate::api::Occurrence>| event.r#type() == EventType::Put;
                    let said = batch.events.iter().take_while(put).filter_map(|event| event.kv.clone());
                    self.told = said.map(|kv| (kv.mod_revision, kv)).collect();
                    self.told.reverse();
                    if !batch.events.iter().all(|event| put(&event)) {
                        self.follows = None;
                    }
                }
            }
        }
    }

    /// The leader, waiting for one if there is none.
    async fn current(&self) -> Result<(Revision, KeyValue), Status> {
        let found = self.asker.range(oldest(&self.prefix)).await?;
        let now = revision(found.header.as_ref());
        if let Some(kv) = found.kvs.into_iter().next() {
            return Ok((now, kv));
        }
        let mut watcher = self.asker.watch(&self.prefix, true, now);
        loop {
            let batch = watcher.next().await.map_err(|error| Status::unknown(error.to_string()))?;
            let put = batch.events.iter().find(|event| event.r#type() == EventType::Put);
            if let Some(kv) = put.and_then(|event| event.kv.clone()) {
                return Ok((kv.mod_revision, kv));
            }
        }
    }
}
