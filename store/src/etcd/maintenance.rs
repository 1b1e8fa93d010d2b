//! Status and members. What is not served yet says so.

use proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use crate::Store;
use crate::etcd::status;

/// Maintenance of one member.
pub(super) struct Maintenance {
    pub(super) store: Store,
}

/// The group.
pub(super) struct Cluster {
    pub(super) store: Store,
}

fn absent<T>(name: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!(
        "{name} is not served; `raftsman member` and `raftsman backup` change members and state"
    )))
}

fn members(store: &Store) -> Vec<pb::Member> {
    let urls = |address: &str| if address.is_empty() { Vec::new() } else { vec![format!("https://{address}")] };
    let member = |member: crate::api::Member| pb::Member {
        id: member.id,
        name: member.name,
        peer_ur_ls: urls(&member.peer_address),
        client_ur_ls: urls(&member.client_address),
        is_learner: !member.voter,
    };
    store.members().into_iter().map(member).collect()
}

/// What etcd names in a header about members: no revision.
const NO_REVISION: i64 = 0;

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Maintenance {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        // Listing is what health checks do. Nobody raises or clears an alarm by hand: it goes by the disk.
        if request.into_inner().action == 0 {
            let raised = pb::AlarmMember { member_id: self.store.id(), alarm: pb::AlarmType::Nospace.into() };
            let full = self.store.no_space().then_some(raised);
            let corrupt = |member_id| pb::AlarmMember { member_id, alarm: pb::AlarmType::Corrupt.into() };
            let alarms = full.into_iter().chain(self.store.differing_ids().map(corrupt)).collect();
            return Ok(Response::new(pb::AlarmResponse { header: self.store.header(NO_REVISION), alarms }));
        }
        absent("Alarm")
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        Ok(Response::new(self.store.status()))
    }

    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        absent("Defragment")
    }

    /// The checksum that apply carries along: of every change there ever was, in order.
    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let view = self.store.view();
        let (header, hash) = (self.store.header(view.revision()), view.header().hash);
        Ok(Response::new(pb::HashResponse { header, hash }))
    }

    /// Of what lies on the disk.
    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let found = self.store.hash(request.into_inner().revision).await.map_err(status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.store.header(self.store.revision()),
            hash: found.hash,
            compact_revision: found.compacted,
            hash_revision: found.revision,
        }))
    }

    type SnapshotStream = tokio_stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        absent("Snapshot")
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        if self.store.leadership().borrow().leader != Some(self.store.id()) {
            return Err(Status::failed_precondition("etcdserver: not leader"));
        }
        self.store.transfer_leader(request.into_inner().target_id).await.map_err(status)?;
        Ok(Response::new(pb::MoveLeaderResponse { header: self.store.header(NO_REVISION) }))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        absent("Downgrade")
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Cluster {
    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        absent("MemberAdd")
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let id = request.into_inner().id;
        if self.store.members().iter().all(|member| member.id != id) {
            return Err(Status::not_found("etcdserver: member not found"));
        }
        self.store.member_remove(id).await.map_err(status)?;
        let members = members(&self.store);
        Ok(Response::new(pb::MemberRemoveResponse { header: self.store.header(NO_REVISION), members }))
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        absent("MemberUpdate")
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.store.barrier().await.map_err(status)?;
        }
        let members = members(&self.store);
        Ok(Response::new(pb::MemberListResponse { header: self.store.header(NO_REVISION), members }))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        absent("MemberPromote")
    }
}
