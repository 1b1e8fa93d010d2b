//! The key/value workload: clients that read, write and compare-and-write a few hot keys through etcd's API.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::history::{Call, Operation, Outcome, StateHash, Watched};
use crate::seed::Seed;
use crate::work::endpoints::Endpoints;

/// All keys of the workload lie here, outside the cluster's own.
pub(crate) const PREFIX: &str = "/chaos/";
/// The first key behind them.
const PREFIX_END: &str = "/chaos0";
/// Few keys make many conflicts.
const KEYS: u64 = 12;

/// Asks every member for its state at one revision, until all have it and compacted the same.
pub(crate) async fn hashes(
    channels: &[(String, Channel)],
    patience: Duration,
) -> anyhow::Result<BTreeMap<String, StateHash>> {
    let mut last = String::new();
    let asked = async {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            match hashes_now(channels).await {
                Ok(found) => return found,
                Err(status) => last = status.message().to_owned(),
            }
        }
    };
    let found = tokio::time::timeout(patience, asked).await;
    found.map_err(|_| anyhow::anyhow!("the members' states cannot be compared: {last}"))
}

async fn hashes_now(channels: &[(String, Channel)]) -> Result<BTreeMap<String, StateHash>, tonic::Status> {
    let revision = current_revision(channels[0].1.clone()).await?;
    let mut found = BTreeMap::new();
    for (name, channel) in channels {
        let request = pb::HashKvRequest { revision };
        let answer = MaintenanceClient::new(channel.clone()).hash_kv(request).await?.into_inner();
        let (hash, revision, compacted) = (answer.hash, answer.hash_revision, answer.compact_revision);
        found.insert(name.clone(), StateHash { hash, revision, compacted });
    }
    let mut compacted = found.values().map(|found| found.compacted);
    let first = compacted.next();
    if compacted.all(|other| Some(other) == first) {
        Ok(found)
    } else {
        Err(tonic::Status::aborted("history was compacted meanwhile"))
    }
}

/// Runs clients until `stop`; each client sticks to one server and moves to the next when a call fails.
pub(crate) async fn run(
    clients: u32,
    servers: Endpoints,
    mut seed: Seed,
    began: Instant,
    stop: CancellationToken,
) -> Vec<Operation> {
    run_reading(clients, servers, &mut seed, began, stop, false).await
}

/// As `run`; reads may be answered with what the member has (`serializable`), which checkers take for linearizable all the
/// same.
pub(crate) async fn run_reading(
    clients: u32,
    servers: Endpoints,
    seed: &mut Seed,
    began: Instant,
    stop: CancellationToken,
    serializable: bool,
) -> Vec<Operation> {
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (servers, seed, stop) = (servers.clone(), seed.fork(), stop.clone());
        tasks.spawn(async move { one_client((client, serializable), &servers, seed, began, &stop).await });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn one_client(
    (client, serializable): (u32, bool),
    servers: &Endpoints,
    mut seed: Seed,
    began: Instant,
    stop: &CancellationToken,
) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut turn = client as usize;
    let mut last_seen: BTreeMap<String, i64> = BTreeMap::new();
    while !stop.is_cancelled() {
        let call = next_call(client, operations.len(), &mut seed, &last_seen);
        let invoked_us = elapsed_us(began);
        let mut kv = KvClient::new(servers.at(turn));
        let outcome = perform(&mut kv, &call, serializable).await;
        if let Some(mod_revision) = mod_revision(&outcome) {
            last_seen.insert(call.key().to_owned(), mod_revision);
        }
        if matches!(outcome, Outcome::Refused { .. } | Outcome::Unknown { .. }) {
            turn += 1;
            // A failing server must not turn the client into a busy loop.
            let _ = tokio::time::timeout(Duration::from_millis(10), stop.cancelled()).await;
        }
        operations.push(Operation { client, call, invoked_us, returned_us: elapsed_us(began), outcome });
    }
    operations
}

