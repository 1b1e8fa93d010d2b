//! How long writes stop when the leader of three members is killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::bench::figures::longest_gap;
use crate::bench::peer::{self, Etcd};
use crate::bench::{Bench, remove, runtime};
use crate::scenario;
use crate::work::client;

/// Clients that write meanwhile.
const CLIENTS: usize = 16;
/// Of calm before the kill.
const BEFORE: Duration = Duration::from_secs(2);
/// Of writing after it: longer than any election.
const AFTER: Duration = Duration::from_secs(6);

/// Writes until told to end, moving on to the next member when one does not answer; notes each success.
async fn writer(channels: Arc<Vec<Channel>>, client: usize, began: Instant, stop: CancellationToken) -> Vec<Duration> {
    let (mut at, mut successes) = (client % channels.len(), Vec::new());
    while !stop.is_cancelled() {
        let put =
            pb::PutRequest { key: format!("/bench/outage/{client}").into(), value: "v".into(), ..Default::default() };
        let mut kv = KvClient::new(channels[at].clone());
        // A client that waits for a dead server measures its own patience.
        match tokio::time::timeout(Duration::from_millis(500), kv.put(put)).await {
            Ok(Ok(_)) => successes.push(began.elapsed()),
            _ => {
                at = (at + 1) % channels.len();
                let _ = tokio::time::timeout(Duration::from_millis(5), stop.cancelled()).await;
            }
        }
    }
    successes
}

/// The longest time without an acknowledged write. Units: milliseconds.
async fn outage(
    channels: Vec<(String, Channel)>,
    kill: impl FnOnce(&str) -> anyhow::Result<()> + Send,
) -> anyhow::Result<f64> {
    peer::await_writes(&channels).await?;
    let leader = client::leader(&channels).await?;
    let all = Arc::new(channels.into_iter().map(|(_, channel)| channel).collect::<Vec<_>>());
    let (began, stop) = (Instant::now(), CancellationToken::new());
    let mut writers = JoinSet::new();
    for client in 0..CLIENTS {
        writers.spawn(writer(Arc::clone(&all), client, began, stop.clone()));
    }
    tokio::time::sleep(BEFORE).await;
    let killed = kill(&leader);
    tokio::time::sleep(AFTER).await;
    stop.cancel();
    let successes: Vec<Duration> = writers.join_all().await.into_iter().flatten().collect();
    killed?;
    let after = successes.iter().filter(|at| **at > BEFORE).count();
    anyhow::ensure!(after > CLIENTS, "writes never went on");
    Ok(longest_gap(successes))
}

/// Kills leaders of ours and of etcd in turn.
pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds {
        let cluster = Mutex::new(bench.servers("outage", 3, &["--controllers=-*"])?);
        let runtime = runtime()?;
        // Channels are opened in a runtime.
        let _inside = runtime.enter();
        let channels = scenario::channels(&cluster.lock())?;
        let measured = runtime.block_on(outage(channels, |name| cluster.lock().process(name)?.kill()));
        remove(&cluster.lock())?;
        ours.push(measured?);
        let mut etcd = Etcd::start(&bench.folder("etcd")?, 3)?;
        let channels = etcd.channels()?;
        theirs.push(runtime.block_on(outage(channels, |name| etcd.kill(name))).context("etcd")?);
    }
    bench.row("leader killed", "writes stop, ms", ours, theirs);
    Ok(())
}
