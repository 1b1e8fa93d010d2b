//! What locks and elections are made of: keys under a name, one for each lease, the oldest of which counts.
//!
//! Everything is asked of the service of keys as the client that called would ask it, with its rights.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_server::Kv as _;
use proto::etcdserverpb::lease_server::Lease as _;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::response_op::Response as Done;
use proto::mvccpb::KeyValue;
use proto::mvccpb::event::EventType;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};

use crate::api::{Revision, WatchError, WatchSpec};
use crate::etcd::caller::Credentials;
use crate::etcd::kv::Kv;
use crate::etcd::large::TakesHanded;
use crate::etcd::lease::Lease;
use crate::machine::permission::Access;

/// Time to live of a lease for those who bring none, seconds.
const TTL: i64 = 60;

/// A client, as it called.
#[derive(Clone)]
pub(super) struct Asker {
    kv: Kv,
    metadata: MetadataMap,
    extensions: Extensions,
}

/// The errors of an inner call reach the caller with their words but without their codes, as etcd's do.
fn inner(status: &Status) -> Status {
    Status::unknown(status.message())
}

/// The revision in a header.
pub(super) fn revision(header: Option<&pb::ResponseHeader>) -> Revision {
    header.map_or(0, |header| header.revision)
}

/// The first key that an operation of a transaction found.
pub(super) fn first(txn: &pb::TxnResponse, place: usize) -> Option<&KeyValue> {
    match txn.responses.get(place)?.response.as_ref()? {
        Done::ResponseRange(range) => range.kvs.first(),
        _ => None,
    }
}

fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}

/// The oldest key under a prefix.
pub(super) fn oldest(prefix: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..pb::RangeRequest::default()
    }
}

/// Whether a key is still the one that was created at a revision; 0: that there is none.
pub(super) fn still(key: &Bytes, created: Revision) -> pb::Compare {
    let (target, target_union) = (CompareTarget::Create.into(), Some(TargetUnion::CreateRevision(created)));
    pb::Compare { target, target_union, key: key.clone(), ..pb::Compare::default() }
}

pub(super) fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

impl Asker {
    pub(super) fn new<T>(kv: &Kv, request: Request<T>) -> (Self, T) {
        let (metadata, mut extensions, message) = request.into_parts();
        // No layer takes the answers of inner calls.
        extensions.remove::<TakesHanded>();
        (Asker { kv: kv.clone(), metadata, extensions }, message)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), self.extensions.clone(), message)
    }

    pub(super) async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        self.kv.txn(self.request(request)).await.map(tonic::Response::into_inner).map_err(|error| inner(&error))
    }

    pub(super) async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        self.kv.range(self.request(request)).await.map(tonic::Response::into_inner).map_err(|error| inner(&error))
    }

    pub(super) async fn get(&self, key: &Bytes) -> Result<pb::RangeResponse, Status> {
        self.range(pb::RangeRequest { key: key.clone(), ..pb::RangeRequest::default() }).await
    }

    pub(super) async fn delete(&self, request: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Status> {
        let deleted = self.kv.delete_range(self.request(request)).await;
        deleted.map(tonic::Response::into_inner).map_err(|error| inner(&error))
    }

    /// The lease brought, kept alive once, or a new one.
    pub(super) async fn lease(&self, id: i64) -> Result<i64, Status> {
        let front = &self.kv.front;
        let credentials = Credentials::read(self.metadata.as_ref(), &self.extensions);
        let seen = front.may_use(&credentials, &[id], Access::Write).await.map_err(|error| inner(&error))?;
        front.unchanged(seen).map_err(|error| inner(&error))?;
        if id != 0 {
            // An unknown one is refused when a key is attached to it.
            let _ = self.kv.front.store.renew(id).await;
            return Ok(id);
        }
        let leases = Lease { front: self.kv.front.clone() };
        let granted = leases.lease_grant(self.request(pb::LeaseGrantRequest { ttl: TTL, id: 0 })).await;
        granted.map(|granted| granted.into_inner().id).map_err(|error| inner(&error))
    }

    /// Waits until every key under a prefix that is older than a revision is gone.
    pub(super) async fn wait_for_older(&self, prefix: &Bytes, created: Revision) -> Result<(), Status> {
        loop {
            let newest = pb::RangeRequest {
                sort_order: SortOrder::Descend.into(),
                max_create_revision: created - 1,
                ..oldest(prefix)
            };
            let found = self.range(newest).await?;
            let Some(before) = found.kvs.first() else { return Ok(()) };
            self.wait_for_deletion(&before.key, revision(found.header.as_ref())).await?;
        }
    }

    async fn wait_for_deletion(&self, key: &Bytes, start_revision: Revision) -> Result<(), Status> {
        let spec = WatchSpec { key: key.clone(), start_revision, ..WatchSpec::default() };
        let mut watcher = self.kv.front.store.watch(&spec);
        loop {
            let batch = watcher.next().await.map_err(|error| lost(&error))?;
            if batch.events.iter().any(|event| event.r#type() == EventType::Delete) {
                return Ok(());
            }
        }
    }

    /// Follows a prefix or key.
    pub(super) fn watch(&self, key: &Bytes, prefix: bool, start_revision: Revision) -> crate::Watcher {
        let range_end = if prefix { prefix_end(key) } else { Bytes::new() };
        self.kv.front.store.watch(&WatchSpec { key: key.clone(), range_end, start_revision, prev_kv: false })
    }

    pub(super) fn header(&self, revision: Revision) -> Option<pb::ResponseHeader> {
        self.kv.front.store.header(revision)
    }
}

