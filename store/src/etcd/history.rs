//! Looking back, beyond what compaction lets clients read: none of etcd's services. Answers come in pages, bounded in bytes
//! and in keys that are looked at.

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::ResponseHeader;
use proto::history as api;
use proto::history::moment::At;
use tonic::{Request, Response, Status};

use crate::api::Revision;
use crate::etcd::caller::{Credentials, refused};
use crate::etcd::{Front, status};
use crate::machine::codec;
use crate::machine::permission::{Access, may};
use crate::machine::record::Record;
use crate::{Error, View};

/// Bytes of keys and values in a page, about.
const PAGE_BYTES: usize = 1 << 20;
/// Keys that are looked at for a page.
const PAGE_KEYS: usize = 10_000;
/// Changes in a page.
const CHANGES_MAX: i64 = 1000;

/// See the module.
pub(super) struct History {
    pub(super) front: Front,
}

/// Of an answer: which member, and the newest revision it knew.
type Header = Option<ResponseHeader>;

/// PURE: the revision that is meant.
///
/// # Errors
/// When it is not kept, or still to come.
fn revision(view: &View, moment: Option<api::Moment>) -> Result<Revision, Status> {
    match moment.and_then(|moment| moment.at) {
        None => Ok(view.revision()),
        Some(At::Revision(revision)) => view.kept(revision).map_err(refused),
        Some(At::TimeMs(time)) => view.revision_at(time.div_euclid(1000)).map_err(refused),
    }
}

/// PURE: what is found for the keys of a range, until a page is full, and where the next one begins.
fn page<T: Message>(
    view: &View,
    (key, end): (&[u8], &[u8]),
    limit: usize,
    mut found: impl FnMut(&[u8]) -> Option<T>,
) -> (Vec<T>, Bytes) {
    let (from, to) = codec::bounds(key, end);
    let (mut page, mut bytes, mut looked) = (Vec::new(), 0, 0);
    for key in view.keys(&from, to.as_deref()) {
        if page.len() == limit || bytes >= PAGE_BYTES || looked == PAGE_KEYS {
            return (page, key);
        }
        looked += 1;
        if let Some(one) = found(&key) {
            bytes += one.encoded_len();
            page.push(one);
        }
    }
    (page, Bytes::new())
}

impl History {
    /// A picture of everything up to now, for one who may read a range; what is made of it is made off the runtime's
    /// threads.
    async fn look<T: Send + 'static>(
        &self,
        credentials: &Credentials,
        (key, end): (Bytes, Bytes),
        make: impl FnOnce(&View, (&[u8], &[u8]), Header) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        self.front.store.barrier().await.map_err(status)?;
        let seen = self.front.read(credentials, |auth, caller| may(auth, caller, Access::Read, &key, &end)).await?;
        let view = self.front.store.view();
        let header = self.front.store.header(view.revision());
        let made = crate::edge::blocking(move || make(&view, (&key, &end), header));
        let made = made.await.map_err(|error| status(Error::Stopped(error.to_string())))?;
        self.front.unchanged(seen)?;
        made.map(Response::new)
    }
}

#[tonic::async_trait]
impl api::history_server::History for History {
    async fn window(&self, request: Request<api::WindowRequest>) -> Result<Response<api::WindowResponse>, Status> {
        self.front.known(&Credentials::of(&request)).await?;
        self.front.store.barrier().await.map_err(status)?;
        let view = self.front.store.view();
        let window = view.window();
        Ok(Response::new(api::WindowResponse {
            header: self.front.store.header(view.revision()),
            oldest_revision: window.oldest,
            oldest_time_ms: window.begin.map_or(0, |second| second.saturating_mul(1000)),
            compacted_revision: view.header().compacted,
        }))
    }

    async fn range(&self, request: Request<api::RangeRequest>) -> Result<Response<api::RangeResponse>, Status> {
        let credentials = Credentials::of(&request);
        let api::RangeRequest { key, range_end, at, limit } = request.into_inner();
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        self.look(&credentials, (key, range_end), move |view, bounds, header| {
            let revision = revision(view, at)?;
            let (kvs, next_key) = page(view, bounds, limit, |key| view.then(key, revision).and_then(Record::alive));
            Ok(api::RangeResponse { header, revision, kvs, next_key })
        })
        .await
    }

    async fn changes(&self, request: Request<api::ChangesRequest>) -> Result<Response<api::ChangesResponse>, Status> {
        let credentials = Credentials::of(&request);
        let api::ChangesRequest { key, until, limit } = request.into_inner();
        let limit = usize::try_from(if limit > 0 { limit.min(CHANGES_MAX) } else { CHANGES_MAX }).unwrap_or(1);
        self.look(&credentials, (key, Bytes::new()), move |view, (key, _), header| {
            let mut found = view.changes(key, revision(view, until)?, limit);
            let (all, mut bytes) = (found.len(), 0);
            let fits = found.iter().position(|record| {
                let before = bytes;
                bytes += record.kv.encoded_len();
                before >= PAGE_BYTES
            });
            found.truncate(fits.unwrap_or(all));
            let more = found.len() < all || all == limit;
            let changes = found.into_iter().map(|record| {
                let second = view.second_of(record.kv.mod_revision).unwrap_or(0);
                api::Change { deleted: record.deleted, time_ms: second.saturating_mul(1000), kv: Some(record.kv) }
            });
            Ok(api::ChangesResponse { header, changes: changes.collect(), more })
        })
        .await
    }

    async fn diff(&self, request: Request<api::DiffRequest>) -> Result<Response<api::DiffResponse>, Status> {
        let credentials = Credentials::of(&request);
        let api::DiffRequest { key, range_end, from, to } = request.into_inner();
        self.look(&credentials, (key, range_end), move |view, bounds, header| {
            let (from, to) = (revision(view, from)?, revision(view, to)?);
            let (differences, next_key) = page(view, bounds, usize::MAX, |key| {
                let at = |revision| view.then(key, revision).and_then(Record::alive);
                let (before, after) = (at(from), at(to));
                (before != after).then_some(api::Difference { before, after })
            });
            Ok(api::DiffResponse { header, from_revision: from, to_revision: to, differences, next_key })
        })
        .await
    }
}
