//! Who belongs to the group.

use proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use crate::Store;
use crate::etcd::maintenance::{NO_REVISION, absent};
use crate::etcd::{Front, status};

/// See the module.
pub(super) struct Cluster {
    pub(super) front: Front,
}

fn members(store: &Store) -> Vec<pb::Member> {
    let member = |member: crate::api::Member| pb::Member {
        id: member.id,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.learner && !member.voter,
    };
    store.members().into_iter().map(member).collect()
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
        if self.front.store.members().iter().all(|member| member.id != id) {
            return Err(Status::not_found("etcdserver: member not found"));
        }
        self.front.store.member_remove(id).await.map_err(status)?;
        let members = members(&self.front.store);
        Ok(Response::new(pb::MemberRemoveResponse { header: self.front.store.header(NO_REVISION), members }))
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
            self.front.store.barrier().await.map_err(status)?;
        }
        let members = members(&self.front.store);
        Ok(Response::new(pb::MemberListResponse { header: self.front.store.header(NO_REVISION), members }))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        absent("MemberPromote")
    }
}
