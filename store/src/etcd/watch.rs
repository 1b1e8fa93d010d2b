//! Many watches over one stream: a task each, all answering into one bounded queue, so that order holds.

use std::collections::HashMap;
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::api::{Revision, WatchBatch, WatchError, WatchSpec};
use crate::etcd::Front;
use crate::etcd::caller::Credentials;
use crate::machine::permission::{Access, may};
use crate::{Store, Watcher};

/// Answers waiting for a slow client; a full queue holds its watches back, which then read the history.
const QUEUE_MAX: usize = 128;
/// Watches of one stream at most.
const WATCHES_MAX: usize = 10_000;
/// Bytes of keys and values per answer when a client takes fragments.
const FRAGMENT_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Watch {
    pub(super) front: Front,
}

type Answers = mpsc::Sender<Result<pb::WatchResponse, Status>>;

#[tonic::async_trait]
impl pb::watch_server::Watch for Watch {
    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, queue) = mpsc::channel(QUEUE_MAX);
        let (front, store, progress) = (self.front.clone(), self.front.store.clone(), self.front.options.progress);
        let credentials = Credentials::of(&request);
        let session = Session {
            front,
            credentials,
            store,
            progress,
            answers,
            watches: HashMap::new(),
            tasks: JoinSet::new(),
            next_id: 0,
        };
        self.front.store.track(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

struct Session {
    front: Front,
    credentials: Credentials,
    store: Store,
    progress: Duration,
    answers: Answers,
    /// To each watch: somebody wants to know how far it is.
    watches: HashMap<i64, mpsc::Sender<oneshot::Sender<Revision>>>,
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
                    if let Ok(id) = ended { self.watches.remove(&id); }
                }
                () = self.answers.closed() => return,
            }
        }
    }

    /// False when the client is gone.
    async fn take(&mut self, request: Option<RequestUnion>) -> bool {
        match request {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => {
                if self.watches.remove(&request.watch_id).is_none() {
                    return true;
                }
                let answer = pb::WatchResponse { watch_id: request.watch_id, canceled: true, ..Default::default() };
                self.say(answer, self.store.revision()).await
            }
            Some(RequestUnion::ProgressRequest(_)) => self.progress().await,
            None => true,
        }
    }

    async fn say(&self, mut answer: pb::WatchResponse, revision: Revision) -> bool {
        answer.header = self.store.header(revision);
        self.answers.send(Ok(answer)).await.is_ok()
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) -> bool {
        let revision = self.store.revision();
        if let Some(cancel_reason) = self.denied(&request).await {
            let answer =
                pb::WatchResponse { watch_id: -1, created: true, canceled: true, cancel_reason, ..Default::default() };
            return self.say(answer, revision).await;
        }
        let id = if request.watch_id == 0 { self.free_id() } else { request.watch_id };
        let refusal = if self.watches.contains_key(&id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else if self.watches.len() >= WATCHES_MAX {
            Some("etcdserver: too many watches in this stream")
        } else {
            None
        };
        if let Some(reason) = refusal {
            let cancel_reason = reason.to_owned();
            let answer =
                pb::WatchResponse { watch_id: -1, created: true, canceled: true, cancel_reason, ..Default::default() };
            return self.say(answer, revision).await;
        }
        let created = pb::WatchResponse { watch_id: id, created: true, ..Default::default() };
        if !self.say(created, revision).await {
            return false;
        }
        let spec = WatchSpec {
            // An empty key means the first one that there can be.
            key: if request.key.is_empty() { bytes::Bytes::from_static(&[0]) } else { request.key.clone() },
            range_end: request.range_end.clone(),
            start_revision: if request.start_revision > 0 { request.start_revision } else { revision + 1 },
            prev_kv: request.prev_kv,
        };
        let (asks, asked) = mpsc::channel(1);
        self.watches.insert(id, asks);
        let (store, answers) = (self.store.clone(), self.answers.clone());
        let one = One { id, request, store, progress: self.progress, answers, asked };
        let watcher = self.store.watch(&spec);
        self.tasks.spawn(one.run(watcher));
        true
    }

    /// Why a client may not watch a range: looked at when the watch begins, as etcd does.
    async fn denied(&self, request: &pb::WatchCreateRequest) -> Option<String> {
        // An empty key means the first one that there can be.
        let key: &[u8] = if request.key.is_empty() { &[0] } else { &request.key };
        let end = &request.range_end;
        let seen = self.front.read(&self.credentials, |auth, caller| may(auth, caller, Access::Read, key, end)).await;
        // In the words that Go puts around a status.
        seen.err().map(|why| format!("rpc error: code = {:?} desc = {}", why.code(), why.message()))
    }

    fn free_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// One answer for the whole stream, after every event up to it; nothing when a watch begins in the future.
    async fn progress(&mut self) -> bool {
        let mut reached: Option<Revision> = None;
        for asks in self.watches.values() {
            let (answer, told) = oneshot::channel();
            if asks.send(answer).await.is_ok()
                && let Ok(revision) = told.await
            {
                reached = Some(reached.map_or(revision, |least| least.min(revision)));
            }
        }
        let now = self.store.revision();
        match reached.filter(|revision| *revision <= now) {
            Some(revision) => self.say(pb::WatchResponse { watch_id: -1, ..Default::default() }, revision).await,
            None => true,
        }
    }
}

