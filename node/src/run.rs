//! Putting an agent together: its engine, its pods' workers and its link to the servers.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::CheckpointError;
use crate::config::{Config, Engine};
use crate::link::{self, Link};
use crate::mirror::Mirror;
use crate::net::bridge::BridgeNetwork;
use crate::net::{EngineNetwork, PodNetwork, keeper};
use crate::plan::downward::Allocatable;
use crate::register::{self, Facts};
use crate::runtime::docker::Docker;
use crate::runtime::sim::Sim;
use crate::runtime::{Runtime, RuntimeError};
use crate::sync::execute::Shared;
use crate::sync::outbox::Outbox;
use crate::sync::workers;
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
            let usable = keeper::usable().await;
            if let Err(why) = &usable {
                tracing::warn!(why, "pods are on Docker's bridge, of this node only, and services are not proxied");
            }
            with(config, docker, if usable.is_ok() { Net::Own } else { Net::Engine }, stop).await
        }
        Engine::Sim => {
            tracing::warn!("containers are SIMULATED: nothing runs for real");
            with(config, Sim::default(), Net::Simulated, stop).await
        }
    }
}

/// Where pods' addresses come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Net {
    /// A bridge of the agent's.
    Own,
    /// The engine.
    Engine,
    /// Numbers without interfaces.
    Simulated,
}

/// What the engine has of sandboxes, by their ids.
async fn sandboxes<R: Runtime>(runtime: &R) -> Result<BTreeSet<String>, RuntimeError> {
    let mut all = BTreeSet::new();
    for pod in runtime.pods().await? {
        all.extend(runtime.contents(&pod.uid).await?.sandboxes.into_iter().map(|sandbox| sandbox.id));
    }
    Ok(all)
}

async fn with<R: Runtime>(config: Config, runtime: R, net: Net, stop: CancellationToken) -> Result<(), Error> {
    let dir = config.data_dir.clone();
    let failed = |error| Error::Io(dir.display().to_string(), error);
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let facts = Facts::read(&dir, runtime.info().await?.version);
    let node = register::node(&config.name, config.address, &config.labels, &facts, Timestamp::now());
    let mirror = Arc::new(Mirror::open(&dir)?);
    let bridge = Arc::new(BridgeNetwork::new(&dir, net == Net::Own, &sandboxes(&runtime).await?));
    let network: Arc<dyn PodNetwork> = match net {
        Net::Engine => Arc::new(EngineNetwork { mode: "bridge".to_owned() }),
        Net::Own | Net::Simulated => bridge.clone(),
    };
    let shared = Arc::new(Shared {
        runtime,
        mirror: Arc::clone(&mirror),
        outbox: Arc::new(Outbox::default()),
        volumes: Volumes::new(dir.join("pods")),
        network,
        host_ips: vec![config.address],
        node: Allocatable {
            cpu_milli: i64::try_from(facts.cpus).unwrap_or(1).saturating_mul(1000),
            memory_bytes: i64::try_from(facts.memory).unwrap_or(i64::MAX),
        },
        slots: tokio::sync::Semaphore::new(ACTING_MAX),
    });
    let name = config.name.clone();
    let node_json = serde_json::to_vec(&node).expect("a value is JSON").into();
    let link = Link { config, shared: Arc::clone(&shared), node_json, boot_id: facts.boot_id };
    let linked = async {
        let ended = link::run(link, stop.clone()).await;
        stop.cancel();
        ended
    };
    let kept = async {
        if net != Net::Engine {
            keeper::run(bridge, mirror, name.clone(), net == Net::Own, stop.clone()).await;
        }
    };
    let (linked, (), ()) = tokio::join!(linked, workers::run(shared, name.clone(), stop.clone()), kept);
    linked.map_err(|error| Error::Io("the node's certificate".to_owned(), error))
}
