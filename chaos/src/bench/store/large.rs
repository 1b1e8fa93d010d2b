//! A state far larger than memory: loaded in large transactions, then read, written and started again. Ours alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::bench::figures::Latencies;
use crate::bench::probe;
use crate::bench::runtime;
use crate::bench::store::members::Members;
use crate::bench::store::wire::Connection;
use crate::bench::store::{Pair, calls, puts};
use crate::seed::Seed;

/// A key's value. Units: bytes.
const VALUE: usize = 8192;
/// Puts of a transaction: etcd's own limits are 128 of them and 1.5 MiB.
const BATCH: u64 = 128;
/// Transactions under way.
const WRITERS: u64 = 4;
/// The past of so much is let go at a time, so that the disk holds the state and little more.
const COMPACT_EVERY: u64 = 512 << 20;
/// A transaction is sent again so often at most.
const AGAIN_MAX: u32 = 100;
/// Calls under way while they are measured.
const CLIENTS: usize = 16;
/// What a request has beside its value at most. Units: bytes.
const ENVELOPE: usize = 64;
const PREFIX: &str = "/bench/large";

/// Keys are loaded in their order, as whoever moves a store loads them; then they are read and written by chance.
fn key(number: u64) -> String {
    format!("{PREFIX}/{number:012}")
}

/// One transaction, from the number of its first key on; the revision of it, and how often it had to be sent again.
async fn batch(mut kv: KvClient<Channel>, first: u64, count: u64) -> anyhow::Result<(i64, u32)> {
    let put = |number: u64| {
        // No value is like another, or compression would make the state small.
        let value = puts::value(number + 1, VALUE);
        let put = pb::PutRequest { key: key(number).into(), value: value.into(), ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestPut(put)) }
    };
    let txn = pb::TxnRequest { success: (first..first + count).map(put).collect(), ..Default::default() };
    let (mut again, mut tick) = (0, tokio::time::interval(Duration::from_millis(100)));
    loop {
        tick.tick().await;
        match kv.txn(txn.clone()).await {
            Ok(answer) => return Ok((answer.into_inner().header.context("a header")?.revision, again)),
            // A disk that is filled as fast as it can be stalls now and then; the same puts may be made twice.
            Err(status) if status.code() == Code::Unavailable && again < AGAIN_MAX => again += 1,
            Err(status) => return Err(status.into()),
        }
    }
}

/// Writes keys until there are so many, and lets go of their past; how often transactions had to be sent again.
async fn load(channel: Channel, keys: u64) -> anyhow::Result<u32> {
    let (mut writers, mut next, mut compacted) = (JoinSet::new(), 0, 0);
    let (mut newest, mut resent) = (0, 0);
    loop {
        while next < keys && (writers.len() as u64) < WRITERS {
            let count = BATCH.min(keys - next);
            writers.spawn(batch(KvClient::new(channel.clone()), next, count));
            next += count;
        }
        let Some(done) = writers.join_next().await else { break };
        let (revision, again) = done??;
        newest = newest.max(revision);
        resent += again;
        let last = next == keys && writers.is_empty();
        if (next - compacted) * VALUE as u64 >= COMPACT_EVERY || last {
            compacted = next;
            // The last one waits until the past has gone.
            let compact = pb::CompactionRequest { revision: newest, physical: last };
            KvClient::new(channel.clone()).compact(compact).await?;
        }
    }
    Ok(resent)
}

/// All files below a folder; those with several names count once. Units: MiB.
fn disk_mib(dir: &Path) -> anyhow::Result<f64> {
    let told = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(dir).output()?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let bytes: f64 = text.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).context("du tells nothing")?;
    Ok(bytes / f64::from(1 << 20))
}

/// Calls of one kind on keys by chance; how long each took.
fn sample(members: &Members, method: &str, keys: u64, length: Duration) -> anyhow::Result<Latencies> {
    let mut connection = Connection::open(&members.addresses()[0], &format!("/etcdserverpb.KV/{method}"))?;
    let (mut seed, until) = (Seed::new(1), Instant::now() + length);
    let message = |sent: usize| {
        let key = key(seed.below(keys)).into();
        if method == "Range" {
            return pb::RangeRequest { key, ..Default::default() }.encode_to_vec();
        }
        let value = puts::value(sent as u64 + keys + 1, VALUE).into();
        pb::PutRequest { key, value, ..Default::default() }.encode_to_vec()
    };
    let taken = calls::keep(&mut connection, (CLIENTS, VALUE + ENVELOPE), message, |_| Instant::now() < until)?;
    Ok(Latencies::new(taken))
}

/// One round: it takes minutes.
pub(super) fn run(pair: &mut Pair) -> anyhow::Result<()> {
    let keys = pair.options.gigabytes * 1_000_000_000 / VALUE as u64;
    let (mut members, dir) = pair.start_ours()?;
    let pids = members.pids();
    probe::forget_peak(&pids)?;
    let (began, cpu) = (Instant::now(), probe::cpu(&pids));
    let runtime = runtime()?;
    let channel = {
        let _inside = runtime.enter();
        members.channels()?.remove(0).1
    };
    let resent = runtime.block_on(load(channel, keys))?;
    drop(runtime);
    let (took, cpu) = (began.elapsed(), probe::cpu(&pids) - cpu);
    let case = format!("{} GB in {keys} keys", pair.options.gigabytes);
    let length = pair.length();
    let mut row = |what: &str, figure: f64| pair.row(&case, what, vec![figure], Vec::new());
    row("loaded, MB/s", (keys * VALUE as u64) as f64 / 1e6 / took.as_secs_f64());
    row("transactions sent again", f64::from(resent));
    row("server cpu of it, s", cpu.as_secs_f64());
    row("memory at its peak, MiB", probe::peak(&pids));
    row("memory then, MiB", probe::memory(&pids));
    row("disk then, MiB", disk_mib(&dir)?);
    for (what, method) in [("get", "Range"), ("put", "Put")] {
        let taken = sample(&members, method, keys, length)?;
        row(&format!("{what}s/s, 16 clients"), taken.len() as f64 / length.as_secs_f64());
        row(&format!("{what} p50 ms"), taken.percentile(50));
        row(&format!("{what} p99 ms"), taken.percentile(99));
    }
    row("memory after them, MiB", probe::memory(&pids));
    let began = Instant::now();
    members.start_again()?;
    row("killed, until it takes writes again, ms", began.elapsed().as_secs_f64() * 1e3);
    let taken = sample(&members, "Range", keys, length)?;
    ensure!(taken.len() > 0, "nothing is read after the start");
    row("get p99 ms then", taken.percentile(99));
    row("memory then, started again, MiB", probe::memory(&members.pids()));
    row("disk at the end, MiB", disk_mib(&dir)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_two_names_count_once() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a"), vec![7; 1 << 20]).expect("written");
        let alone = disk_mib(dir.path()).expect("told");
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).expect("linked");
        let linked = disk_mib(dir.path()).expect("told");
        assert!(alone >= 1.0 && linked < alone + 0.5, "{alone} {linked}");
    }
}
