//! Scenarios: a cluster, clients, a fault, and what must hold of everything that the clients saw.

mod fault;
pub(crate) mod report;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::check::pod_once;
use crate::check::{self, Verdict};
use crate::history::{Arrival, History, Outcome};
use crate::sample;
use crate::scenario::fault::Injected;
pub(crate) use crate::scenario::table::{Over, SCENARIOS, Scenario};
use crate::seed::Seed;
use crate::work::endpoints::Endpoints;
use crate::work::follow::{TRUTH, truth, watch_all};
use crate::work::roles::{self, Role};
use crate::work::{client, containers, deployment, kv};
use crate::world::bring_up::Wanted;
use crate::world::cluster::Cluster;
use crate::world::kubeconfig;
use crate::world::layout::Place;
use crate::world::{self, bring_up};

/// Servers of a run.
const MEMBERS: u8 = 3;
/// Clients that read and write.
const CLIENTS: u32 = 16;
/// Of calm before the fault, and after it.
const CALM: Duration = Duration::from_secs(2);
/// The application is back to its size within this time after the fault.
const CONVERGED: Duration = Duration::from_secs(30);
/// A node is not ready after 3 s of silence, its pods run elsewhere 5 s later.
const REPLACED_MAX: Duration = Duration::from_secs(8);

/// What a run found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    /// What was done and what trace it left, with the time since the run began. Units: microseconds.
    pub(crate) timeline: Vec<(u64, String)>,
    /// When the fault began and ended. Units: microseconds.
    pub(crate) fault_us: (u64, u64),
    pub(crate) operations: usize,
    pub(crate) written: usize,
    pub(crate) unknown: usize,
    /// The longest time between two successful writes. Units: microseconds.
    pub(crate) outage_us: u64,
    /// After the fault until the Deployment was whole again. Units: milliseconds.
    pub(crate) converged_ms: u64,
    /// Since an agent was killed until its pods ran elsewhere. Units: milliseconds.
    pub(crate) replaced_ms: Option<u64>,
    pub(crate) verdicts: Vec<Verdict>,
    /// What members said of themselves meanwhile.
    #[serde(default)]
    pub(crate) roles: Vec<Role>,
}

impl Run {
    pub(crate) fn ok(&self) -> bool {
        self.verdicts.iter().all(Verdict::holds)
    }
}

pub(crate) fn find(name: &str) -> anyhow::Result<&'static Scenario> {
    let names = || SCENARIOS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    SCENARIOS
        .iter()
        .find(|row| row.name == name)
        .with_context(|| format!("no scenario {name:?}; there are {}", names()))
}

