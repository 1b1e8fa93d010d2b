//! Many watches over one stream: a task each, all answering into one bounded queue (`answers`), so that order holds.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/watch.go`, `server/storage/mvcc/watcher.go`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Interval;
use tonic::{Request, Response, Status, Streaming};

use crate::api::{Revision, WatchBatch, WatchError, WatchSpec};
use crate::etcd::answers::{self, Answers, Going, Room};
use crate::etcd::caller::Credentials;
use crate::etcd::fragment::fragments;
use crate::etcd::{Front, OVERHEAD_BYTES};
use crate::machine::permission::{Access, may};
use crate::{Store, Watcher};

/// Watches that a stream may have whatever others have.
const FAIR: usize = 1000;
/// The id of answers that concern no watch, or all.
const NO_ID: i64 = -1;

/// See the module.
pub(super) struct Watch {
    pub(super) front: Front,
}

#[tonic::async_trait]
impl pb::watch_server::Watch for Watch {
    type WatchStream = Going;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, going) = Answers::new(&self.front.unread);
        let (front, watches, tasks) = (self.front.clone(), HashMap::new(), JoinSet::new());
        let credentials = Credentials::of(&request);
        let session = Session { front, credentials, answers, watches, tasks, next_id: 0 };
        self.front.store.track(session.run(request.into_inner()));
        Ok(Response::new(going))
    }
}

/// How a stream speaks to one of its watches.
struct Held {
    /// Somebody wants to know how far it is; dropped, it ends.
    asks: mpsc::Sender<oneshot::Sender<Option<Revision>>>,
    /// Told once it says nothing any more.
    silent: oneshot::Receiver<()>,
    _counted: Counted,
}

/// How many watches there are, over all streams: each is a task and takes memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Watching(Arc<AtomicUsize>);

/// One of them, until it is dropped.
struct Counted(Watching);

impl Watching {
    fn many(&self, most: usize) -> bool {
        self.0.load(Ordering::Relaxed) >= most
    }

    fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Session {
    front: Front,
    credentials: Credentials,
    answers: Answers,
    watches: HashMap<i64, Held>,
    tasks: JoinSet<i64>,
    next_id: i64,
}

impl Session {
    async fn run(mut self, mut requests: Streaming<pb::WatchRequest>) {
        loop {
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => if !self.take(request.request_union).await { return },
                    _ => return,
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Ok(id) = ended
                        && self.watches.get(&id).is_some_and(|held| held.asks.is_closed())
                    {
                        self.watches.remove(&id);
                    }
                }
                () = self.answers.closed() => return,
            }
        }
    }

    /// False when the client is gone.
    async fn take(&mut self, request: Option<RequestUnion>) -> bool {
        match request {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.progress().await,
            None => true,
        }
    }

    async fn say(&self, mut answer: pb::WatchResponse, revision: Revision) -> bool {
        answer.header = self.front.store.header(revision);
        self.answers.say(answer, None).await
    }

    async fn cancel(&mut self, watch_id: i64) -> bool {
        let Some(Held { asks, silent, _counted }) = self.watches.remove(&watch_id) else { return true };
        drop(asks);
        // What it was about to say comes before the answer.
        let _ = silent.await;
        let answer = pb::WatchResponse { watch_id, canceled: true, ..Default::default() };
        self.say(answer, self.front.store.revision()).await
    }

    /// Why a watch cannot be had, in etcd's words and order.
    async fn refusal(&self, key: &Bytes, request: &pb::WatchCreateRequest) -> Option<String> {
        if request.start_revision < 0 {
            return Some("etcdserver: mvcc: required revision has been compacted".to_owned());
        }
        let denied = self.denied(key, &request.range_end).await;
        denied.or_else(|| self.impossible(key, request).map(str::to_owned))
    }

    /// Why a client may not watch a range: looked at when the watch begins, as etcd does.
    async fn denied(&self, key: &Bytes, end: &Bytes) -> Option<String> {
        let seen = self.front.read(&self.credentials, |auth, caller| may(auth, caller, Access::Read, key, end)).await;
        // In the words that Go puts around a status.
        seen.err().map(|why| format!("rpc error: code = {:?} desc = {}", why.code(), why.message()))
    }

    fn impossible(&self, key: &Bytes, request: &pb::WatchCreateRequest) -> Option<&'static str> {
        let end = &request.range_end;
        if !end.is_empty() && end.as_ref() != [0] && key >= end {
            Some("mvcc: watcher range is empty")
        } else if request.watch_id != 0 && self.watches.contains_key(&request.watch_id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else if self.watches.len() >= FAIR && self.front.watching.many(self.front.options.watches_max) {
            Some("etcdserver: too many watches")
        } else {
            None
        }
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) -> bool {
        let revision = self.front.store.revision();
        // An empty key means the first one that there can be.
        let key = if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key.clone() };
        if let Some(cancel_reason) = self.refusal(&key, &request).await {
            let (created, canceled) = (true, true);
            let answer = pb::WatchResponse { watch_id: NO_ID, created, canceled, cancel_reason, ..Default::default() };
            return self.say(answer, revision).await;
        }
        let id = if request.watch_id == 0 { self.free_id() } else { request.watch_id };
        let created = pb::WatchResponse { watch_id: id, created: true, ..Default::default() };
        if !self.say(created, revision).await {
            return false;
        }
        let spec = WatchSpec {
            key,
            range_end: request.range_end.clone(),
            start_revision: if request.start_revision > 0 { request.start_revision } else { revision + 1 },
            prev_kv: request.prev_kv,
        };
        let (asks, asked) = mpsc::channel(1);
        let (told, silent) = oneshot::channel();
        self.watches.insert(id, Held { asks, silent, _counted: self.front.watching.one() });
        let one = One {
            id,
            start: request.start_revision,
            request,
            store: self.front.store.clone(),
            progress: self.front.options.progress,
            answers_bytes: self.front.options.request_bytes_max + OVERHEAD_BYTES,
            answers: self.answers.clone(),
            asked,
            spare: None,
        };
        let watcher = self.front.store.watch(&spec);
        self.tasks.spawn(async move {
            let id = one.run(watcher).await;
            let _ = told.send(());
            id
        });
        true
    }

    fn free_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// One answer for the whole stream, after every event up to it; none when there are no watches, or one begins in the
    /// future.
    async fn progress(&mut self) -> bool {
        let mut reached: Option<Revision> = None;
        for held in self.watches.values() {
            let (answer, told) = oneshot::channel();
            if held.asks.send(answer).await.is_err() {
                continue;
            }
            match told.await {
                Ok(Some(revision)) => reached = Some(reached.map_or(revision, |least| least.min(revision))),
                Ok(None) => return true,
                // It has ended meanwhile.
                Err(_) => {}
            }
        }
        match reached {
            Some(revision) => self.say(pb::WatchResponse { watch_id: NO_ID, ..Default::default() }, revision).await,
            None => true,
        }
    }
}

/// A tick of a clock, if there is one.
async fn tick(clock: &mut Option<Interval>) {
    match clock {
        Some(clock) => drop(clock.tick().await),
        None => std::future::pending().await,
    }
}

