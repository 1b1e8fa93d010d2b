//! Grant, revoke, keep alive, time to live, list.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use proto::command::command::Request as Write;
use proto::command::outcome::Response as Answer;
use proto::etcdserverpb as pb;
use tonic::{Request, Response, Status, Streaming};

use crate::Error;
use crate::etcd::caller::{Credentials, Seen};
use crate::etcd::check::LEASE_COST;
use crate::etcd::kv::write;
use crate::etcd::{Front, status};
use crate::machine::permission::{self, Access};

/// Renewals of one stream under way at once.
const TOGETHER: usize = 64;

/// The shortest time to live, seconds: an election must fit in.
fn ttl_min(election: Duration) -> i64 {
    i64::try_from((election * 3 / 2).as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// See the module.
pub(super) struct Lease {
    pub(super) front: Front,
}

type Alive = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

impl Front {
    /// Allows what concerns leases to those who may do the same to all their keys.
    pub(super) async fn may_use(
        &self,
        credentials: &Credentials,
        leases: &[i64],
        access: Access,
    ) -> Result<Seen, Status> {
        let keys = |id: &i64| self.store.lease_keys(*id);
        self.read(credentials, |auth, caller| {
            permission::known(auth, caller)?;
            leases.iter().try_for_each(|id| permission::lease(auth, caller, access, keys(id).iter()))
        })
        .await
    }
}

#[tonic::async_trait]
impl pb::lease_server::Lease for Lease {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let caller = self.front.caller(&Credentials::of(&request)).await?;
        let mut request = request.into_inner();
        request.ttl = request.ttl.max(ttl_min(self.front.store.election_timeout()));
        if self.front.store.lease_count() >= self.front.options.leases_max {
            return Err(Status::resource_exhausted("etcdserver: too many leases"));
        }
        self.front.room(LEASE_COST).await?;
        if request.id == 0 {
            let random = crate::store::random().map_err(status)?;
            request.id = i64::try_from(random >> 1).unwrap_or(1).max(1);
        }
        write!(self, caller, LeaseGrant, request)
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let caller = self.front.caller(&Credentials::of(&request)).await?;
        write!(self, caller, LeaseRevoke, request.into_inner())
    }

    type LeaseKeepAliveStream = Alive;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Alive>, Status> {
        let (front, credentials) = (self.front.clone(), Credentials::of(&request));
        let answers = request.into_inner().map(move |request| {
            let (front, credentials) = (front.clone(), credentials.clone());
            async move {
                let store = &front.store;
                let (header, id) = (store.header(store.revision()), request?.id);
                let seen = front.may_use(&credentials, &[id], Access::Write).await?;
                front.unchanged(seen)?;
                let ttl = store.renew(id).await.map_err(status)?;
                // An unknown lease is no error: a TTL of 0 says that it has ended.
                Ok(pb::LeaseKeepAliveResponse { header, id, ttl: ttl.unwrap_or(0) })
            }
        });
        // Leases that are kept alive together share what it takes to know who leads.
        Ok(Response::new(Box::pin(answers.buffered(TOGETHER))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        let asked = if request.keys { std::slice::from_ref(&request.id) } else { &[] };
        let seen = self.front.may_use(&credentials, asked, Access::Read).await?;
        let mut response = pb::LeaseTimeToLiveResponse { id: request.id, ttl: -1, ..Default::default() };
        if let Some((granted, left, keys)) = self.front.store.lease(request.id, false).await.map_err(status)? {
            (response.ttl, response.granted_ttl) = (left, granted);
            response.keys = if request.keys { keys } else { Vec::new() };
        }
        self.front.unchanged(seen)?;
        response.header = self.front.store.header(self.front.store.revision());
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.front.store.barrier().await.map_err(status)?;
        let leases = self.front.store.leases();
        let seen = self.front.may_use(&Credentials::of(&request), &leases, Access::Read).await?;
        self.front.unchanged(seen)?;
        let leases = leases.into_iter().map(|id| pb::LeaseStatus { id }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: self.front.store.header(self.front.store.revision()),
            leases,
        }))
    }
}
