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
use crate::bench::store::puts::Work;
use crate::bench::store::{Column, Pair, puts};

/// Puts under way.
const CLIENTS: usize = 128;
/// Between compactions, each of everything but the newest, and between snapshots.
const EVERY: Duration = Duration::from_secs(1);
/// Different keys on each connection, written again and again: without older revisions there is nothing to compact.
const KEYS: usize = 5_000;
/// Puts of the case `memory`.
const PUTS: usize = 267_000;

/// What was done beside the puts.
#[derive(Default)]
struct Done {
    compactions: usize,
    snapshots: usize,
    /// Of all snapshots together.
    bytes: usize,
}

/// Compacts and takes snapshots, one after the other, until told to end.
async fn upkeep(channel: Channel, stop: CancellationToken) -> anyhow::Result<Done> {
    let (mut kv, mut maintenance) = (KvClient::new(channel.clone()), MaintenanceClient::new(channel));
    let (mut done, mut last) = (Done::default(), 0);
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return Ok(done),
        }
        let get = pb::RangeRequest { key: "/bench/ready".into(), ..Default::default() };
        let now = kv.range(get).await?.into_inner().header.context("a header")?.revision;
        if now > last {
            // The same revision twice is an error, and nothing may have been written since.
            kv.compact(pb::CompactionRequest { revision: now, physical: false }).await?;
            last = now;
            done.compactions += 1;
        }
        let mut parts = maintenance.snapshot(pb::SnapshotRequest {}).await?.into_inner();
        while let Some(part) = parts.message().await? {
            done.bytes += part.blob.len();
        }
        done.snapshots += 1;
    }
}

/// The p99 of puts. Units: milliseconds.
fn calm(members: &Members, length: Duration) -> anyhow::Result<f64> {
    let work = Work { keys: KEYS, ..Work::new("/bench/upkeep", CLIENTS) };
    Ok(Latencies::new(puts::load(members, &work, Instant::now() + length)?).percentile(99))
}

/// The same while history is compacted and snapshots are taken.
fn disturbed(members: &Members, length: Duration) -> anyhow::Result<(f64, Done)> {
    let runtime = runtime()?;
    let channel = {
        let _inside = runtime.enter();
        members.channels()?.remove(0).1
    };
    let stop = CancellationToken::new();
    let beside = runtime.spawn(upkeep(channel, stop.clone()));
    let p99 = calm(members, length);
    stop.cancel();
    let done = runtime.block_on(beside)?;
    Ok((p99?, done?))
}

/// What was measured of one side in a round.
struct Measured {
    calm: f64,
    disturbed: f64,
    done: Done,
}

const COLUMNS: &[Column<Measured>] = &[
    ("p99 ms without it", |measured| measured.calm),
    ("p99 ms with it", |measured| measured.disturbed),
    ("p99 with it over that without", |measured| measured.disturbed / measured.calm),
    ("compactions", |measured| measured.done.compactions as f64),
    ("snapshots", |measured| measured.done.snapshots as f64),
    ("snapshots' MiB", |measured| measured.done.bytes as f64 / f64::from(1 << 20)),
];

/// The rounds.
pub(super) fn run(pair: &mut Pair) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(1)?;
    let length = 2 * pair.length();
    let measure = |members: &Members| -> anyhow::Result<Measured> {
        let calm = calm(members, length)?;
        let (disturbed, done) = disturbed(members, length)?;
        Ok(Measured { calm, disturbed, done })
    };
    let (mut of_ours, mut of_etcd) = (Vec::new(), Vec::new());
    for round in 0..pair.rounds() {
        pair.note(round);
        of_ours.push(measure(&ours)?);
        of_etcd.push(measure(&etcd).context("etcd")?);
    }
    pair.rows("128 clients beside upkeep", COLUMNS, &of_ours, &of_etcd);
    Ok(())
}

/// Resident memory of one member after so many puts; measured once, since it is about what stays.
pub(super) fn memory(pair: &mut Pair) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(1)?;
    pair.note(0);
    let mut resident = Vec::new();
    for members in [&ours, &etcd] {
        Work::new("/bench/memory", CLIENTS).write(&members.addresses()[0], |sent| sent < PUTS)?;
        resident.push(vec![probe::memory(&members.pids())]);
    }
    let etcd = resident.pop().unwrap_or_default();
    pair.row("267000 puts", "memory MiB", resident.pop().unwrap_or_default(), etcd);
    Ok(())
}
