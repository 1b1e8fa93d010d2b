//! Faults: what is done to a cluster, and the trace by which it is known that it was done.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use nix::sys::signal::Signal;
use tonic::transport::Channel;

use crate::scenario::exchange;
use crate::seed::Seed;
use crate::work::endpoints::Endpoints;
use crate::work::{client, deployment};
use crate::world::cluster::Cluster;
use crate::world::{disk, network};

/// A killed process is started again after this time.
const DEAD: Duration = Duration::from_secs(3);
/// What a silent node's pods take at most before the run is given up.
const REPLACED_LIMIT: Duration = Duration::from_secs(60);
/// Below what a member keeps free for itself.
const NEARLY_FULL_BYTES: u64 = 300 << 20;
/// Asking who leads may take so long, elections included.
const LEADER_LIMIT: Duration = Duration::from_secs(15);
/// Between two looks at what is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    LeaderKill,
    FollowerPause,
    Partition,
    PowerLoss,
    AgentKill,
    DiskFull,
    DiskError,
    Exchange,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Injected {
    pub(super) timeline: Vec<(u64, String)>,
    /// How many things were seen to have happened; without any the run proves nothing.
    pub(super) traces: usize,
    /// Since an agent was killed, until the application was whole on other nodes.
    pub(super) replaced: Option<Duration>,
}

/// Writes down what happens.
pub(super) struct Diary {
    began: Instant,
    injected: Injected,
}

impl Diary {
    pub(super) fn note(&mut self, text: String) {
        tracing::info!("{text}");
        let at = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.injected.timeline.push((at, text));
    }

    pub(super) fn trace(&mut self, seen: bool, text: &str) {
        if seen {
            self.injected.traces += 1;
            self.note(format!("seen: {text}"));
        }
    }
}

/// Looks again and again until something holds; whether it did in time.
pub(super) async fn awaited(limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let looked = async {
        let mut again = tokio::time::interval(LOOK_EVERY);
        while !holds().await {
            again.tick().await;
        }
    };
    tokio::time::timeout(limit, looked).await.is_ok()
}

async fn leader(channels: &[(String, Channel)]) -> anyhow::Result<String> {
    let mut told = Err(anyhow!("no server answered in time"));
    let asked = async || {
        told = client::leader(channels).await;
        told.is_ok()
    };
    awaited(LEADER_LIMIT, asked).await;
    told
}

/// Does it, waits, undoes it.
pub(super) async fn inject(
    fault: Fault,
    cluster: &mut Cluster,
    servers: &Endpoints,
    seed: &mut Seed,
    began: Instant,
) -> anyhow::Result<Injected> {
    let mut diary = Diary { began, injected: Injected::default() };
    let channels = &servers.all();
    let lead = leader(channels).await?;
    let hold = DEAD + Duration::from_millis(seed.below(1500));
    match fault {
        Fault::LeaderKill => kill_for(cluster, std::slice::from_ref(&lead), hold, &mut diary).await?,
        Fault::AgentKill => agent_kill(cluster, "node-1", hold, &mut diary).await?,
        Fault::PowerLoss => {
            let all: Vec<String> = cluster
                .processes
                .iter()
                .filter(|process| process.role != "engine")
                .map(|process| process.name.clone())
                .collect();
            kill_for(cluster, &all, hold, &mut diary).await?;
        }
        Fault::FollowerPause => {
            let follower = cluster.of_role("server").find(|server| server.name != lead).context("a follower")?;
            follower.signal(Signal::SIGSTOP)?;
            diary.note(format!("{} is stopped", follower.name));
            let stopped = async || {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", follower.pid)).unwrap_or_default();
                stat.contains(") T ")
            };
            // The signal is on its way for a moment.
            diary.trace(awaited(DEAD, stopped).await, &format!("{} is in state T", follower.name));
            tokio::time::sleep(hold).await;
            follower.signal(Signal::SIGCONT)?;
            diary.note(format!("{} goes on", follower.name));
        }
        Fault::Partition => partition(cluster, &lead, hold, &mut diary).await?,
        Fault::DiskFull => {
            // Half of the time the member is left room to notice, half of the time none at all.
            let left = if seed.below(2) == 0 { NEARLY_FULL_BYTES } else { 0 };
            disk_full(cluster, channels, &lead, left, hold, &mut diary).await?;
        }
        Fault::DiskError => disk_error(cluster, &lead, hold, &mut diary).await?,
        Fault::Exchange => exchange::run(cluster, servers, seed, &mut diary).await?,
    }
    let now = leader(&servers.all()).await?;
    if matches!(fault, Fault::LeaderKill | Fault::Partition | Fault::DiskError) {
        diary.trace(now != lead, &format!("{now} leads instead of {lead}"));
    }
    Ok(diary.injected)
}

