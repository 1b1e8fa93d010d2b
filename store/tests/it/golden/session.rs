//! A case being played: its streams, what it left running, and a clean state before it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::call::Caller;
use super::request;
use super::show::error;
use super::words::{Words, cut, number};

/// Longer than any answer takes.
const LONG: Duration = Duration::from_secs(20);
/// After so long without an answer there will be none.
const QUIET: Duration = Duration::from_millis(350);

struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: mpsc::Receiver<Result<pb::WatchResponse, Status>>,
}

pub(crate) struct Session {
    caller: Caller,
    streams: BTreeMap<String, Stream>,
    tasks: JoinSet<()>,
    waiting: BTreeMap<String, mpsc::Receiver<String>>,
}

/// Deletes what the case before left.
async fn clean(caller: &Caller) {
    let auth_base = caller.forget().await;
    let (mut kv, mut leases) = (KvClient::new(caller.channel()), LeaseClient::new(caller.channel()));
    for lease in leases.lease_leases(pb::LeaseLeasesRequest {}).await.expect("listed").into_inner().leases {
        let _ = leases.lease_revoke(pb::LeaseRevokeRequest { id: lease.id }).await;
    }
    let all = pb::DeleteRangeRequest { key: vec![0].into(), range_end: vec![0].into(), prev_kv: false };
    let header = kv.delete_range(all).await.expect("deleted").into_inner().header.expect("a header");
    let mut names = caller.names.lock();
    (names.base, names.member, names.auth_base) = (header.revision, header.member_id, auth_base);
}

impl Session {
    pub(crate) async fn begin(channel: Channel) -> Self {
        let caller = Caller::new(channel);
        clean(&caller).await;
        Session { caller, streams: BTreeMap::new(), tasks: JoinSet::new(), waiting: BTreeMap::new() }
    }

    pub(crate) async fn run(&mut self, body: &str) -> String {
        let mut text = String::new();
        for line in body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words = cut(line);
            let answer =
                tokio::time::timeout(3 * LONG, self.line(&words)).await.unwrap_or_else(|_| "TIMEOUT".to_owned());
            let _ = writeln!(text, "> {line}");
            if !answer.is_empty() {
                let _ = writeln!(text, "  {answer}");
            }
        }
        text
    }

    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }

    async fn line(&mut self, line: &[String]) -> String {
        let words = Words::new(line);
        match words.at(0) {
            "watch" => {
                let request = request::watch(&words, &self.caller.names.lock().clone());
                self.send(words.at(1), RequestUnion::CreateRequest(request)).await
            }
            "cancel" => {
                let request = pb::WatchCancelRequest { watch_id: number(words.at(2)) };
                self.send(words.at(1), RequestUnion::CancelRequest(request)).await
            }
            "progress" => self.send(words.at(1), RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await,
            "read" => self.read(words.at(1)).await,
            "events" => self.events(words.at(1), number(words.at(2))).await,
            "quiet" => self.quiet(words.at(1)).await,
            "close" => {
                self.streams.remove(words.at(1));
                String::new()
            }
            "bg" => self.background(words.at(1), line[2..].to_vec()),
            "pending" => match self.finished(words.at(1), QUIET).await {
                Some(answer) => answer,
                None => "waits".to_owned(),
            },
            "join" => self.finished(words.at(1), LONG).await.unwrap_or_else(|| "TIMEOUT".to_owned()),
            _ => self.caller.call(line).await,
        }
    }

    fn background(&mut self, name: &str, line: Vec<String>) -> String {
        let (told, telling) = mpsc::channel(1);
        let caller = self.caller.clone();
        self.tasks.spawn(async move {
            let _ = told.send(caller.call(&line).await).await;
        });
        self.waiting.insert(name.to_owned(), telling);
        String::new()
    }

    async fn finished(&mut self, name: &str, patience: Duration) -> Option<String> {
        tokio::time::timeout(patience, self.waiting.get_mut(name)?.recv()).await.ok()?
    }

    async fn send(&mut self, name: &str, request: RequestUnion) -> String {
        if !self.streams.contains_key(name) {
            let (requests, queue) = mpsc::channel(64);
            let (told, answers) = mpsc::channel(1024);
            let mut client = WatchClient::new(self.caller.channel()).max_decoding_message_size(usize::MAX);
            self.tasks.spawn(async move {
                // A server may answer the call only with its first message.
                let mut stream = match client.watch(ReceiverStream::new(queue)).await {
                    Ok(stream) => stream.into_inner(),
                    Err(status) => {
                        let _ = told.send(Err(status)).await;
                        return;
                    }
                };
                while let Some(answer) = stream.message().await.transpose() {
                    if told.send(answer).await.is_err() {
                        return;
                    }
                }
            });
            self.streams.insert(name.to_owned(), Stream { requests, answers });
        }
        let sent = self.streams[name].requests.send(pb::WatchRequest { request_union: Some(request) }).await;
        sent.map_or_else(|_| "the stream has ended".to_owned(), |()| String::new())
    }

    async fn next(&mut self, name: &str, patience: Duration) -> Option<Result<pb::WatchResponse, Status>> {
        let stream = self.streams.get_mut(name)?;
        tokio::time::timeout(patience, stream.answers.recv()).await.ok().flatten()
    }

    async fn read(&mut self, name: &str) -> String {
        match self.next(name, LONG).await {
            Some(Ok(answer)) => self.caller.names.lock().watch(&answer),
            Some(Err(status)) => error(&status),
            None => "(nothing)".to_owned(),
        }
    }

    /// So many events, however they are cut into messages.
    async fn events(&mut self, name: &str, count: i64) -> String {
        let (mut found, mut seen) = (Vec::new(), 0);
        while seen < count {
            match self.next(name, LONG).await {
                Some(Ok(answer)) => {
                    let names = self.caller.names.lock();
                    if answer.events.is_empty() {
                        found.push(names.watch(&answer));
                    }
                    for event in &answer.events {
                        found.push(format!("id={} {}", answer.watch_id, names.event(event)));
                        seen += 1;
                    }
                    drop(names);
                }
                Some(Err(status)) => return error(&status),
                None => {
                    found.push("(nothing)".to_owned());
                    break;
                }
            }
        }
        // Watches of a stream are in no order among each other.
        found.sort_by(|a, b| a.split(' ').next().cmp(&b.split(' ').next()));
        found.join("\n    ")
    }

    async fn quiet(&mut self, name: &str) -> String {
        match self.next(name, QUIET).await {
            Some(Ok(answer)) => self.caller.names.lock().watch(&answer),
            Some(Err(status)) => error(&status),
            None => "(nothing)".to_owned(),
        }
    }
}