fn lost(error: &WatchError) -> Status {
    match error {
        WatchError::Compacted { .. } => Status::unknown("etcdserver: mvcc: required revision has been compacted"),
        WatchError::Stopped => Status::unavailable("etcdserver: server stopped"),
    }
}

/// A lease's key under a name.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) prefix: Bytes,
    pub(super) key: Bytes,
    pub(super) lease: i64,
}

impl Claim {
    pub(super) fn new(name: &[u8], lease: i64) -> Self {
        let prefix = [name, b"/"].concat();
        // As Go writes a signed number in hexadecimal.
        let sign = if lease < 0 { "-" } else { "" };
        let key = [prefix.as_slice(), format!("{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat();
        Claim { prefix: prefix.into(), key: key.into(), lease }
    }

    /// Puts the key unless it is there; `otherwise` runs when it is, and its first operation must read the key.
    pub(super) fn take(&self, value: impl Into<Bytes>, otherwise: Vec<pb::RequestOp>) -> pb::TxnRequest {
        let mut success = vec![self.put(value)];
        success.extend(otherwise.iter().skip(1).cloned());
        pb::TxnRequest { compare: vec![still(&self.key, 0)], success, failure: otherwise }
    }

    pub(super) fn put(&self, value: impl Into<Bytes>) -> pb::RequestOp {
        let (key, lease) = (self.key.clone(), self.lease);
        op(Op::RequestPut(pb::PutRequest { key, value: value.into(), lease, ..pb::PutRequest::default() }))
    }

    pub(super) fn read(&self) -> pb::RequestOp {
        op(Op::RequestRange(pb::RangeRequest { key: self.key.clone(), ..pb::RangeRequest::default() }))
    }

    pub(super) fn oldest(&self) -> pb::RequestOp {
        op(Op::RequestRange(oldest(&self.prefix)))
    }

    /// When the key was created, after `take`.
    pub(super) fn created(&self, taken: &pb::TxnResponse) -> Revision {
        let found = first(taken, 0).filter(|_| !taken.succeeded);
        found.map_or_else(|| revision(taken.header.as_ref()), |kv| kv.create_revision)
    }

    /// Deletes the key when what is returned is dropped: its owner failed, or does not wait any longer.
    pub(super) fn give_up_unless_kept(&self, asker: &Asker) -> GiveUp {
        GiveUp(Some((asker.clone(), self.key.clone())))
    }
}

/// See `give_up_unless_kept`.
pub(super) struct GiveUp(Option<(Asker, Bytes)>);

impl GiveUp {
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for GiveUp {
    fn drop(&mut self) {
        let Some((asker, key)) = self.0.take() else { return };
        let store = asker.kv.front.store.clone();
        store.track(async move {
            let delete = pb::DeleteRangeRequest { key, ..pb::DeleteRangeRequest::default() };
            let _ = asker.delete(delete).await;
        });
    }
}
