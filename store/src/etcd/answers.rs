//! Answers that wait for the client of one stream: bounded by number and by bytes, and all streams' together.
//!
//! Nobody keeps events for a client that does not read: whoever finds no room forgets what it has, waits, and reads it
//! again once there is room. A stream may have a share of what is free, so that something is free however many do not read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use proto::etcdserverpb as pb;
use proto::mvccpb::Event;
use tokio::sync::{Notify, mpsc};
use tonic::Status;

/// Answers of a stream at most.
const ANSWERS_MAX: usize = 128;
/// Bytes of events in them at most, about, as long as there is plenty.
const BYTES_MAX: usize = 1 << 20;
/// Of all streams together.
const TOGETHER_MAX: usize = 64 << 20;
/// A stream may have this part of what they leave free.
const SHARE: usize = 64;
/// Whatever others have, a stream may have this much, which is less than it costs by itself; or the events of one revision,
/// which cannot be parted: nobody who reads is held up by those who do not.
const FLOOR: usize = 16 << 10;
/// What an event takes besides its keys and values, about.
const EVENT_BYTES: usize = 64;
/// Whoever waits looks again after so long at the latest: what became free may be too little for those who were told.
const AGAIN: Duration = Duration::from_millis(500);

/// What all streams have.
#[derive(Clone, Default)]
pub(super) struct Together(Arc<Pools>);

#[derive(Default)]
struct Pools {
    shared: AtomicUsize,
    freed: Notify,
}

/// What one stream has.
#[derive(Default)]
struct Mine {
    bytes: AtomicUsize,
    freed: Notify,
}

/// Bytes that an answer may take.
pub(super) struct Room {
    bytes: usize,
    /// Of what streams have together; else it is the only one of its stream.
    shared: bool,
    mine: Arc<Mine>,
    together: Together,
}

impl Room {
    /// Bytes of events that it is for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.mine.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if self.shared {
            self.together.0.shared.fetch_sub(self.bytes, Ordering::AcqRel);
        }
        self.mine.freed.notify_one();
        self.together.0.freed.notify_one();
    }
}

/// Bytes that a stream may have while all have so many.
fn share(together: usize) -> usize {
    (TOGETHER_MAX.saturating_sub(together) / SHARE).clamp(FLOOR, BYTES_MAX)
}

/// An answer, and the bytes that it takes of the queue.
type Waiting = (pb::WatchResponse, Option<Room>);

/// What goes out.
pub(super) struct Going {
    waiting: mpsc::Receiver<Waiting>,
    /// Of the answer that was taken last: it is on its way until the next one is asked for.
    out: Option<Room>,
}

impl Stream for Going {
    type Item = Result<pb::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.out = None;
        self.waiting.poll_recv(context).map(|next| {
            let (answer, room) = next?;
            self.out = room;
            Some(Ok(answer))
        })
    }
}

/// Whoever answers.
#[derive(Clone)]
pub(super) struct Answers {
    queue: mpsc::Sender<Waiting>,
    mine: Arc<Mine>,
    together: Together,
}

/// Bytes of an event, as it lies in memory.
pub(super) fn bytes(event: &Event) -> usize {
    let of = |kv: &Option<proto::mvccpb::KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    EVENT_BYTES + of(&event.kv) + of(&event.prev_kv)
}

/// How many of the first events, with how many bytes, go into so many bytes: whole revisions.
pub(super) fn prefix(events: &[Event], room: usize) -> (usize, usize) {
    let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
    let (mut fits, mut taken) = ((0, 0), 0);
    for (at, event) in events.iter().enumerate() {
        taken += bytes(event);
        if taken > room {
            break;
        }
        if events.get(at + 1).is_none_or(|next| revision(next) != revision(event)) {
            fits = (at + 1, taken);
        }
    }
    fits
}

impl Answers {
    /// A queue and what its client reads from it.
    pub(super) fn new(together: &Together) -> (Answers, Going) {
        let (queue, waiting) = mpsc::channel(ANSWERS_MAX);
        let answers = Answers { queue, mine: Arc::default(), together: together.clone() };
        (answers, Going { waiting, out: None })
    }

    /// Bytes that this stream may have more now.
    pub(super) fn free(&self) -> usize {
        share(self.together.0.shared.load(Ordering::Acquire)).saturating_sub(self.mine.bytes.load(Ordering::Acquire))
    }