fn mod_revision(event: &Event) -> Revision {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// How many events the first revision has.
fn whole(events: &[Event]) -> usize {
    let first = events.first().map(mod_revision);
    events.iter().take_while(|event| Some(mod_revision(event)) == first).count()
}

/// One watch of a stream.
struct One {
    id: i64,
    /// The first revision wanted; 0: from now on.
    start: Revision,
    request: pb::WatchCreateRequest,
    store: Store,
    progress: Duration,
    answers_bytes: usize,
    answers: Answers,
    asked: mpsc::Receiver<oneshot::Sender<Option<Revision>>>,
    /// Room that was waited for.
    spare: Option<Room>,
}

impl One {
    async fn run(mut self, mut watcher: Watcher) -> i64 {
        let compact_revision = watcher.compacted();
        if self.start > 0 && self.start < compact_revision {
            self.end(&WatchError::Compacted { compact_revision }).await;
            return self.id;
        }
        let mut quiet = self.request.progress_notify.then(|| tokio::time::interval(self.progress));
        quiet.iter_mut().for_each(Interval::reset);
        loop {
            let going = tokio::select! {
                biased;
                asked = self.asked.recv() => match asked {
                    Some(asked) => self.told(&mut watcher, asked).await,
                    None => false,
                },
                batch = watcher.next() => {
                    quiet.iter_mut().for_each(Interval::reset);
                    self.batch(&mut watcher, batch).await
                }
                () = tick(&mut quiet) => match self.synced(&watcher) {
                    Some(revision) => {
                        let answer = pb::WatchResponse { watch_id: self.id, ..Default::default() };
                        self.say(answer, revision).await
                    }
                    None => true,
                }
            };
            if !going {
                return self.id;
            }
        }
    }

    /// Says everything that there is, then how far that is.
    async fn told(&mut self, watcher: &mut Watcher, asked: oneshot::Sender<Option<Revision>>) -> bool {
        while let Some(batch) = watcher.next().now_or_never() {
            if !self.batch(watcher, batch).await {
                return false;
            }
        }
        let _ = asked.send(self.synced(watcher));
        true
    }

    /// The revision up to which everything was said; none while the first one wanted is to come.
    fn synced(&self, watcher: &Watcher) -> Option<Revision> {
        let synced = watcher.synced();
        (synced >= self.start && synced <= self.store.revision()).then_some(synced)
    }

    async fn batch(&mut self, watcher: &mut Watcher, batch: Result<WatchBatch, WatchError>) -> bool {
        match batch {
            Ok(batch) => self.events(batch, watcher).await,
            Err(error) => {
                self.end(&error).await;
                false
            }
        }
    }

    async fn say(&self, mut answer: pb::WatchResponse, revision: Revision) -> bool {
        answer.header = self.store.header(revision);
        self.answers.say(answer, None).await
    }

    async fn events(&mut self, batch: WatchBatch, watcher: &mut Watcher) -> bool {
        let compacted = watcher.compacted();
        let mut events: Vec<Event> = batch
            .events
            .iter()
            .filter(|event| self.wants(event))
            .map(|event| {
                // What was before a compaction cannot be read any more.
                let readable = event.kv.as_ref().is_some_and(|kv| kv.mod_revision > compacted);
                let prev_kv = if self.request.prev_kv && readable { event.prev_kv.clone() } else { None };
                Event { r#type: event.r#type, kv: event.kv.clone(), prev_kv }
            })
            .collect();
        let Some(first) = events.first().map(mod_revision) else { return true };
        let (mut room, fits) = self.room(&events);
        if room.is_none() {
            let bytes = events.iter().take(whole(&events)).map(answers::bytes).sum();
            watcher.back_to(first);
            drop((batch, events));
            self.spare = self.answers.wait(bytes).await;
            return self.spare.is_some();
        }
        let mut revision = batch.revision;
        if let Some(rest) = events.get(fits) {
            let next = mod_revision(rest);
            watcher.back_to(next);
            revision = next - 1;
            events.truncate(fits);
        }
        let header = self.store.header(revision);
        let answer = pb::WatchResponse { header, watch_id: self.id, events, ..Default::default() };
        let bytes_max = if self.request.fragment { self.answers_bytes } else { usize::MAX };
        let mut parts = fragments(answer, bytes_max).into_iter().peekable();
        while let Some(part) = parts.next() {
            // Free again once the last part is gone.
            let own = room.take_if(|_| parts.peek().is_none());
            if !self.answers.say(part, own).await {
                return false;
            }
        }
        true
    }

    /// Room for as many of the first events as there is, in whole revisions; none when there is none even for the first one.
    fn room(&mut self, events: &[Event]) -> (Option<Room>, usize) {
        if let Some(spare) = self.spare.take() {
            // It was waited for by one revision.
            let (fits, _) = answers::prefix(events, spare.bytes());
            return (Some(spare), fits.max(whole(events)));
        }
        let (mut fits, mut bytes) = (events.len(), events.iter().map(answers::bytes).sum());
        let mut room = self.answers.room(bytes);
        if room.is_none() {
            (fits, bytes) = answers::prefix(events, self.answers.free());
            room = if fits > 0 { self.answers.room(bytes) } else { None };
        }
        (room, fits)
    }

    fn wants(&self, event: &Event) -> bool {
        let without = match event.r#type() {
            EventType::Put => FilterType::Noput,
            EventType::Delete => FilterType::Nodelete,
        };
        !self.request.filters.contains(&without.into())
    }

    /// Says why it ends; of compaction without a revision, as etcd does.
    async fn end(&self, error: &WatchError) {
        let mut answer = pb::WatchResponse { watch_id: self.id, canceled: true, ..Default::default() };
        if let WatchError::Compacted { compact_revision } = error {
            answer.compact_revision = *compact_revision;
        }
        self.say(answer, 0).await;
    }
}