pub(crate) fn elapsed_us(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn next_call(client: u32, index: usize, seed: &mut Seed, last_seen: &BTreeMap<String, i64>) -> Call {
    let key = format!("{PREFIX}{}", seed.below(KEYS));
    let value = format!("{client}-{index}");
    match seed.below(10) {
        0..=3 => Call::Get { key },
        4..=6 => Call::Put { key, value },
        _ => Call::PutIf { mod_revision: last_seen.get(&key).copied().unwrap_or(0), key, value },
    }
}

fn mod_revision(outcome: &Outcome) -> Option<i64> {
    match outcome {
        Outcome::Written { revision } => Some(*revision),
        Outcome::Seen { value, .. } => Some(value.as_ref().map_or(0, |(_, revision)| *revision)),
        _ => None,
    }
}

async fn perform(kv: &mut KvClient<Channel>, call: &Call, serializable: bool) -> Outcome {
    match call {
        Call::Get { key } => match kv.range(pb::RangeRequest { serializable, ..range(key) }).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Outcome::Seen { revision: revision(answer.header.as_ref()), value: first(&answer.kvs) }
            }
            Err(status) => failed(&status, false),
        },
        Call::Put { key, value } => match kv.put(put(key, value)).await {
            Ok(answer) => Outcome::Written { revision: revision(answer.into_inner().header.as_ref()) },
            Err(status) => failed(&status, true),
        },
        Call::PutIf { key, value, mod_revision } => match kv.txn(put_if(key, value, *mod_revision)).await {
            Ok(answer) => compared(&answer.into_inner()),
            Err(status) => failed(&status, true),
        },
    }
}

/// A write may have happened whenever the server did not say otherwise.
fn failed(status: &tonic::Status, write: bool) -> Outcome {
    let error = format!("{:?}: {}", status.code(), status.message());
    let never_proposed = status.message().contains("no leader") || status.message().contains("too many requests");
    if write && !never_proposed { Outcome::Unknown { error } } else { Outcome::Refused { error } }
}

fn compared(answer: &pb::TxnResponse) -> Outcome {
    let revision = revision(answer.header.as_ref());
    if answer.succeeded {
        return Outcome::Written { revision };
    }
    let value = answer.responses.iter().find_map(|response| match &response.response {
        Some(Response::ResponseRange(range)) => first(&range.kvs),
        _ => None,
    });
    Outcome::Seen { revision, value }
}

fn revision(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn first(kvs: &[proto::mvccpb::KeyValue]) -> Option<(String, i64)> {
    kvs.first().map(|kv| (String::from_utf8_lossy(&kv.value).into_owned(), kv.mod_revision))
}

fn range(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..pb::RangeRequest::default() }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..pb::PutRequest::default() }
}

fn put_if(key: &str, value: &str, mod_revision: i64) -> pb::TxnRequest {
    let operation = |request| pb::RequestOp { request: Some(request) };
    pb::TxnRequest {
        compare: vec![pb::Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: key.to_owned().into(),
            target_union: Some(TargetUnion::ModRevision(mod_revision)),
            ..pb::Compare::default()
        }],
        success: vec![operation(Request::RequestPut(put(key, value)))],
        failure: vec![operation(Request::RequestRange(range(key)))],
    }
}

/// Why a watch ended before it was told to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) why: String,
    /// What is compacted, if that is why.
    pub(crate) compacted: i64,
}

impl From<tonic::Status> for Ended {
    fn from(status: tonic::Status) -> Self {
        Ended { why: status.to_string(), compacted: 0 }
    }
}

/// Follows the workload's keys from `revision` on, until `stop` or until the event at `until` arrived. `arrived` is told the
/// first revision of every answer with events.
///
/// # Errors
/// When the stream breaks or the watch is cancelled: what was seen so far comes with it.
pub(crate) async fn watch(
    channel: Channel,
    revision: i64,
    until: Option<i64>,
    stop: CancellationToken,
    arrived: &(dyn Fn(i64) + Sync),
) -> (Vec<Watched>, Option<Ended>) {
    let mut seen = Vec::new();
    let error = tokio::select! {
        result = follow(channel, revision, until, &mut seen, arrived) => result.err(),
        () = stop.cancelled() => None,
    };
    (seen, error)
}

