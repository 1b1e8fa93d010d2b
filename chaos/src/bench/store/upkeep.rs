//! What puts feel of what goes on beside them, and what they leave in memory.

use std::time::{Duration, Instant};

use anyhow::Context;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::bench::figures::Latencies;
use crate::bench::probe;
use crate::bench::runtime;
use crate::bench::store::members::Members;
use crate::bench::store::{Pair, puts};

/// Puts under way.
const CLIENTS: usize = 128;
/// Between compactions, each of everything but the newest.
const COMPACT_EVERY: Duration = Duration::from_secs(1);
/// Puts of the case `memory`.
const PUTS: usize = 267_000;

/// Compacts and takes snapshots until told to end; how many of each.
async fn upkeep(channel: Channel, stop: CancellationToken) -> anyhow::Result<(usize, usize)> {
    let (mut kv, mut maintenance) = (KvClient::new(channel.clone()), MaintenanceClient::new(channel));
    let (mut compactions, mut snapshots, mut last) = (0, 0, 0);
    let mut tick = tokio::time::interval(COMPACT_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return Ok((compactions, snapshots)),
        }
        let get = pb::RangeRequest { key: "/bench/ready".into(), ..Default::default() };
        let now = kv.range(get).await?.into_inner().header.context("a header")?.revision;
        if now > last {
            // The same revision twice is an error, and nothing may have been written since.
            kv.compact(pb::CompactionRequest { revision: now, physical: false }).await?;
            (last, compactions) = (now, compactions + 1);
        }
        let mut parts = maintenance.snapshot(pb::SnapshotRequest {}).await?.into_inner();
        while parts.message().await?.is_some() {}
        snapshots += 1;
    }
}

/// The p99 of puts. Units: milliseconds.
fn calm(members: &Members, name: &str, length: Duration) -> anyhow::Result<f64> {
    let taken = puts::load(members, &format!("/bench/{name}"), CLIENTS, Instant::now() + length)?;
    Ok(Latencies::new(taken).percentile(99))
}

fn disturbed(members: &Members, name: &str, length: Duration) -> anyhow::Result<(f64, (usize, usize))> {
    let runtime = runtime()?;
    let channel = {
        let _inside = runtime.enter();
        members.channels()?.remove(0).1
    };
    let stop = CancellationToken::new();
    let beside = runtime.spawn(upkeep(channel, stop.clone()));
    let p99 = calm(members, name, length);
    stop.cancel();
    let done = runtime.block_on(beside)?;
    Ok((p99?, done?))
}

/// The rounds.
pub(super) fn run(pair: &mut Pair<'_>) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(1)?;
    let length = 2 * pair.length();
    let mut rows = [(); 2].map(|()| (Vec::new(), Vec::new()));
    for round in 0..pair.rounds() {
        pair.note(round);
        for (of, members) in [(0, &ours), (1, &etcd)] {
            rows[of].0.push(calm(members, &format!("calm{round}"), length)?);
            let (p99, (compactions, snapshots)) = disturbed(members, &format!("disturbed{round}"), length)?;
            rows[of].1.push(p99);
            pair.say(&format!("{compactions} compactions, {snapshots} snapshots of {}", ["ours", "etcd's"][of]));
        }
    }
    let [ours, etcd] = rows;
    pair.row("128 clients", "p99 ms", ours.0, etcd.0);
    pair.row("128 clients and upkeep", "p99 ms", ours.1, etcd.1);
    Ok(())
}

/// Resident memory of one member after so many puts; measured once, since it is about what stays.
pub(super) fn memory(pair: &mut Pair<'_>) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(1)?;
    pair.note(0);
    let mut resident = Vec::new();
    for members in [&ours, &etcd] {
        puts::writer_of(&members.addresses()[0], "/bench/memory", CLIENTS, PUTS)?;
        resident.push(vec![probe::memory(&members.pids())]);
    }
    let etcd = resident.pop().unwrap_or_default();
    pair.row("267000 puts", "memory MiB", resident.pop().unwrap_or_default(), etcd);
    Ok(())
}
