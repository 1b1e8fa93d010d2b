//! Range, Put, DeleteRange, Txn, Compact.

use bytes::Bytes;
use proto::command::command::Request as Write;
use proto::command::outcome::Response as Answer;
use proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::etcd::caller::Credentials;
use crate::etcd::{Front, check, standing, status};
use crate::machine::permission::{Access, may};

/// See the module.
pub(super) struct Kv {
    pub(super) front: Front,
}

impl Kv {
    fn guard(&self, touches: impl FnOnce(&Bytes) -> bool) -> Result<(), Status> {
        if self.front.options.protected.is_empty() || !touches(&self.front.options.protected) {
            return Ok(());
        }
        let prefix = String::from_utf8_lossy(&self.front.options.protected).into_owned();
        Err(Status::permission_denied(format!(
            "etcdserver: permission denied: keys under {prefix} belong to the Kubernetes API; change them there"
        )))
    }
}

macro_rules! write {
    ($self:ident, $caller:ident, $variant:ident, $request:expr) => {
        match $self.front.store.write_for($caller, Write::$variant($request)).await.map_err(status)? {
            Answer::$variant(mut response) => {
                $self.front.store.sign(&mut response.header);
                Ok(Response::new(response))
            }
            _ => Err(status(Error::Unknown)),
        }
    };
}
pub(super) use write;

#[tonic::async_trait]
impl pb::kv_server::Kv for Kv {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        if !request.serializable && self.front.store.learns() {
            return Err(standing::learner());
        }
        check::range(&request).map_err(Status::invalid_argument)?;
        if !request.serializable {
            self.front.store.barrier().await.map_err(status)?;
        }
        let (key, end) = (&request.key, &request.range_end);
        let seen = self.front.read(&credentials, |auth, caller| may(auth, caller, Access::Read, key, end)).await?;
        let response = self.front.store.local_range(&request).map_err(status)?;
        self.front.unchanged(seen)?;
        Ok(Response::new(response))
    }

    type RangeStreamStream = tokio_stream::Empty<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(&self, _: Request<pb::RangeRequest>) -> Result<Response<Self::RangeStreamStream>, Status> {
        // Clients fall back to Range.
        Err(Status::unimplemented("RangeStream is not served"))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let caller = self.front.caller(&Credentials::of(&request)).await?;
        let request = request.into_inner();
        check::put(&request).map_err(Status::invalid_argument)?;
        self.guard(|prefix| request.key.starts_with(prefix))?;
        write!(self, caller, Put, request)
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let caller = self.front.caller(&Credentials::of(&request)).await?;
        let request = request.into_inner();
        check::delete(&request).map_err(Status::invalid_argument)?;
        self.guard(|prefix| check::deletes(&request, prefix))?;
        write!(self, caller, DeleteRange, request)
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let caller = self.front.caller(&Credentials::of(&request)).await?;
        let request = request.into_inner();
        check::txn(&request, self.front.options.txn_ops_max).map_err(Status::invalid_argument)?;
        self.guard(|prefix| check::touches(&request, prefix))?;
        write!(self, caller, Txn, request)
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let caller = self.front.caller(&Credentials::of(&request)).await?;
        write!(self, caller, Compact, request.into_inner())
    }
}
