//! Clients of etcd's API, which note for each call how far the disk had got when they sent it and when its answer was there.

use std::sync::Arc;

use anyhow::Context;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::request_op::Request;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::crash_states::disk::Recorder;
use crate::crash_states::history::{Step, What, Written};
use crate::seed::Seed;

/// Calls that are under way at once.
const CLIENTS: u64 = 4;
/// Of all clients together.
const KEYS: u64 = 120;
/// Longer than any run.
const LEASE_SECONDS: i64 = 24 * 3600;
/// Revisions that a compaction leaves.
const KEPT: i64 = 40;

struct Client {
    number: u64,
    seed: Seed,
    disk: Arc<Recorder>,
    kv: KvClient<Channel>,
    leases: LeaseClient<Channel>,
    lease: i64,
    revision: i64,
    compacted: i64,
    written: Vec<Written>,
}

/// So many calls of clients; answers all of them.
///
/// # Errors
/// When one of them fails.
pub(crate) async fn run(
    channel: Channel,
    disk: &Arc<Recorder>,
    calls: u64,
    seed: &mut Seed,
) -> anyhow::Result<Vec<Written>> {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = Client {
            number,
            seed: seed.fork(),
            disk: disk.clone(),
            kv: KvClient::new(channel.clone()),
            leases: LeaseClient::new(channel.clone()),
            lease: 0,
            revision: 1,
            compacted: 0,
            written: Vec::new(),
        };
        clients.spawn(async move {
            for _ in 0..calls / CLIENTS {
                client.step().await?;
            }
            anyhow::Ok(client.written)
        });
    }
    let mut all = Vec::new();
    while let Some(written) = clients.join_next().await {
        all.extend(written.context("a client")??);
    }
    Ok(all)
}

impl Client {
    async fn step(&mut self) -> anyhow::Result<()> {
        let sent = self.disk.position();
        let (revision, what) = match self.seed.below(100) {
            0..70 => self.put().await?,
            70..80 => self.delete().await?,
            80..93 => self.txn().await?,
            93..96 if self.number == 0 && self.revision - KEPT > self.compacted => self.compact().await?,
            _ if self.lease == 0 => self.grant().await?,
            _ => self.revoke().await?,
        };
        let acked = self.disk.position();
        self.revision = self.revision.max(revision);
        self.written.push(Written { sent, acked, revision, what });
        Ok(())
    }

    fn key(&mut self) -> String {
        format!("/crash/{}", self.seed.below(KEYS))
    }

    fn some_put(&mut self, key: String) -> (pb::PutRequest, Step) {
        let length = if self.seed.below(20) == 0 { 24 << 10 } else { 1 + self.seed.below(3000) };
        let unit = format!("{:016x}", self.seed.next());
        let value: String = unit.chars().cycle().take(usize::try_from(length).unwrap_or(1)).collect();
        let lease = if self.seed.below(4) == 0 { self.lease } else { 0 };
        let put = pb::PutRequest { key: key.clone().into(), value: value.clone().into(), lease, ..Default::default() };
        (put, Step::Put { key, value, lease })
    }

    async fn put(&mut self) -> anyhow::Result<(i64, What)> {
        let key = self.key();
        let (request, step) = self.some_put(key);
        let answer = self.kv.put(request).await?.into_inner();
        Ok((revision(answer.header)?, What::Keys(vec![step])))
    }

    async fn delete(&mut self) -> anyhow::Result<(i64, What)> {
        let key = self.key();
        let request = pb::DeleteRangeRequest { key: key.clone().into(), ..Default::default() };
        let answer = self.kv.delete_range(request).await?.into_inner();
        // What was not there leaves no trace, and its revision is another's.
        let steps = if answer.deleted > 0 { What::Keys(vec![Step::Delete { key }]) } else { What::Compact(0) };
        Ok((revision(answer.header)?, steps))
    }

    /// Two puts of which the second depends on whether the first's key was there, and a deletion.
    async fn txn(&mut self) -> anyhow::Result<(i64, What)> {
        let (first, other, third) = (self.seed.below(40), 40 + self.seed.below(40), 80 + self.seed.below(40));
        let key = |number| format!("/crash/{number}");
        let (put, step) = self.some_put(key(first));
        let (then, then_step) = self.some_put(key(other));
        let (otherwise, otherwise_step) = self.some_put(key(other));
        let delete = pb::DeleteRangeRequest { key: key(third).into(), ..Default::default() };
        let op = |request| pb::RequestOp { request: Some(request) };
        let branch = |second| {
            let ops = [Request::RequestPut(put.clone()), Request::RequestPut(second)];
            ops.into_iter().chain([Request::RequestDeleteRange(delete.clone())]).map(op).collect()
        };
        let compare = pb::Compare {
            result: CompareResult::Greater.into(),
            target: CompareTarget::Version.into(),
            key: key(first).into(),
            target_union: Some(TargetUnion::Version(0)),
            ..Default::default()
        };
        let (success, failure) = (branch(then), branch(otherwise));
        let answer = self.kv.txn(pb::TxnRequest { compare: vec![compare], success, failure }).await?.into_inner();
        let second = if answer.succeeded { then_step } else { otherwise_step };
        Ok((revision(answer.header)?, What::Keys(vec![step, second, Step::Delete { key: key(third) }])))
    }

    async fn compact(&mut self) -> anyhow::Result<(i64, What)> {
        self.compacted = self.revision - KEPT;
        let request = pb::CompactionRequest { revision: self.compacted, physical: false };
        let answer = self.kv.compact(request).await?.into_inner();
        Ok((revision(answer.header)?, What::Compact(self.compacted)))
    }

    async fn grant(&mut self) -> anyhow::Result<(i64, What)> {
        let request = pb::LeaseGrantRequest { ttl: LEASE_SECONDS, id: 0 };
        let answer = self.leases.lease_grant(request).await?.into_inner();
        self.lease = answer.id;
        Ok((revision(answer.header)?, What::Grant(answer.id)))
    }

    async fn revoke(&mut self) -> anyhow::Result<(i64, What)> {
        let id = std::mem::take(&mut self.lease);
        let answer = self.leases.lease_revoke(pb::LeaseRevokeRequest { id }).await?.into_inner();
        Ok((revision(answer.header)?, What::Revoke(id)))
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> anyhow::Result<i64> {
    Ok(header.context("an answer without a header")?.revision)
}
