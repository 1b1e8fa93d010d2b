//! Puts through the etcd API: the same clients against ours and against etcd, round by round.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::bench::figures::Latencies;
use crate::bench::peer::{self, Etcd};
use crate::bench::{Bench, probe, remove, runtime};
use crate::scenario;

/// Clients at a time.
const CLIENTS: [usize; 3] = [1, 16, 128];
/// A value. Units: bytes.
const VALUE: usize = 1024;
/// Connections at most: clients share them, as the goroutines of a client library do.
const CONNECTIONS: usize = 8;

/// One measurement.
struct Measured {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
    memory_mib: f64,
}

/// A column of a measurement: what it is called, and where it lies.
type Column = (&'static str, fn(&Measured) -> f64);

const COLUMNS: &[Column] = &[
    ("puts/s", |measured| measured.rate),
    ("p50 ms", |measured| measured.p50_ms),
    ("p99 ms", |measured| measured.p99_ms),
    ("server cpu us/put", |measured| measured.cpu_us),
    ("server memory MiB", |measured| measured.memory_mib),
];

async fn writer(channel: Channel, client: usize, round: u32, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut kv = KvClient::new(channel);
    let value = Bytes::from(vec![b'v'; VALUE]);
    let mut taken = Vec::new();
    while Instant::now() < until {
        let key = format!("/bench/{round}/{client:04}/{:08}", taken.len());
        let began = Instant::now();
        kv.put(pb::PutRequest { key: key.into(), value: value.clone(), ..Default::default() }).await?;
        taken.push(began.elapsed());
    }
    Ok(taken)
}

async fn measure(
    channels: &[Channel],
    pids: &[i32],
    clients: usize,
    round: u32,
    length: Duration,
) -> anyhow::Result<Measured> {
    let (cpu, began) = (probe::cpu(pids), Instant::now());
    let mut writers = JoinSet::new();
    for client in 0..clients {
        let channel = channels[client % channels.len()].clone();
        writers.spawn(writer(channel, client, round, began + length));
    }
    let mut taken = Vec::new();
    for written in writers.join_all().await {
        taken.extend(written?);
    }
    let (elapsed, cpu) = (began.elapsed(), probe::cpu(pids) - cpu);
    let taken = Latencies::new(taken);
    let count = taken.len().max(1) as f64;
    Ok(Measured {
        rate: taken.len() as f64 / elapsed.as_secs_f64(),
        p50_ms: taken.percentile(50),
        p99_ms: taken.percentile(99),
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
        memory_mib: probe::memory(pids),
    })
}

/// Runs the rounds for so many members.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(super) fn run(bench: &mut Bench, members: u8) -> anyhow::Result<()> {
    let ours = bench.servers("puts", members, &["--controllers=-*"])?;
    let etcd = Etcd::start(&bench.folder("etcd")?, usize::from(members))?;
    println!("  beside {} without TLS; ours with TLS and client certificates", etcd.version);
    let our_pids = ours.server_pids();
    let mut results = Vec::new();
    let done = runtime()?.block_on(async {
        // Each call opens connections of its own.
        let per_member = CONNECTIONS.div_ceil(usize::from(members));
        let (mut our_channels, mut peer_channels) = (Vec::new(), Vec::new());
        for _ in 0..per_member {
            our_channels.extend(scenario::channels(&ours)?.into_iter().map(|(_, channel)| channel));
            peer_channels.extend(etcd.channels()?.into_iter().map(|(_, channel)| channel));
        }
        peer::await_writes(&etcd.channels()?).await.context("etcd")?;
        peer::await_writes(&scenario::channels(&ours)?).await?;
        let length = bench.options.measured();
        for clients in CLIENTS {
            let (mut of_ours, mut of_peer) = (Vec::new(), Vec::new());
            for round in 0..bench.options.rounds {
                of_ours.push(measure(&our_channels, &our_pids, clients, round, length).await?);
                of_peer.push(measure(&peer_channels, &etcd.pids(), clients, round, length).await.context("etcd")?);
            }
            results.push((clients, of_ours, of_peer));
        }
        anyhow::Ok(())
    });
    for (clients, of_ours, of_peer) in &results {
        for (what, figure) in COLUMNS {
            let case = format!("put, {members} members, {clients} cl.");
            bench.row(&case, what, of_ours.iter().map(figure).collect(), of_peer.iter().map(figure).collect());
        }
    }
    remove(&ours)?;
    done
}
