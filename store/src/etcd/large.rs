//! Ranges written as they are read: what they come to is known before, what they hold is kept nowhere.
//!
//! A `RangeResponse` of keys in their order is made of rows as the state machine stores them. The first look measures them
//! and keeps the first few; the rest is read again, piece by piece, when the client takes it. What had to be put together
//! first goes out in pieces too: nobody else waits for one long message to be written.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use parking_lot::Mutex;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::range_request::SortTarget;
use proto::mvccpb::KeyValue;
use tonic::Status;

use crate::View;
use crate::etcd::budget::{Held, Kept};
use crate::machine::codec;
use crate::machine::range::{bare, filtered, in_order, values};

/// Bytes read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Number of `RangeResponse.kvs`, and that with its wire type.
const KVS_TAG: u32 = 2;
const KVS: u8 = (KVS_TAG as u8) << 3 | 2;

/// Whether a range can be written as it is read.
pub(super) fn written(request: &pb::RangeRequest) -> bool {
    let by_key = request.sort_target() == SortTarget::Key && in_order(request);
    !request.range_end.is_empty() && !request.count_only && by_key && !filtered(request)
}

/// Rows of a range that were not given out yet.
pub(super) struct Rows {
    view: View,
    from: Bytes,
    to: Option<Bytes>,
    left: usize,
    bare: bool,
}

/// A row as a `KeyValue` of the answer.
fn row<'a>(raw: &'a [u8], without_value: bool, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if !without_value {
        return raw;
    }
    let mut kv = KeyValue::decode(raw).unwrap_or_default();
    bare(&mut kv);
    scratch.clear();
    let _ = kv.encode(scratch);
    scratch
}

impl Rows {
    /// Of a range, up to its limit.
    pub(super) fn new(view: View, request: &pb::RangeRequest) -> Self {
        let (from, to) = codec::bounds(&request.key, &request.range_end);
        let left = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        Rows { view, from, to, left, bare: !values(request) }
    }

    /// So many bytes of them, about, as fields of a `RangeResponse`, with their number; empty at the end.
    pub(super) fn piece(&mut self, bytes: usize) -> (BytesMut, usize) {
        let (mut piece, mut taken, mut last, mut scratch) = (BytesMut::new(), 0, Vec::new(), Vec::new());
        let (left, without_value) = (self.left, self.bare);
        self.view.visit(&self.from, self.to.as_deref(), &mut |key, raw| {
            if taken == left || piece.len() >= bytes {
                return false;
            }
            let row = row(raw, without_value, &mut scratch);
            piece.put_u8(KVS);
            encode_varint(row.len() as u64, &mut piece);
            piece.put_slice(row);
            taken += 1;
            last.clear();
            last.extend_from_slice(key);
            true
        });
        if taken > 0 {
            last.push(0);
            self.from = last.into();
        }
        self.left -= taken;
        (piece, taken)
    }

    /// What is left: bytes of rows within the limit, and the number of all rows, those beyond the limit too.
    fn measure(&self) -> (usize, usize) {
        let (mut bytes, mut count, mut scratch) = (0, 0, Vec::new());
        self.view.visit(&self.from, self.to.as_deref(), &mut |_, raw| {
            if count < self.left {
                let length = row(raw, self.bare, &mut scratch).len();
                bytes += 1 + encoded_len_varint(length as u64) + length;
            }
            count += 1;
            true
        });
        (bytes, count)
    }

    /// How many there are from here on, the limit aside.
    pub(super) fn count(&self) -> usize {
        let mut count = 0;
        self.view.visit(&self.from, self.to.as_deref(), &mut |_, _| {
            count += 1;
            true
        });
        count
    }

    /// Whether there are any, the limit aside.
    pub(super) fn more(&self) -> bool {
        let mut more = false;
        self.view.visit(&self.from, self.to.as_deref(), &mut |_, _| {
            more = true;
            false
        });
        more
    }

    /// Whether the limit was reached.
    pub(super) fn full(&self) -> bool {
        self.left == 0
    }
}

fn longer() -> Status {
    Status::resource_exhausted("the answer is longer than a message: set a limit")
}

/// Where the rows of an answer come from.
enum Source {
    Read(Rows),
    Kept(Kept<std::vec::IntoIter<KeyValue>>),
    Encoded(Kept<Bytes>),
}

impl Source {
    /// So many bytes of rows, about; empty at the end, none when its reader was too slow.
    fn piece(&mut self, bytes: usize) -> Option<BytesMut> {
        match self {
            Source::Read(rows) => Some(rows.piece(bytes).0),
            Source::Kept(rows) => rows.take(|rows| {
                let mut piece = BytesMut::new();
                while piece.len() < bytes
                    && let Some(row) = rows.next()
                {
                    prost::encoding::message::encode(KVS_TAG, &row, &mut piece);
                }
                piece
            }),
            // Copied: what waits for the network does not keep all of it.
            Source::Encoded(message) => message.take(|left| BytesMut::from(&left.split_to(bytes.min(left.len()))[..])),
        }
    }
}

