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
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::bench::objects;
use crate::bench::start::restart;
use crate::bench::{Bench, probe, remove, runtime};
use crate::work::deployment::connect;
use crate::world::bring_up;
use crate::world::cluster::Cluster;

/// Between questions: what is asked of every node costs more than what is asked of pods that are left.
const SELDOM: Duration = Duration::from_millis(500);
const OFTEN: Duration = Duration::from_millis(50);
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
    async fn start(cluster: &Cluster, binary: &Path, nodes: usize) -> anyhow::Result<Agents> {
        let text = bring_up::token(binary, &cluster.layout().server(1), "node")?;
        let token: Token = text.parse().map_err(anyhow::Error::msg)?;
        let (dir, stop) = (memory_dir(), CancellationToken::new());
        let mut agents = Agents { tasks: JoinSet::new(), stop, dir };
        for first in (0..nodes).step_by(JOINING) {
            let mut joining = JoinSet::new();
            for number in first..(first + JOINING).min(nodes) {
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
    between: Duration,
    count: impl Fn() -> F,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(between);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            && node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some() && spec.taints.is_none())
    };
    Ok(nodes.list(&ListParams::default()).await?.items.iter().filter(|node| ready(node)).count())
}

/// How many pods these fields do not select: counting what is left costs the server little near the end.
async fn pods_besides(client: &kube::Client, all: usize, fields: &str) -> anyhow::Result<usize> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let left = pods.list_metadata(&ListParams::default().fields(fields)).await?.items.len();
    Ok(all.saturating_sub(left))
}

/// The agents of a case, once all of their nodes are ready; with a row that says how long that took.
async fn joined(bench: &mut Bench, cluster: &Cluster, client: &kube::Client, case: &str) -> anyhow::Result<Agents> {
    let ((nodes, _), pids) = (bench.options.scale(), cluster.server_pids());
    let (cpu, began) = (probe::cpu(&pids), Instant::now());
    let agents = Agents::start(cluster, &bench.binary, nodes).await?;
    until(nodes, "nodes are Ready", SELDOM, || ready_nodes(client)).await?;
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), (probe::cpu(&pids) - cpu).as_secs_f64());
    bench.row(case, "nodes joined/s", vec![nodes as f64 / elapsed], Vec::new());
    bench.row(case, "server cpu ms/node", vec![cpu * 1e3 / nodes as f64], Vec::new());
    Ok(agents)
}

/// Pods wait while no scheduler runs; then the server is started with one.
pub(super) fn schedule(bench: &mut Bench) -> anyhow::Result<()> {
    let (nodes, pods) = bench.options.scale();
    let off = "--controllers=*,-scheduler";
    let mut cluster = bench.servers("schedule", 1, &[POD_CIDR, off])?;
    let runtime = runtime()?;
    let client = runtime.block_on(connect(&cluster.kubeconfig(), None))?;
    let agents = runtime.block_on(async {
        let agents = joined(bench, &cluster, &client, "agents join").await?;
        objects::create(&cluster, pods, "10m").await?;
        anyhow::Ok(agents)
    })?;
    // Before the agents end: nodes that are silent would be given up.
    cluster.process("server-1")?.stop()?;
    runtime.block_on(agents.end())?;
    // Without agents, so that only the scheduler is measured.
    for process in &mut cluster.processes {
        for word in process.command.iter_mut().filter(|word| **word == off) {
            *word = "--controllers=*,-node-lifecycle-controller".to_owned();
        }
    }
    let began = Instant::now();
    restart(&mut cluster)?;
    let pid = [cluster.process("server-1")?.pid];
    let done = runtime.block_on(until(pods, "pods are bound", OFTEN, || pods_besides(&client, pods, "spec.nodeName=")));
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), probe::cpu(&pid).as_secs_f64());
    drop(runtime);
    remove(&cluster)?;
    done?;
    let case = format!("{pods} on {nodes} nodes");
    bench.row(&case, "scheduled/s, with start", vec![pods as f64 / elapsed], Vec::new());
    bench.row(&case, "server cpu us/pod", vec![cpu * 1e6 / pods as f64], Vec::new());
    Ok(())
}

/// Pods are created while everything runs; until the API says Running of each.
pub(super) fn running(bench: &mut Bench) -> anyhow::Result<()> {
    let (_, pods) = bench.options.scale();
    let cluster = bench.servers("running", 1, &[POD_CIDR])?;
    let pids = cluster.server_pids();
    let runtime = runtime()?;
    let measured = runtime.block_on(async {
        let client = connect(&cluster.kubeconfig(), None).await?;
        let agents = joined(bench, &cluster, &client, "agents join, controllers").await?;
        let (cpu, began) = (probe::cpu(&pids), Instant::now());
        objects::create(&cluster, pods, "10m").await?;
        let created = began.elapsed().as_secs_f64();
        until(pods, "pods run", OFTEN, || pods_besides(&client, pods, "status.phase!=Running")).await?;
        let measured =
            (created, began.elapsed().as_secs_f64(), (probe::cpu(&pids) - cpu).as_secs_f64(), probe::memory(&pids));
        agents.end().await?;
        anyhow::Ok(measured)
    });
    drop(runtime);
    remove(&cluster)?;
    let (created, elapsed, cpu, memory) = measured?;
    let case = format!("{pods} pods to Running");
    let rows = [
        ("s until created", created),
        ("s until they run", elapsed),
        ("server cpu ms/pod", cpu * 1e3 / pods as f64),
        ("server memory MiB", memory),
    ];
    for (what, figure) in rows {
        bench.row(&case, what, vec![figure], Vec::new());
    }
    Ok(())
}
