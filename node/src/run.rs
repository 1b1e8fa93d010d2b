//! Putting an agent together: its engine, its pods' workers and its link to the servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::CheckpointError;
use crate::config::{Config, Engine};
use crate::health;
use crate::link::{self, Link};
use crate::metrics::sampler::Machine;
use crate::metrics::{self, Newest};
use crate::mirror::Mirror;
use crate::net::bridge::BridgeNetwork;
use crate::net::choice::{self, Choice, Pods, Services};
use crate::net::{EngineNetwork, PodNetwork, keeper, userspace};
use crate::plan::downward::Allocatable;
use crate::plan::node_condition::Pressures;
use crate::register::{self, Facts, Names};
use crate::runtime::docker::Docker;
use crate::runtime::sim::Sim;
use crate::runtime::{Runtime, RuntimeError};
use crate::sync::execute::Shared;
use crate::sync::outbox::Outbox;
use crate::sync::workers;
use crate::tokens::Tokens;
use crate::volume::Volumes;

/// Pods' workers that act at one time.
const ACTING_MAX: usize = 16;

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine does not answer.
    #[error("{0}; is it running, and may this user talk to it? (--docker-host says where, --runtime sim simulates)")]
    Engine(#[from] RuntimeError),
    /// The agent's disk.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// What was known last cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No server is named.
    #[error("no server's address is given: name one")]
    NoServers,
}

/// Runs the agent until it is told to end; the containers stay.
///
/// # Errors
///
/// The engine or the disk does not work, or the certificates cannot be read.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), Error> {
    if config.servers.is_empty() {
        return Err(Error::NoServers);
    }
    match config.engine.clone() {
        Engine::Docker { host } => {
            let docker = Docker::connect(&host, &config.name).await?;
            let choice = choice::choose(&keeper::host().await);
            if let Some(loss) = &choice.loss {
                tracing::warn!("THE NETWORK OF THIS NODE IS LIMITED: {loss}");
            }
            with(config, docker, choice, stop).await
        }
        Engine::Sim => {
            tracing::warn!("containers are SIMULATED: nothing runs for real");
            with(config, Sim::default(), choice::SIMULATED, stop).await
        }
    }
}

/// What the Node object says of the network, besides its status.
fn annotations(choice: &Choice) -> BTreeMap<String, String> {
    let network = ("raftsman.io/network".to_owned(), choice.word().to_owned());
    let loss = choice.loss.clone().map(|loss| ("raftsman.io/network-limits".to_owned(), loss));
    [network].into_iter().chain(loss).collect()
}

/// What the engine has of sandboxes, by their ids.
async fn sandboxes<R: Runtime>(runtime: &R) -> Result<BTreeSet<String>, RuntimeError> {
    let mut all = BTreeSet::new();
    for pod in runtime.pods().await? {
        all.extend(runtime.contents(&pod.uid).await?.sandboxes.into_iter().map(|sandbox| sandbox.id));
    }
    Ok(all)
}

/// What all parts of the agent share, and its bridge.
async fn shared<R: Runtime>(
    config: &Config,
    runtime: R,
    facts: &Facts,
    pods: Pods,
) -> Result<(Arc<Shared<R>>, Arc<BridgeNetwork>), Error> {
    let dir = &config.data_dir;
    let mirror = Arc::new(Mirror::open(dir)?);
    let bridge = Arc::new(BridgeNetwork::new(dir, pods == Pods::Own, &sandboxes(&runtime).await?));
    let network: Arc<dyn PodNetwork> = match pods {
        Pods::Engine => Arc::new(EngineNetwork { mode: "bridge".to_owned() }),
        Pods::Own | Pods::Simulated => bridge.clone(),
    };
    let shared = Shared {
        runtime,
        mirror,
        outbox: Arc::new(Outbox::default()),
        volumes: Volumes::new(dir.join("pods")),
        tokens: Tokens::default(),
        network,
        host_ips: vec![config.address],
        node: Allocatable {
            cpu_milli: i64::try_from(facts.cpus).unwrap_or(1).saturating_mul(1000),
            memory_bytes: i64::try_from(facts.memory).unwrap_or(i64::MAX),
        },
        slots: tokio::sync::Semaphore::new(ACTING_MAX),
    };
    Ok((Arc::new(shared), bridge))
}

async fn with<R: Runtime>(config: Config, runtime: R, choice: Choice, stop: CancellationToken) -> Result<(), Error> {
    let dir = config.data_dir.clone();
    std::fs::create_dir_all(&dir).map_err(|error| Error::Io(dir.display().to_string(), error))?;
    let facts = Facts::read(&dir, runtime.info().await?.version);
    let mut pressures = Pressures::default();
    let conditions = pressures.look(&facts.room, Timestamp::now());
    let annotations = annotations(&choice);
    let names =
        Names { name: &config.name, address: config.address, labels: &config.labels, annotations: &annotations };
    let node = register::node(names, &facts, &conditions);
    let (shared, bridge) = shared(&config, runtime, &facts, choice.pods).await?;
    let mirror = Arc::clone(&shared.mirror);
    let name = config.name.clone();
    let node_json = serde_json::to_vec(&node).expect("a value is JSON").into();
    let machine =
        Machine { data_dir: dir.clone(), cpus: u32::try_from(facts.cpus).unwrap_or(u32::MAX), memory: facts.memory };
    let usage: Arc<Newest> = Arc::new(Newest::new(None));
    let boot_id = facts.boot_id;
    let link = Link { config, shared: Arc::clone(&shared), node_json, boot_id, usage: Arc::clone(&usage) };
    let linked = async {
        let ended = link::run(link, stop.clone()).await;
        stop.cancel();
        ended
    };
    let kept = async {
        match choice.services {
            Services::Proxy { cluster_ips } => userspace::run(mirror, name.clone(), cluster_ips, stop.clone()).await,
            Services::Nftables | Services::Simulated => {
                keeper::run(bridge, mirror, name.clone(), choice.pods == Pods::Own, stop.clone()).await;
            }
        }
    };
    let looked = health::run(dir.clone(), pressures, node["status"].clone(), &shared.outbox, stop.clone());
    let measured = async {
        let shown = metrics::serve::run(name.clone(), &usage, stop.clone());
        tokio::join!(metrics::sampler::run(&shared.runtime, machine, &usage, stop.clone()), shown)
    };
    let working = workers::run(Arc::clone(&shared), name.clone(), stop.clone());
    let (linked, (), (), _, ()) = tokio::join!(linked, working, kept, measured, looked);
    linked.map_err(|error| Error::Io("the node's certificate".to_owned(), error))
}