    /// Room for so many bytes, if there is any now.
    pub(super) fn room(&self, bytes: usize) -> Option<Room> {
        let before = self.mine.bytes.fetch_add(bytes, Ordering::AcqRel);
        let taken = |all: usize| (before + bytes <= share(all)).then_some(all + bytes);
        let room = self.together.0.shared.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken);
        if room.is_err() {
            self.mine.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return None;
        }
        Some(self.of(bytes, true))
    }

    /// Room for events that cannot be parted: they go once nothing else of the stream waits, whatever others have.
    fn whole(&self, bytes: usize) -> Option<Room> {
        self.room(bytes).or_else(|| {
            self.mine.bytes.compare_exchange(0, bytes, Ordering::AcqRel, Ordering::Acquire).ok()?;
            Some(self.of(bytes, false))
        })
    }

    fn of(&self, bytes: usize, shared: bool) -> Room {
        Room { bytes, shared, mine: self.mine.clone(), together: self.together.clone() }
    }

    /// Waits for room for events of one revision; none when nobody reads any more.
    pub(super) async fn wait(&self, bytes: usize) -> Option<Room> {
        loop {
            if let Some(room) = self.whole(bytes) {
                // There may be more.
                self.mine.freed.notify_one();
                self.together.0.freed.notify_one();
                return Some(room);
            }
            tokio::select! {
                () = self.mine.freed.notified() => {}
                () = self.together.0.freed.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
                () = self.queue.closed() => return None,
            }
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
    use futures_util::{FutureExt, StreamExt};
    use proto::mvccpb::KeyValue;

    use super::*;

    async fn next(going: &mut Going) {
        going.next().await.expect("an answer").expect("an event");
    }

    #[tokio::test]
    async fn bytes_that_wait_are_bounded_and_what_is_longer_than_all_goes_alone() {
        let (answers, mut going) = Answers::new(&Together::default());
        let say = |bytes| answers.say(pb::WatchResponse::default(), Some(answers.room(bytes)?)).now_or_never();
        assert_eq!([say(BYTES_MAX / 2), say(BYTES_MAX / 4), say(BYTES_MAX / 2)], [Some(true), Some(true), None]);
        assert!(answers.wait(5 * BYTES_MAX).now_or_never().is_none());
        next(&mut going).await;
        next(&mut going).await;
        assert!(answers.wait(5 * BYTES_MAX).now_or_never().is_none(), "the last is on its way");
        assert!(going.next().now_or_never().is_none());
        let all = answers.wait(5 * BYTES_MAX).await.expect("the queue is empty");
        assert!(answers.room(1).is_none() && all.bytes() == 5 * BYTES_MAX);
        let waits = answers.wait(1);
        drop(all);
        assert!(waits.await.is_some());
        drop(going);
        assert!(answers.say(pb::WatchResponse::default(), None).now_or_never() == Some(false));
    }

    #[tokio::test]
    async fn streams_that_are_not_read_take_a_bounded_part_and_leave_room_for_others() {
        let together = Together::default();
        let mut deaf = Vec::new();
        for _ in 0..2048 {
            let (answers, going) = Answers::new(&together);
            // As much as it gets, in answers of a kibibyte.
            let rooms: Vec<Room> = std::iter::from_fn(|| answers.room(1024)).collect();
            deaf.push((answers, going, rooms));
        }
        let shared = || together.0.shared.load(Ordering::Relaxed);
        assert!((TOGETHER_MAX / 2..=TOGETHER_MAX + 2048 * FLOOR).contains(&shared()), "{} are taken", shared());
        let (reader, _going) = Answers::new(&together);
        assert!(reader.room(FLOOR).is_some() && reader.room(FLOOR + 1).is_none());
        for bytes in [FLOOR, 100 << 10, BYTES_MAX * 3 / 2] {
            let room = reader.wait(bytes).now_or_never().flatten().expect("events of one revision go alone");
            assert!(reader.room(1).is_none() || bytes < FLOOR, "and nothing beside them");
            drop(room);
        }
        drop(deaf);
        assert_eq!(shared(), 0);
    }

    #[test]
    fn a_batch_is_parted_between_revisions() {
        let event = |mod_revision, bytes: usize| {
            let kv = KeyValue { mod_revision, value: vec![0; bytes - EVENT_BYTES].into(), ..KeyValue::default() };
            Event { kv: Some(kv), ..Event::default() }
        };
        let events = [event(2, 100), event(3, 100), event(3, 100), event(4, 100)];
        let at = [99, 100, 299, 300, 400, 1000].map(|room| prefix(&events, room));
        assert_eq!(at, [(0, 0), (1, 100), (1, 100), (3, 300), (4, 400), (4, 400)]);
    }
}