async fn follow(
    channel: Channel,
    start_revision: i64,
    until: Option<i64>,
    seen: &mut Vec<Watched>,
    arrived: &(dyn Fn(i64) + Sync),
) -> Result<(), Ended> {
    let create = pb::WatchCreateRequest {
        key: PREFIX.into(),
        range_end: PREFIX_END.into(),
        start_revision,
        progress_notify: true,
        ..pb::WatchCreateRequest::default()
    };
    let request = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let requests = futures_util::StreamExt::chain(
        futures_util::stream::once(async move { request }),
        // The request side stays open for as long as the watch is wanted.
        futures_util::stream::pending(),
    );
    let mut client = pb::watch_client::WatchClient::new(channel);
    let mut answers = client.watch(requests).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if answer.canceled {
            let why = format!("watch cancelled: {}", answer.cancel_reason);
            return Err(Ended { why, compacted: answer.compact_revision });
        }
        let before = seen.len();
        seen.extend(answer.events.iter().filter_map(watched));
        if let Some(first) = seen.get(before) {
            arrived(first.revision);
        }
        // A header names the store's newest revision, not that of the events which came with it.
        if until.is_some_and(|until| seen.last().is_some_and(|last| last.revision >= until)) {
            return Ok(());
        }
    }
    Err(Ended { why: "the server ended the stream".to_owned(), compacted: 0 })
}

fn watched(event: &proto::mvccpb::Event) -> Option<Watched> {
    let kv = event.kv.as_ref()?;
    let deleted = event.r#type() == proto::mvccpb::event::EventType::Delete;
    Some(Watched {
        revision: kv.mod_revision,
        key: String::from_utf8_lossy(&kv.key).into_owned(),
        value: (!deleted).then(|| String::from_utf8_lossy(&kv.value).into_owned()),
    })
}

/// Removes what an earlier run left: a history begins with nothing.
pub(crate) async fn clear(channel: Channel) -> Result<(), tonic::Status> {
    let all = pb::DeleteRangeRequest { key: PREFIX.into(), range_end: PREFIX_END.into(), ..Default::default() };
    KvClient::new(channel).delete_range(all).await.map(drop)
}

/// The revision of the newest write of the workload, linearizable: its keys are never deleted.
pub(crate) async fn last_write(channel: Channel) -> Result<i64, tonic::Status> {
    let mut all = range(PREFIX);
    all.range_end = PREFIX_END.into();
    let answer = KvClient::new(channel).range(all).await?.into_inner();
    Ok(answer.kvs.iter().map(|kv| kv.mod_revision).max().unwrap_or(0))
}

/// Gives the history before a revision up.
pub(crate) async fn compact(channel: Channel, revision: i64) -> Result<(), tonic::Status> {
    let request = pb::CompactionRequest { revision, ..Default::default() };
    KvClient::new(channel).compact(request).await.map(drop)
}

/// The store's revision now, linearizable.
pub(crate) async fn current_revision(channel: Channel) -> Result<i64, tonic::Status> {
    let answer = KvClient::new(channel).range(range(PREFIX)).await?;
    Ok(revision(answer.into_inner().header.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_ends_after_its_last_key() {
        let (last, stem) = (PREFIX.as_bytes()[PREFIX.len() - 1], &PREFIX[..PREFIX.len() - 1]);
        assert_eq!(PREFIX_END, format!("{stem}{}", char::from(last + 1)));
        assert!(format!("{PREFIX}zzz").as_str() < PREFIX_END);
    }

    #[test]
    fn the_same_seed_makes_the_same_calls() {
        let calls = |seed| {
            let mut seed = Seed::new(seed);
            (0..50).map(|index| next_call(1, index, &mut seed, &BTreeMap::new())).collect::<Vec<_>>()
        };
        assert_eq!(calls(3), calls(3));
        assert_ne!(calls(3), calls(4));
    }

    #[test]
    fn an_unclear_write_is_unknown_and_a_read_never_is() {
        let unclear = tonic::Status::unavailable("connection reset");
        let refused = tonic::Status::unavailable("etcdserver: no leader");
        assert!(matches!(failed(&unclear, true), Outcome::Unknown { .. }));
        assert!(matches!(failed(&refused, true), Outcome::Refused { .. }));
        assert!(matches!(failed(&unclear, false), Outcome::Refused { .. }));
    }
}