/// A whole answer to a range, as the body of an HTTP response.
pub(super) struct Large {
    /// What goes out next.
    ready: Option<Bytes>,
    rows: Source,
    /// Bytes of rows still to be read.
    left: usize,
    /// What ends the message.
    tail: Option<Bytes>,
    ended: bool,
}

impl Large {
    /// Measures a range; reads everything in it once.
    ///
    /// # Errors
    /// When it is longer than a message can be.
    pub(super) fn new(
        view: View,
        request: &pb::RangeRequest,
        header: Option<pb::ResponseHeader>,
    ) -> Result<Self, Status> {
        let mut rows = Rows::new(view, request);
        let (first, taken) = rows.piece(PIECE_BYTES);
        let (left, rest) = rows.measure();
        let count = taken + rest;
        let more = request.limit > 0 && i64::try_from(count).unwrap_or(i64::MAX) > request.limit;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let answer = pb::RangeResponse { header, count, more, ..pb::RangeResponse::default() };
        Large::of(answer, first, left, Source::Read(rows))
    }

    /// Of an answer that was put together, with the memory that it was promised.
    ///
    /// # Errors
    /// When it is longer than a message can be.
    pub(super) fn kept(mut answer: pb::RangeResponse, held: Held) -> Result<Self, Status> {
        let rows = std::mem::take(&mut answer.kvs);
        let left = rows.iter().map(|row| prost::encoding::message::encoded_len(KVS_TAG, row)).sum();
        Large::of(answer, BytesMut::new(), left, Source::Kept(held.keep(rows.into_iter())))
    }

    /// Of a message that was put together, with the memory that it was promised.
    ///
    /// # Errors
    /// When it is longer than a message can be.
    pub(super) fn encoded(message: Bytes, held: Held) -> Result<Self, Status> {
        let left = message.len();
        let length = u32::try_from(left).map_err(|_| longer())?;
        let mut ready = BytesMut::with_capacity(5);
        ready.put_u8(0);
        ready.put_u32(length);
        let rows = Source::Encoded(held.keep(message));
        Ok(Large { ready: Some(ready.freeze()), rows, left, tail: None, ended: false })
    }

    /// The end of an answer whose reader was too slow while others waited for its memory.
    fn cut_off(&mut self) -> Frame<Bytes> {
        (self.left, self.tail, self.ended) = (0, None, true);
        let mut trailers = HeaderMap::new();
        let words = "etcdserver: the answer was read too slowly while others waited; read less at once";
        let _ = Status::resource_exhausted(words).add_header(&mut trailers);
        Frame::trailers(trailers)
    }

    /// Of an answer without its rows, of which the first few are here and so many bytes are to come.
    fn of(answer: pb::RangeResponse, first: BytesMut, left: usize, rows: Source) -> Result<Self, Status> {
        let pb::RangeResponse { header, count, more, .. } = answer;
        let head = pb::RangeResponse { header, ..pb::RangeResponse::default() }.encode_to_vec();
        let tail = pb::RangeResponse { count, more, ..pb::RangeResponse::default() }.encode_to_vec();
        let length = u32::try_from(head.len() + first.len() + left + tail.len());
        let length = length.map_err(|_| longer())?;
        let mut ready = BytesMut::with_capacity(5 + head.len() + first.len() + tail.len());
        ready.put_u8(0);
        ready.put_u32(length);
        ready.put_slice(&head);
        ready.unsplit(first);
        let tail = if left == 0 {
            ready.put_slice(&tail);
            None
        } else {
            Some(tail.into())
        };
        Ok(Large { ready: Some(ready.freeze()), rows, left, tail, ended: false })
    }
}

impl Body for Large {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(ready) = self.ready.take() {
            return Poll::Ready(Some(Ok(Frame::data(ready))));
        }
        if self.left > 0 {
            let Some(piece) = self.rows.piece(PIECE_BYTES) else { return Poll::Ready(Some(Ok(self.cut_off()))) };
            if piece.is_empty() || piece.len() > self.left {
                return Poll::Ready(Some(Err(Status::internal("a range is not what it was when it was measured"))));
            }
            self.left -= piece.len();
            return Poll::Ready(Some(Ok(Frame::data(piece.freeze()))));
        }
        if let Some(tail) = self.tail.take() {
            return Poll::Ready(Some(Ok(Frame::data(tail))));
        }
        if std::mem::replace(&mut self.ended, true) {
            return Poll::Ready(None);
        }
        let trailers =
            HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// How a service hands an answer to the layer around it.
#[derive(Clone)]
pub(super) struct Handed(Arc<Mutex<Option<Large>>>);

impl Handed {
    pub(super) fn new(large: Large) -> Self {
        Handed(Arc::new(Mutex::new(Some(large))))
    }

    pub(super) fn take(&self) -> Option<Large> {
        self.0.lock().take()
    }
}

/// Said by that layer with each request: it is there.
#[derive(Clone, Copy)]
pub(super) struct TakesHanded;
