//! Range, Put, DeleteRange, Txn, Compact.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message;
use proto::command::command::Request as Write;
use proto::command::outcome::Response as Answer;
use proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use crate::api::Revision;
use crate::etcd::caller::{Credentials, Seen};
use crate::etcd::large::{Handed, Large, Rows, TakesHanded, written};
use crate::etcd::{Front, check, standing, status};
use crate::machine::permission::{Access, may};
use crate::{Error, View};

/// Bytes of keys and values in a chunk of a stream, about.
const CHUNK_BYTES: usize = 256 << 10;
/// Ranges with such a limit are read on the spot.
const SMALL_LIMIT: i64 = 500;

/// See the module.
#[derive(Clone)]
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

    /// What a range is answered from, the newest revision, which its header names, and under which auth store all that
    /// was allowed.
    async fn picture(
        &self,
        credentials: &Credentials,
        request: &pb::RangeRequest,
    ) -> Result<(View, Revision, Seen), Status> {
        let store = &self.front.store;
        if !request.serializable {
            store.barrier().await.map_err(status)?;
        }
        let (key, end) = (&request.key, &request.range_end);
        let seen = self.front.read(credentials, |auth, caller| may(auth, caller, Access::Read, key, end)).await?;
        let now = store.view();
        let revision = now.revision();
        let view = if request.revision > 0 { store.view_at(request.revision).map_err(status)? } else { now };
        Ok((view, revision, seen))
    }

    /// The body goes out as it is read: the layer around the services writes it.
    async fn range_as_read(
        &self,
        request: pb::RangeRequest,
        view: View,
        now: Revision,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let header = self.front.store.header(now);
        let small = request.limit > 0 && request.limit <= SMALL_LIMIT;
        let large = if small {
            Large::new(view, &request, header)?
        } else {
            // Reads everything once: off the runtime's threads.
            let measured = crate::edge::blocking(move || Large::new(view, &request, header));
            measured.await.map_err(|error| Status::internal(error.to_string()))??
        };
        let mut response = Response::new(pb::RangeResponse::default());
        response.extensions_mut().insert(Handed::new(large));
        Ok(response)
    }

    /// What must be sorted or picked from is put together first, within what memory there is for that.
    async fn range_together(
        &self,
        request: pb::RangeRequest,
        view: View,
        now: Revision,
        handed: bool,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let header = self.front.store.header(now);
        if request.range_end.is_empty() || request.count_only {
            let range = view.range(&request.key, &request.range_end);
            let mut answer = if request.count_only {
                let count = i64::try_from(view.count(&request.key, &request.range_end)).unwrap_or(i64::MAX);
                pb::RangeResponse { count, ..pb::RangeResponse::default() }
            } else {
                crate::machine::range::answer(&request, range)
            };
            answer.header = header;
            return Ok(Response::new(answer));
        }
        let (measured, wanted) = (view.clone(), request.clone());
        let bytes = crate::edge::blocking(move || measured.bytes(&wanted.key, &wanted.range_end));
        let held = self.front.budget.hold(bytes.await.map_err(|error| Status::internal(error.to_string()))?).await?;
        let answered = crate::edge::blocking(move || {
            let answer = crate::machine::range::answer(&request, view.range(&request.key, &request.range_end));
            let answer = pb::RangeResponse { header, ..answer };
            match held.filter(|_| handed) {
                None => Ok((answer, None)),
                Some(held) => Large::kept(answer, held).map(|large| (pb::RangeResponse::default(), Some(large))),
            }
        });
        let (answer, large) = answered.await.map_err(|error| Status::internal(error.to_string()))??;
        let mut response = Response::new(answer);
        if let Some(large) = large {
            response.extensions_mut().insert(Handed::new(large));
        }
        Ok(response)
    }
}

macro_rules! write {
    ($self:ident, $caller:ident, $variant:ident, $request:expr) => {{
        let request = $request;
        crate::etcd::check::size(&request, $self.front.options.request_bytes_max).map_err(Status::invalid_argument)?;
        match $self.front.store.write_for($caller, Write::$variant(request)).await.map_err(status)? {
            Answer::$variant(mut response) => {
                $self.front.store.sign(&mut response.header);
                Ok(Response::new(response))
            }
            _ => Err(status(Error::Unknown)),
        }
    }};
}
pub(super) use write;

