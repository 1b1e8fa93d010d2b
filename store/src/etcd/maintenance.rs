//! What concerns one member.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/maintenance.go`.

use proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::etcd::caller::Credentials;
use crate::etcd::{Front, downgrade, status};

/// Pieces of a snapshot that wait for a slow client.
const PIECES_MAX: usize = 8;

/// See the module.
pub(super) struct Maintenance {
    pub(super) front: Front,
}

/// What etcd names in a header about members: no revision.
pub(super) const NO_REVISION: i64 = 0;

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Maintenance {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let (credentials, store) = (Credentials::of(&request), &self.front.store);
        let request = request.into_inner();
        // Listing is what health checks do.
        if request.action() == pb::alarm_request::AlarmAction::Get {
            self.front.known(&credentials).await?;
            store.abreast().await.map_err(status)?;
            let (header, alarms) = (store.header(store.revision()), store.alarms(request.alarm));
            return Ok(Response::new(pb::AlarmResponse { header, alarms }));
        }
        self.front.admin(&credentials).await?;
        let mut answer = store.alarm(request).await.map_err(status)?;
        store.sign(&mut answer.header);
        Ok(Response::new(answer))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        Ok(Response::new(self.front.store.status()))
    }

    /// Answers at once; the files are rewritten in the background.
    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.front.store.tidy();
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    /// The checksum that apply carries along: of every change there ever was, in order.
    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let view = self.front.store.view();
        let (header, hash) = (self.front.store.header(view.revision()), view.header().hash);
        Ok(Response::new(pb::HashResponse { header, hash: crc32c::crc32c_append(hash, b"key") }))
    }

    /// Of what lies on the disk.
    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let found = self.front.store.hash(request.into_inner().revision).await.map_err(status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.front.store.header(self.front.store.revision()),
            hash: found.hash,
            compact_revision: found.compacted,
            hash_revision: found.revision,
        }))
    }

    type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    /// As this member has it.
    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        let contents = self.front.store.contents();
        let (answers, pieces) = mpsc::channel(PIECES_MAX);
        self.front.store.track(async move {
            // Not `edge::blocking`: it waits for whoever reads, which would keep a simulation's one thread for ever.
            let _ = tokio::task::spawn_blocking(move || contents.send(&answers)).await;
        });
        Ok(Response::new(ReceiverStream::new(pieces)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        if self.front.store.leadership().borrow().leader != Some(self.front.store.id()) {
            return Err(Status::failed_precondition("etcdserver: not leader"));
        }
        let to = request.into_inner().target_id;
        if self.front.store.members().iter().all(|member| member.id != to || (member.learner && !member.voter)) {
            return Err(Status::failed_precondition("etcdserver: bad leader transferee"));
        }
        let moved = self.front.store.transfer_leader(to).await;
        moved.map_err(|error| match error {
            // It does not take over: etcd would wait for it in vain.
            Error::Invalid(_) | Error::Unknown => {
                Status::unknown("etcdserver: request timed out, leader transfer took too long")
            }
            error => status(error),
        })?;
        // Without a header, as etcd's.
        Ok(Response::new(pb::MoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        let version = downgrade::answer(&request.into_inner())?;
        let header = self.front.store.header(self.front.store.revision());
        Ok(Response::new(pb::DowngradeResponse { header, version }))
    }
}
