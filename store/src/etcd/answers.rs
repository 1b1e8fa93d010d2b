//! Answers that wait for the client of one stream: bounded by number and by bytes.
//!
//! Nobody keeps events for a client that does not read: whoever finds no room forgets what it has, waits, and reads it
//! again once there is room.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::Map;
use proto::etcdserverpb as pb;
use proto::mvccpb::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Answers of a stream at most.
const ANSWERS_MAX: usize = 128;
/// Bytes of events in them at most, about; what is longer waits until all before it is gone.
const BYTES_MAX: usize = 1 << 20;
/// What an event takes besides its keys and values, about.
const EVENT_BYTES: usize = 64;

/// Bytes of a queue that an answer may take.
pub(super) type Room = OwnedSemaphorePermit;

/// An answer, and the bytes that it takes of the queue.
type Waiting = (pb::WatchResponse, Option<Room>);

/// What goes out.
pub(super) type Going = Map<ReceiverStream<Waiting>, fn(Waiting) -> Result<pb::WatchResponse, Status>>;

/// Whoever answers.
#[derive(Clone)]
pub(super) struct Answers {
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

/// Bytes of events, as they lie in memory.
pub(super) fn bytes(events: &[Event]) -> usize {
    let of = |kv: &Option<proto::mvccpb::KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    events.iter().map(|event| EVENT_BYTES + of(&event.kv) + of(&event.prev_kv)).sum()
}

fn share(bytes: usize) -> u32 {
    u32::try_from(bytes.min(BYTES_MAX)).unwrap_or(u32::MAX)
}

impl Answers {
    /// A queue and what its client reads from it.
    pub(super) fn new() -> (Answers, Going) {
        let (queue, waiting) = mpsc::channel(ANSWERS_MAX);
        let room = Arc::new(Semaphore::new(BYTES_MAX));
        (Answers { queue, room }, ReceiverStream::new(waiting).map(|(answer, _)| Ok(answer)))
    }

    /// Room for so many bytes, if there is any now.
    pub(super) fn room(&self, bytes: usize) -> Option<Room> {
        self.room.clone().try_acquire_many_owned(share(bytes)).ok()
    }

    /// Waits for room; none when nobody reads any more.
    pub(super) async fn wait(&self, bytes: usize) -> Option<Room> {
        tokio::select! {
            room = self.room.clone().acquire_many_owned(share(bytes)) => room.ok(),
            () = self.queue.closed() => None,
        }
    }

    /// Says something; false when the client is gone.
    pub(super) async fn say(&self, answer: pb::WatchResponse, room: Option<Room>) -> bool {
        self.queue.send((answer, room)).await.is_ok()
    }

    /// Once nobody reads any more.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn bytes_that_wait_are_bounded_and_what_is_longer_than_all_goes_alone() {
        let (answers, mut going) = Answers::new();
        let say = |bytes| {
            let room = answers.room(bytes)?;
            answers.say(pb::WatchResponse::default(), Some(room)).now_or_never()
        };
        assert_eq!([say(BYTES_MAX / 2), say(BYTES_MAX / 2), say(1)], [Some(true), Some(true), None]);
        assert!(answers.wait(5 * BYTES_MAX).now_or_never().is_none());
        for _ in 0..2 {
            going.next().now_or_never().expect("it waits").expect("an answer").expect("an event");
        }
        let all = answers.wait(5 * BYTES_MAX).now_or_never().expect("the queue is empty");
        assert!(answers.room(1).is_none() && all.is_some());
        drop((going, all));
        assert!(answers.say(pb::WatchResponse::default(), None).now_or_never() == Some(false));
    }
}