#[tonic::async_trait]
impl pb::kv_server::Kv for Kv {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let handed = request.extensions().get::<TakesHanded>().is_some();
        let request = request.into_inner();
        if !request.serializable && self.front.store.learns() {
            return Err(standing::learner());
        }
        check::range(&request).map_err(Status::invalid_argument)?;
        let (view, now, seen) = self.picture(&credentials, &request).await?;
        let response = if handed && written(&request) {
            self.range_as_read(request, view, now).await
        } else {
            self.range_together(request, view, now, handed).await
        };
        self.front.unchanged(seen)?;
        response
    }

    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let credentials = Credentials::of(&request);
        let request = request.into_inner();
        check::range(&request).map_err(Status::invalid_argument)?;
        check::stream(&request).map_err(Status::unimplemented)?;
        let (view, now, seen) = self.picture(&credentials, &request).await?;
        self.front.unchanged(seen)?;
        let header = self.front.store.header(now);
        if request.count_only {
            let count = i64::try_from(view.count(&request.key, &request.range_end)).unwrap_or(i64::MAX);
            let range_response = Some(pb::RangeResponse { header, count, ..pb::RangeResponse::default() });
            return Ok(Response::new(Box::pin(stream::iter([Ok(pb::RangeStreamResponse { range_response })]))));
        }
        let chunks = Chunks { rows: Some(Rows::new(view, &request)), header, count: 0 };
        Ok(Response::new(Box::pin(stream::iter(chunks))))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let caller = self.front.caller(&Credentials::of(&request)).await?;
        let request = request.into_inner();
        check::put(&request).map_err(Status::invalid_argument)?;
        self.guard(|prefix| request.key.starts_with(prefix))?;
        self.front.room(check::cost(&request)).await?;
        write!(self, caller, Put, request)
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let caller = self.front.caller(&credentials).await?;
        let handed = request.extensions().get::<TakesHanded>().is_some();
        let request = request.into_inner();
        check::delete(&request).map_err(Status::invalid_argument)?;
        self.guard(|prefix| check::deletes(&request, prefix))?;
        if request.prev_kv && !request.range_end.is_empty() {
            return self.delete_within(&credentials, caller, request, handed).await;
        }
        write!(self, caller, DeleteRange, request)
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let credentials = Credentials::of(&request);
        let handed = request.extensions().get::<TakesHanded>().is_some();
        let request = request.into_inner();
        check::txn(&request, self.front.options.txn_ops_max).map_err(Status::invalid_argument)?;
        if check::reads_only(&request) {
            return self.read_txn(&credentials, request, handed).await;
        }
        let caller = self.front.caller(&credentials).await?;
        self.guard(|prefix| check::touches(&request, prefix))?;
        self.front.room(check::txn_cost(&request)).await?;
        self.write_txn(&credentials, caller, request, handed).await
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let caller = self.front.caller(&Credentials::of(&request)).await?;
        let request = request.into_inner();
        let physical = request.physical;
        let answer = write!(self, caller, Compact, request);
        if physical {
            self.front.store.scrubbed().await.map_err(status)?;
        }
        answer
    }
}

/// A range, chunk by chunk; the last has the header and the count.
struct Chunks {
    rows: Option<Rows>,
    header: Option<pb::ResponseHeader>,
    count: usize,
}

impl Iterator for Chunks {
    type Item = Result<pb::RangeStreamResponse, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = self.rows.take()?;
        let (piece, taken) = rows.piece(CHUNK_BYTES);
        let mut chunk = match pb::RangeResponse::decode(piece.freeze()) {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(Status::internal(error.to_string()))),
        };
        self.count += taken;
        let more = rows.more();
        if !more || rows.full() {
            chunk.header = self.header.take();
            chunk.more = more;
            chunk.count = i64::try_from(self.count + rows.count()).unwrap_or(i64::MAX);
        } else {
            self.rows = Some(rows);
        }
        Some(Ok(pb::RangeStreamResponse { range_response: Some(chunk) }))
    }
}
