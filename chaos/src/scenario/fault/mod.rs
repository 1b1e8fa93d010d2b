//! Faults: what is done to a cluster, and the trace by which it is known that it was done.

mod damage;
mod disk;
mod exchange;
mod wire;

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::sys::signal::Signal;
use tonic::transport::Channel;

use crate::seed::Seed;
use crate::work::endpoints::Endpoints;
use crate::work::{client, deployment};
use crate::world::cluster::Cluster;
use crate::world::shim::{self, Number};

pub(super) use damage::Damage;
pub(super) use disk::Trouble;
pub(super) use wire::Harm;

/// A killed process is started again after this time.
const DEAD: Duration = Duration::from_secs(3);
/// What a silent node's pods take at most before the run is given up.
const REPLACED_LIMIT: Duration = Duration::from_secs(60);
/// Asking who leads may take so long, elections included.
const LEADER_LIMIT: Duration = Duration::from_secs(15);
/// Between two looks at what is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    LeaderKill,
    FollowerPause,
    PowerLoss,
    AgentKill,
    Wire(Harm),
    Disk(Trouble),
    ClockJump,
    ClockDrift,
    /// To what lies on the disk of a member that is stopped.
    Damage(Damage),
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
        Fault::Wire(harm) => wire::harm(harm, cluster, &lead, hold, seed, &mut diary).await?,
        Fault::Disk(trouble) => disk::trouble(trouble, cluster, channels, &lead, hold, seed, &mut diary).await?,
        Fault::ClockJump => {
            // An hour is longer than any lease, token or retention of the run.
            let hours = 1 + i64::try_from(seed.below(48))?;
            let hours = if seed.below(2) == 0 { hours } else { -hours };
            let jump = (Number::ClockAddsNs, hours * 3_600_000_000_000);
            clock(cluster, &lead, &[jump], &format!("jumps by {hours} h"), hold, &mut diary).await?;
        }
        Fault::ClockDrift => {
            let faster = i64::try_from(seed.below(400_000))? - 200_000;
            let drift = [(Number::ClockGainsSinceNs, 0), (Number::ClockGainsPpm, faster)];
            clock(cluster, &lead, &drift, &format!("gains {faster} us a second"), hold, &mut diary).await?;
        }
        Fault::Damage(damage) => damage::done(damage, cluster, servers, &lead, hold, seed, &mut diary).await?,
        Fault::Exchange => exchange::run(cluster, servers, seed, &mut diary).await?,
    }
    let now = leader(&servers.all()).await?;
    let deposes = [Fault::LeaderKill, Fault::Wire(Harm::Cut), Fault::Disk(Trouble::Error), Fault::Disk(Trouble::Slow)];
    if deposes.contains(&fault) {
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

/// Lets the clock of the leader be wrong for a while.
async fn clock(
    cluster: &Cluster,
    lead: &str,
    wrong: &[(Number, i64)],
    how: &str,
    hold: Duration,
    diary: &mut Diary,
) -> anyhow::Result<()> {
    for (number, value) in wrong {
        shim::tell(&cluster.dir, lead, *number, *value)?;
    }
    diary.note(format!("the clock of {lead} {how}"));
    tokio::time::sleep(hold).await;
    let read = shim::count(&cluster.dir, lead, Number::ClockRead)?;
    for (number, _) in wrong {
        shim::tell(&cluster.dir, lead, *number, 0)?;
    }
    diary.note(format!("the clock of {lead} is right again"));
    diary.trace(read > 0, &format!("it was read {read} times"));
    Ok(())
}