/// Runs a scenario on a cluster of its own in `dir`, and leaves its evidence there.
///
/// # Errors
/// When the cluster does not come up or go down, or the evidence cannot be had.
pub(crate) fn run(
    scenario: &'static Scenario,
    seed: u64,
    dir: &Path,
    binary: PathBuf,
    runtime: &str,
    over: Over,
) -> anyhow::Result<Run> {
    ensure!(scenario.over.contains(&over), "{} cannot be run over {over:?}", scenario.name);
    std::fs::create_dir_all(dir)?;
    ensure!(std::fs::read_dir(dir)?.next().is_none(), "{} is not empty: name another --dir", dir.display());
    let mut cluster = match over {
        Over::Cluster => bring_up_cluster(dir, binary, runtime)?,
        Over::Store => world::store::up(dir.join("cluster"), MEMBERS, &binary)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(observe(scenario, seed, &mut cluster));
    drop(runtime);
    let down = cluster.down();
    let (run, history) = done?;
    std::fs::write(dir.join("history.json"), serde_json::to_vec(&history)?)?;
    std::fs::write(dir.join("run.json"), serde_json::to_vec_pretty(&run)?)?;
    down.map(|()| run)
}

fn bring_up_cluster(dir: &Path, binary: PathBuf, runtime: &str) -> anyhow::Result<Cluster> {
    let wanted = Wanted {
        dir: dir.join("cluster"),
        servers: MEMBERS,
        nodes: 2,
        runtime: runtime.to_owned(),
        binary,
        server_flags: Vec::new(),
        image: runtime == "docker",
        restored: None,
        loopback: false,
        breakable: true,
    };
    bring_up::up(&wanted, &mut |line| tracing::info!("{line}"))
}

/// Lets clients work on a cluster, breaks it, and judges what they saw.
pub(crate) async fn observe(scenario: &Scenario, seed: u64, cluster: &mut Cluster) -> anyhow::Result<(Run, History)> {
    let channels = channels(cluster)?;
    let servers = Endpoints::new(channels.clone());
    if !cluster.store {
        let api = deployment::connect(&cluster.kubeconfig(), None).await?;
        deployment::create(&api, sample::IMAGE, deployment::REPLICAS).await?;
        deployment::await_ready(&api, CONVERGED).await?;
    }
    kv::clear(channels[0].1.clone()).await?;
    let start = kv::current_revision(channels[0].1.clone()).await? + 1;
    let (began, stop) = (Instant::now(), CancellationToken::new());
    let mut random = Seed::new(seed);
    let workload = kv::run(CLIENTS, servers.clone(), random.fork(), began.into(), stop.clone());
    let engines = containers::engines(cluster);
    let real = !engines.is_empty();
    let looking = containers::watch(engines, began, stop.clone());
    let arrivals = Mutex::new(BTreeMap::<String, Vec<Arrival>>::new());
    let arrived = |watcher: &str, revision| {
        let arrival = Arrival { at_us: us(began), revision };
        arrivals.lock().entry(watcher.to_owned()).or_default().push(arrival);
    };
    let watching = watch_all(&servers, start, &stop, &arrived);
    let place = cluster.dir.clone();
    let looks = roles::follow(&servers, &place, began, &stop);
    let breaking = async {
        tokio::time::sleep(CALM).await;
        let from = us(began);
        let injected = fault::inject(scenario.fault, cluster, &servers, &mut random, began).await;
        let to = us(began);
        // The store alone has no application to be whole again.
        let whole = if cluster.store { None } else { Some(settle(cluster).await) };
        tokio::time::sleep(CALM).await;
        stop.cancel();
        (injected, whole, (from, to))
    };
    let (operations, watches, roles, seen, (injected, whole, fault_us)) =
        tokio::join!(workload, watching, looks, looking, breaking);
    let injected = injected?;
    let channels = servers.all();
    let truth = truth(&channels, start).await?;
    let hashes = kv::hashes(&channels, TRUTH).await?;
    let (watches, truth) = (watches.into_iter().collect(), truth.into_iter().collect());
    let arrivals = arrivals.into_inner();
    let history = History { operations, watches, arrivals, truth, hashes, ..History::default() };
    let mut run = judge(scenario, seed, &history, injected, fault_us, whole.as_ref());
    run.roles = roles;
    // Simulated containers leave no evidence of their own.
    run.verdicts.extend(real.then(|| pod_once::check(&seen)));
    Ok((run, history))
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn us(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Waits until the application is whole, asking any server that answers.
async fn settle(cluster: &Cluster) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < CONVERGED {
        for server in cluster.of_role("server").filter(|server| server.alive()) {
            let client = deployment::connect(&cluster.kubeconfig(), Some(&server.name)).await?;
            match deployment::await_ready(&client, Duration::from_secs(5)).await {
                Ok(_) => return Ok(began.elapsed()),
                Err(error) => last = Some(error),
            }
        }
    }
    bail!("the Deployment is not whole {CONVERGED:?} after the fault: {:#}", last.context("no server")?)
}

/// A channel to the etcd API of every server.
pub(crate) fn channels(cluster: &Cluster) -> anyhow::Result<Vec<(String, Channel)>> {
    let places = (1..=cluster.servers).map(|index| cluster.layout().server(index));
    places.map(|place| Ok((place.name.clone(), channel(cluster, &place)?))).collect()
}

/// A channel to the etcd API of one.
fn channel(cluster: &Cluster, place: &Place) -> anyhow::Result<Channel> {
    if cluster.store {
        return world::store::channel(place);
    }
    let credentials = kubeconfig::read(&place.data_dir.join("admin.kubeconfig"))?;
    client::etcd_channel(&credentials, place)
}

fn judge(
    scenario: &Scenario,
    seed: u64,
    history: &History,
    injected: Injected,
    fault_us: (u64, u64),
    whole: Option<&anyhow::Result<Duration>>,
) -> Run {
    let outage_us = history.longest_write_gap_us();
    let written = history.count(|outcome| matches!(outcome, Outcome::Written { .. }));
    let mut verdicts = check::key_value(history);
    let late = (outage_us > scenario.outage_max_us)
        .then(|| format!("writes stopped for {} ms, {} are allowed", outage_us / 1000, scenario.outage_max_us / 1000));
    verdicts.push(Verdict::new("writes go on in time", written, late.into_iter().collect()));
    if let Some(replaced) = injected.replaced {
        let late = format!("they ran elsewhere after {replaced:?}, {REPLACED_MAX:?} are allowed");
        let late = (replaced > REPLACED_MAX).then_some(late);
        verdicts.push(Verdict::new("pods of a silent node are replaced in time", 1, late.into_iter().collect()));
    }
    if let Some(whole) = whole {
        let broken = whole.as_ref().err().map(|error| format!("{error:#}"));
        verdicts.push(Verdict::new("the Deployment is whole again", 1, broken.into_iter().collect()));
    }
    verdicts.push(Verdict::new("the fault left a trace", injected.traces, Vec::new()));
    Run {
        scenario: scenario.name.to_owned(),
        seed,
        timeline: injected.timeline,
        fault_us,
        operations: history.operations.len(),
        written,
        unknown: history.count(|outcome| matches!(outcome, Outcome::Unknown { .. })),
        outage_us,
        replaced_ms: injected.replaced.map(ms),
        converged_ms: whole.map_or(0, |whole| ms(*whole.as_ref().unwrap_or(&CONVERGED))),
        verdicts,
        roles: Vec::new(),
    }
}
