//! Who belongs to the group.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/member.go`, `util.go`.

use proto::etcdserverpb as pb;
use proto::peer::{self, change_request::Change};
use tonic::{Code, Request, Response, Status};

use crate::Error;
use crate::config::parse_all;
use crate::etcd::maintenance::NO_REVISION;
use crate::etcd::{Front, status};
use crate::group::strict;

/// See the module.
pub(super) struct Cluster {
    pub(super) front: Front,
}

/// The code of each refusal. That of too few started members has none in etcd, by mistake: it goes out as unknown.
const CODES: [(&str, Code); 9] = [
    (strict::BAD_URLS, Code::InvalidArgument),
    (strict::NOT_FOUND, Code::NotFound),
    (strict::UNHEALTHY, Code::Unavailable),
    (strict::NOT_STARTED, Code::Unknown),
    (strict::ID_EXISTS, Code::FailedPrecondition),
    (strict::URL_EXISTS, Code::FailedPrecondition),
    (strict::NO_LEARNER, Code::FailedPrecondition),
    (strict::NOT_READY, Code::FailedPrecondition),
    (strict::MANY_LEARNERS, Code::FailedPrecondition),
];

fn refused(error: Error) -> Status {
    match &error {
        Error::Invalid(text) => match CODES.iter().find(|(known, _)| known == text) {
            Some((_, code)) => Status::new(*code, text),
            None => status(error),
        },
        _ => status(error),
    }
}

/// A member as clients see it.
fn shown(seat: peer::Seat) -> pb::Member {
    let node = seat.node.unwrap_or_default();
    pb::Member {
        id: seat.id,
        name: node.name,
        peer_ur_ls: node.peer_urls,
        client_ur_ls: node.client_urls,
        is_learner: node.learner && !seat.voter,
    }
}

impl Cluster {
    fn header(&self) -> Option<pb::ResponseHeader> {
        self.front.store.header(NO_REVISION)
    }

    /// Makes a change; answers whom it added, if any, and who belongs to the group now.
    async fn change(&self, change: Change) -> Result<(u64, Vec<pb::Member>), Status> {
        let changed = self.front.store.change(change).await.map_err(refused)?;
        Ok((changed.added, changed.seats.into_iter().map(shown).collect()))
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Cluster {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let request = request.into_inner();
        let urls = parse_all(&request.peer_ur_ls).map_err(|_| Status::invalid_argument(strict::BAD_URLS))?;
        let peer_urls = urls.iter().map(ToString::to_string).collect();
        let node = peer::Node { peer_urls, learner: request.is_learner, ..peer::Node::default() };
        let learners_max = self.front.options.learners_max;
        let (added, members) = self.change(Change::Add(peer::Addition { node: Some(node), learners_max })).await?;
        let member = members.iter().find(|member| member.id == added).cloned();
        Ok(Response::new(pb::MemberAddResponse { header: self.header(), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let (_, members) = self.change(Change::Expel(request.into_inner().id)).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        let node = peer::Node { peer_urls: request.peer_ur_ls, ..peer::Node::default() };
        let (_, members) = self.change(Change::Update(peer::NodeOf { id: request.id, node: Some(node) })).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.front.store.abreast().await.map_err(status)?;
        }
        let members = self.front.store.seats().into_iter().map(shown).collect();
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let (_, members) = self.change(Change::Promote(request.into_inner().id)).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header(), members }))
    }
}