/// One watch of a stream.
struct One {
    id: i64,
    request: pb::WatchCreateRequest,
    store: Store,
    progress: Duration,
    answers: Answers,
    asked: mpsc::Receiver<oneshot::Sender<Revision>>,
}

impl One {
    async fn run(mut self, mut watcher: Watcher) -> i64 {
        let mut quiet = tokio::time::interval(self.progress);
        quiet.reset();
        loop {
            let going = tokio::select! {
                biased;
                batch = watcher.next() => {
                    quiet.reset();
                    match batch {
                        Ok(batch) => self.events(batch).await,
                        Err(error) => { self.end(&error).await; false }
                    }
                }
                asked = self.asked.recv() => match asked {
                    Some(asked) => { let _ = asked.send(watcher.synced()); true }
                    None => false,
                },
                _ = quiet.tick(), if self.request.progress_notify => {
                    let answer = pb::WatchResponse { watch_id: self.id, ..Default::default() };
                    self.say(answer, watcher.synced()).await
                }
            };
            if !going {
                return self.id;
            }
        }
    }

    async fn say(&self, mut answer: pb::WatchResponse, revision: Revision) -> bool {
        answer.header = self.store.header(revision);
        self.answers.send(Ok(answer)).await.is_ok()
    }

    async fn events(&self, batch: WatchBatch) -> bool {
        let wanted = batch.events.iter().filter(|event| self.wants(event)).map(|event| {
            let prev_kv = if self.request.prev_kv { event.prev_kv.clone() } else { None };
            Event { r#type: event.r#type, kv: event.kv.clone(), prev_kv }
        });
        let mut parts: Vec<Vec<Event>> = vec![Vec::new()];
        let mut bytes = 0;
        for event in wanted {
            let size = prost::Message::encoded_len(&event);
            if self.request.fragment && bytes + size > FRAGMENT_BYTES && bytes > 0 {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            parts.last_mut().expect("begins with one").push(event);
        }
        let last = parts.len() - 1;
        for (number, events) in parts.into_iter().enumerate().filter(|(_, events)| !events.is_empty()) {
            let answer = pb::WatchResponse { watch_id: self.id, events, fragment: number < last, ..Default::default() };
            if !self.say(answer, batch.revision).await {
                return false;
            }
        }
        true
    }

    fn wants(&self, event: &Event) -> bool {
        let without = match event.r#type() {
            EventType::Put => FilterType::Noput,
            EventType::Delete => FilterType::Nodelete,
        };
        !self.request.filters.contains(&without.into())
    }

    async fn end(&self, error: &WatchError) {
        let mut answer = pb::WatchResponse { watch_id: self.id, canceled: true, ..Default::default() };
        if let WatchError::Compacted { compact_revision } = error {
            answer.compact_revision = *compact_revision;
            answer.cancel_reason = "etcdserver: mvcc: required revision has been compacted".to_owned();
        }
        self.say(answer, self.store.revision()).await;
    }
}
