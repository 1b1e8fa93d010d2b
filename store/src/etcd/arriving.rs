//! Requests that have begun to arrive: what lies in memory of them is bounded, whoever sends them and however slowly.
//!
//! One request is as long as a message may be; a client has thousands of calls under way. Beyond what all may have
//! together, a connection has room for one request of the largest size and no more: others are let in.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;

/// Of all requests together, bytes.
const TOGETHER_MAX: usize = 128 << 20;
/// Requests are not counted below this.
const SMALL_BYTES: usize = 16 << 10;

/// What one connection has of requests that arrive, and what all have.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) connection: Arc<AtomicUsize>,
    pub(super) all: Arc<AtomicUsize>,
    /// What a connection may have whatever others have.
    pub(super) fair: usize,
}

impl Room {
    /// Takes room for so many bytes; false when there is none.
    fn take(&self, bytes: usize) -> bool {
        let connection = self.connection.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        all <= TOGETHER_MAX || connection <= self.fair
    }

    fn give_back(&self, bytes: usize) {
        self.connection.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The body of a request with one message, counted until it is dropped.
pub(super) struct Arriving<B = Incoming> {
    body: B,
    /// None: it is a stream, whose messages are taken off one by one.
    room: Option<Room>,
    arrived: usize,
    counted: usize,
}

impl<B> Arriving<B> {
    pub(super) fn new(body: B, room: Option<Room>) -> Self {
        Arriving { body, room, arrived: 0, counted: 0 }
    }

    fn count(&mut self, bytes: usize) -> bool {
        self.arrived += bytes;
        let Some(room) = self.room.as_ref().filter(|_| self.arrived > SMALL_BYTES) else { return true };
        let new = self.arrived - self.counted;
        self.counted = self.arrived;
        room.take(new)
    }
}

impl<B> Drop for Arriving<B> {
    fn drop(&mut self) {
        if let Some(room) = self.room.as_ref().filter(|_| self.counted > 0) {
            room.give_back(self.counted);
        }
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Status::unknown(error.to_string())))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        let bytes = frame.data_ref().map_or(0, Buf::remaining);
        Poll::Ready(Some(if self.count(bytes) {
            Ok(frame)
        } else {
            Err(Status::resource_exhausted("etcdserver: too many requests"))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// Reads a body of so many bytes, which stays in memory as long as the answer.
    fn arrive(bytes: usize, connection: &Arc<AtomicUsize>, all: &Arc<AtomicUsize>) -> Option<Arriving<Full<Bytes>>> {
        let room = Room { connection: connection.clone(), all: all.clone(), fair: 2 << 20 };
        let mut body = Arriving::new(Full::new(Bytes::from(vec![0; bytes])), Some(room));
        body.frame().now_or_never().expect("it is there").expect("a frame").is_ok().then_some(body)
    }

    #[test]
    fn whoever_takes_most_is_refused_and_others_are_not() {
        let (all, greedy, modest) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let held: Vec<_> = (0..1000).map_while(|_| arrive(1 << 20, &greedy, &all)).collect();
        assert_eq!(held.len(), TOGETHER_MAX >> 20);
        assert!(arrive(1 << 20, &greedy, &all).is_none());
        let one = arrive(2 << 20, &modest, &all).expect("another connection has its share");
        assert!(arrive(1 << 20, &modest, &all).is_none());
        assert!(arrive(1000, &greedy, &all).is_some(), "small ones do no harm");
        drop((held, one));
        assert_eq!([all, greedy, modest].map(|count| count.load(Ordering::Relaxed)), [0, 0, 0]);
    }
}