async fn kill_for(cluster: &mut Cluster, names: &[String], hold: Duration, diary: &mut Diary) -> anyhow::Result<()> {
    kill(cluster, names, diary).await?;
    tokio::time::sleep(hold).await;
    start(cluster, names, diary)
}

/// Kills an agent, and starts it when its pods have run elsewhere for a while.
async fn agent_kill(cluster: &mut Cluster, node: &str, hold: Duration, diary: &mut Diary) -> anyhow::Result<()> {
    let api = deployment::connect(&cluster.kubeconfig(), None).await?;
    let names = [node.to_owned()];
    let silent = Instant::now();
    kill(cluster, &names, diary).await?;
    deployment::await_not_ready(&api, node, REPLACED_LIMIT).await?;
    diary.trace(true, &format!("{node} is not ready after {} ms", silent.elapsed().as_millis()));
    deployment::await_elsewhere(&api, node, REPLACED_LIMIT).await?;
    diary.injected.replaced = Some(silent.elapsed());
    diary.trace(true, &format!("its pods run elsewhere after {} ms", silent.elapsed().as_millis()));
    tokio::time::sleep(hold).await;
    start(cluster, &names, diary)
}

async fn kill(cluster: &Cluster, names: &[String], diary: &mut Diary) -> anyhow::Result<()> {
    for name in names {
        cluster.process(name)?.signal(Signal::SIGKILL)?;
        diary.note(format!("{name} is killed"));
    }
    for name in names {
        let process = cluster.process(name)?;
        diary.trace(awaited(DEAD, async || !process.alive()).await, &format!("{name} is gone"));
    }
    Ok(())
}

fn start(cluster: &mut Cluster, names: &[String], diary: &mut Diary) -> anyhow::Result<()> {
    for name in names {
        cluster.restart(name)?;
        diary.note(format!("{name} is started again"));
    }
    Ok(())
}

/// Fills the leader's disk until another leads or it has ended, and for a while longer.
async fn disk_full(
    cluster: &mut Cluster,
    channels: &[(String, Channel)],
    lead: &str,
    left: u64,
    hold: Duration,
    diary: &mut Diary,
) -> anyhow::Result<()> {
    let process = cluster.process(lead)?.clone();
    let dir = Path::new(&process.data_dir);
    disk::fill(dir, left).context("it has no disk of its own: that needs root and loop devices")?;
    diary.note(format!("the disk of {lead} is full but for {left} bytes"));
    let leads = async || process.alive() && leader(channels).await.is_ok_and(|now| now == lead);
    awaited(LEADER_LIMIT, async || !leads().await).await;
    diary.trace(!process.alive(), &format!("{lead} has ended"));
    diary.trace(leader(channels).await? != lead, &format!("{lead} does not lead any more"));
    tokio::time::sleep(hold).await;
    disk::empty(dir)?;
    diary.note(format!("the disk of {lead} has room"));
    if process.alive() { Ok(()) } else { start(cluster, &[lead.to_owned()], diary) }
}

/// Fails one sync of the leader's log: it must end, since it cannot know any more what is on disk.
async fn disk_error(cluster: &mut Cluster, lead: &str, hold: Duration, diary: &mut Diary) -> anyhow::Result<()> {
    std::fs::write(disk::trigger(&cluster.dir, lead), "")?;
    diary.note(format!("the next sync of {lead}'s log fails"));
    let process = cluster.process(lead)?.clone();
    let ended = awaited(LEADER_LIMIT, async || !process.alive()).await;
    ensure!(ended, "{lead} goes on with a log whose sync failed");
    diary.trace(true, &format!("{lead} has ended"));
    tokio::time::sleep(hold).await;
    start(cluster, &[lead.to_owned()], diary)
}

async fn partition(cluster: &Cluster, lead: &str, hold: Duration, diary: &mut Diary) -> anyhow::Result<()> {
    ensure!(cluster.isolated, "a partition needs network namespaces: root, ip and nft");
    let process = cluster.process(lead)?;
    let namespace = process.namespace.as_deref().context("a namespace")?;
    let others = cluster.of_role("server").filter(|server| server.name != lead);
    let others: Vec<Ipv4Addr> = others.map(|server| server.address.parse()).collect::<Result<_, _>>()?;
    network::cut(namespace, &others)?;
    diary.note(format!("{lead} is cut off from the other servers"));
    tokio::time::sleep(hold).await;
    let dropped = network::heal(namespace)?;
    diary.note(format!("{lead} is healed"));
    diary.trace(dropped > 0, &format!("{dropped} packets were dropped"));
    Ok(())
}
