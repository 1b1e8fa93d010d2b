//! Locks: the owner of a name is the lease whose key under it is the oldest.
//!
//! Source: etcd `server/etcdserver/api/v3lock`, `client/v3/concurrency/mutex.go`.

use proto::etcdserverpb as pb;
use proto::v3lockpb::lock_server;
use proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::{Request, Response, Status};

use crate::etcd::held::{Asker, Claim, first, revision};
use crate::etcd::kv::Kv;

/// See the module.
pub(super) struct Lock {
    pub(super) kv: Kv,
}

#[tonic::async_trait]
impl lock_server::Lock for Lock {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let (asker, request) = Asker::new(&self.kv, request);
        let lease = asker.lease(request.lease).await?;
        let claim = Claim::new(&request.name, lease);
        let taken = asker.txn(claim.take("", vec![claim.read(), claim.oldest()])).await?;
        let created = claim.created(&taken);
        let free = first(&taken, 1).is_none_or(|owner| owner.create_revision == created);
        if free {
            return Ok(Response::new(LockResponse { header: taken.header, key: claim.key.clone() }));
        }
        let given_up = claim.give_up_unless_kept(&asker);
        asker.wait_for_older(&claim.prefix, created).await?;
        let mine = asker.get(&claim.key).await?;
        if mine.kvs.is_empty() {
            return Err(Status::unknown("mutex: session is expired"));
        }
        given_up.keep();
        Ok(Response::new(LockResponse { header: mine.header, key: claim.key.clone() }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let (asker, request) = Asker::new(&self.kv, request);
        let delete = pb::DeleteRangeRequest { key: request.key, ..pb::DeleteRangeRequest::default() };
        let header = asker.delete(delete).await?.header;
        debug_assert!(revision(header.as_ref()) > 0, "every answer names a revision");
        Ok(Response::new(UnlockResponse { header }))
    }
}
