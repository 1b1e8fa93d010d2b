//! How long writes stop when the leader of three members is killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::bench::figures::longest_gap;
use crate::bench::runtime;
use crate::bench::store::Pair;
use crate::bench::store::members::Members;
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

fn measure(members: &mut Members) -> anyhow::Result<f64> {
    let runtime = runtime()?;
    // Channels are opened in a runtime.
    let _inside = runtime.enter();
    let channels = members.channels()?;
    runtime.block_on(outage(channels, |name| members.kill(name)))
}

/// Kills leaders of ours and of etcd in turn.
pub(super) fn run(pair: &mut Pair) -> anyhow::Result<()> {
    let (mut of_ours, mut of_etcd) = (Vec::new(), Vec::new());
    for round in 0..pair.rounds() {
        pair.note(round);
        let (mut ours, mut etcd) = pair.start(3)?;
        of_ours.push(measure(&mut ours)?);
        of_etcd.push(measure(&mut etcd).context("etcd")?);
    }
    pair.row("leader killed", "writes stop, ms", of_ours, of_etcd);
    Ok(())
}
