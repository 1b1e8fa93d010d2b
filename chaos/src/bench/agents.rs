//! A thousand nodes in this process: real agents with simulated containers, and the scheduler that feeds them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use control::cluster::join::{self, Admitted};
use control::cluster::token::Token;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use node::config::{Config, Engine, Identity};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::objects;
use crate::bench::start::restart;
use crate::bench::{Bench, probe, remove, runtime};
use crate::work::deployment::connect;
use crate::world::bring_up;
use crate::world::cluster::Cluster;

/// Nodes of both cases.
const NODES: usize = 1_000;
/// Pods of both cases.
const PODS: usize = 3_000;
/// Agents that join at the same time.
const JOINING: usize = 16;
/// Room for a range of addresses for each of a thousand nodes.
const POD_CIDR: &str = "--pod-cidr=10.0.0.0/8";
/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where agents keep their assignments: in memory, as a thousand real nodes have a thousand disks.
fn memory_dir() -> PathBuf {
    let place = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    place.join(format!("raftsman-bench-{}", std::process::id()))
}

/// Agents that run in this process.
struct Agents {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    dir: PathBuf,
}

async fn one(token: Token, number: usize, dir: PathBuf) -> anyhow::Result<Config> {
    let name = format!("sim-{number:04}");
    let admitted = join::ask(&token, &name).await.map_err(anyhow::Error::msg)?;
    let Admitted::Node(identity) = admitted else { bail!("the token makes no nodes") };
    Ok(Config {
        data_dir: dir.join(&name),
        name,
        servers: identity.servers,
        identity: Identity { ca_pem: identity.authority_cert, cert_pem: identity.cert, key_pem: identity.key },
        engine: Engine::Sim,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        labels: BTreeMap::new(),
    })
}

impl Agents {
    async fn start(cluster: &Cluster, binary: &Path) -> anyhow::Result<Agents> {
        let text = bring_up::token(binary, &cluster.layout().server(1), "node")?;
        let token: Token = text.parse().map_err(anyhow::Error::msg)?;
        let (dir, stop) = (memory_dir(), CancellationToken::new());
        let mut agents = Agents { tasks: JoinSet::new(), stop, dir };
        for first in (0..NODES).step_by(JOINING) {
            let mut joining = JoinSet::new();
            for number in first..(first + JOINING).min(NODES) {
                joining.spawn(one(token.clone(), number, agents.dir.clone()));
            }
            for config in joining.join_all().await {
                let (config, stop) = (config?, agents.stop.clone());
                agents.tasks.spawn(async move {
                    if let Err(error) = node::run::run(config, stop).await {
                        tracing::error!(%error, "an agent ended");
                    }
                });
            }
        }
        Ok(agents)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.tasks.join_all().await;
        std::fs::remove_dir_all(&self.dir).with_context(|| self.dir.display().to_string())
    }
}

/// Waits until so many objects are as wanted, asking again and again.
async fn until<F: Future<Output = anyhow::Result<usize>>>(
    wanted: usize,
    what: &str,
    count: impl Fn() -> F,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        let found = count().await?;
        if found >= wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{found} of {wanted} {what} after {PATIENCE:?}");
    }
}

async fn ready_nodes(client: &kube::Client) -> anyhow::Result<usize> {
    let nodes: Api<Node> = Api::all(client.clone());
    let ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
            && node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some())
    };
    Ok(nodes.list(&ListParams::default()).await?.items.iter().filter(|node| ready(node)).count())
}

/// How many pods these fields do not select: counting what is left costs the server little near the end.
async fn pods_besides(client: &kube::Client, fields: &str) -> anyhow::Result<usize> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let left = pods.list_metadata(&ListParams::default().fields(fields)).await?.items.len();
    Ok(PODS.saturating_sub(left))
}

/// Pods wait while no scheduler runs; then the server is started with one.
pub(super) fn schedule(bench: &mut Bench) -> anyhow::Result<()> {
    let off = "--controllers=*,-scheduler,-node-lifecycle";
    let mut cluster = bench.servers("schedule", 1, &[POD_CIDR, off])?;
    let runtime = runtime()?;
    let client = runtime.block_on(connect(&cluster.kubeconfig(), None))?;
    let agents = runtime.block_on(async {
        let agents = Agents::start(&cluster, &bench.binary).await?;
        until(NODES, "nodes are Ready", || ready_nodes(&client)).await?;
        objects::create(&cluster, PODS, "10m").await?;
        anyhow::Ok(agents)
    })?;
    runtime.block_on(agents.end())?;
    cluster.process("server-1")?.stop()?;
    // Without agents, so that only the scheduler is measured: nobody takes silent nodes for dead.
    for process in &mut cluster.processes {
        for word in process.command.iter_mut().filter(|word| **word == off) {
            *word = "--controllers=*,-node-lifecycle".to_owned();
        }
    }
    let began = Instant::now();
    restart(&mut cluster)?;
    let pid = [cluster.process("server-1")?.pid];
    let done = runtime.block_on(until(PODS, "pods are bound", || pods_besides(&client, "spec.nodeName=")));
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), probe::cpu(&pid).as_secs_f64());
    drop(runtime);
    remove(&cluster)?;
    done?;
    bench.row("3,000 on 1,000 nodes", "scheduled/s, with start", vec![PODS as f64 / elapsed], Vec::new());
    bench.row("3,000 on 1,000 nodes", "server cpu us/pod", vec![cpu * 1e6 / PODS as f64], Vec::new());
    Ok(())
}

/// Pods are created while everything runs; until the API says Running of each.
pub(super) fn running(bench: &mut Bench) -> anyhow::Result<()> {
    let cluster = bench.servers("running", 1, &[POD_CIDR])?;
    let pids: Vec<i32> = cluster.of_role("server").map(|server| server.pid).collect();
    let runtime = runtime()?;
    let measured = runtime.block_on(async {
        let client = connect(&cluster.kubeconfig(), None).await?;
        let agents = Agents::start(&cluster, &bench.binary).await?;
        until(NODES, "nodes are Ready", || ready_nodes(&client)).await?;
        let (cpu, began) = (probe::cpu(&pids), Instant::now());
        objects::create(&cluster, PODS, "10m").await?;
        until(PODS, "pods run", || pods_besides(&client, "status.phase!=Running")).await?;
        let measured = (began.elapsed().as_secs_f64(), (probe::cpu(&pids) - cpu).as_secs_f64(), probe::memory(&pids));
        agents.end().await?;
        anyhow::Ok(measured)
    });
    drop(runtime);
    remove(&cluster)?;
    let (elapsed, cpu, memory) = measured?;
    bench.row("3,000 pods to Running", "s", vec![elapsed], Vec::new());
    bench.row("3,000 pods to Running", "server cpu ms/pod", vec![cpu * 1e3 / PODS as f64], Vec::new());
    bench.row("3,000 pods to Running", "server memory MiB", vec![memory], Vec::new());
    Ok(())
}
