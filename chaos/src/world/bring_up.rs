//! Starts a cluster step by step and waits for each step: `raftsman-chaos cluster up`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::wait::await_condition;

use crate::world::cluster::Cluster;
use crate::world::kubeconfig;
use crate::world::layout::{Layout, NODES_MAX, Place, SERVERS_MAX};
use crate::world::process::Process;
use crate::world::{breakable, engine, network};

/// How long a server or node may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) dir: PathBuf,
    pub(crate) servers: u8,
    pub(crate) nodes: u8,
    /// `docker` or `sim`.
    pub(crate) runtime: String,
    /// The `raftsman` binary.
    pub(crate) binary: PathBuf,
    /// Passed to every server, e.g. `--controllers=-*`.
    pub(crate) server_flags: Vec<String>,
    /// Each node's engine has the sample's image before its agent starts.
    pub(crate) image: bool,
    /// A backup from which the first server is made.
    pub(crate) restored: Option<PathBuf>,
    /// Everything on loopback even where namespaces could be had.
    pub(crate) loopback: bool,
    /// Servers' disks and clocks can be broken, where the machine allows that.
    pub(crate) breakable: bool,
}

/// Starts everything; on failure stops what it started and leaves the logs.
pub(crate) fn up(wanted: &Wanted, progress: &mut dyn FnMut(&str)) -> anyhow::Result<Cluster> {
    ensure!((1..=SERVERS_MAX).contains(&wanted.servers), "--servers is 1 to {SERVERS_MAX}");
    ensure!(wanted.nodes <= NODES_MAX, "--nodes is at most {NODES_MAX}");
    std::fs::create_dir_all(&wanted.dir).with_context(|| wanted.dir.display().to_string())?;
    let dir = wanted.dir.canonicalize()?;
    ensure!(!dir.join("cluster.json").exists(), "a cluster lives in {}; `cluster down` ends it", dir.display());
    let empty = std::fs::read_dir(&dir)?.next().is_none();
    ensure!(empty, "{} is not empty: remove it, or name another folder", dir.display());
    let isolated = match network::can_isolate() {
        Ok(()) => !wanted.loopback,
        Err(why) => {
            progress(&format!(
                "no network namespaces ({why}): everything runs on loopback, partitions are not possible"
            ));
            false
        }
    };
    ensure!(
        isolated || wanted.nodes <= 1 || wanted.runtime == "sim",
        "without network namespaces one node at most can use the machine's Docker Engine: --nodes 1 or --runtime sim"
    );
    let mut cluster = Cluster {
        dir,
        isolated,
        servers: wanted.servers,
        nodes: wanted.nodes,
        runtime: wanted.runtime.clone(),
        store: false,
        breakable: wanted.breakable,
        binary: wanted.binary.clone(),
        processes: Vec::new(),
    };
    match start(&mut cluster, wanted, progress) {
        Ok(()) => Ok(cluster),
        Err(error) => {
            cluster.save()?;
            let _ = cluster.down();
            Err(error.context(format!("the cluster did not start; logs are in {}", cluster.dir.display())))
        }
    }
}

fn start(cluster: &mut Cluster, wanted: &Wanted, progress: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let layout = cluster.layout();
    network::remove(&layout, &Cluster::places(&layout));
    network::add_bridge(&layout)?;

    let first = layout.server(1);
    if let Some(backup) = &wanted.restored {
        restore(wanted, backup, &first)?;
    }
    start_server(cluster, &first, None, &wanted.server_flags)?;
    progress("server-1 is ready");
    for index in 2..=wanted.servers {
        let place = layout.server(index);
        let token = token(&wanted.binary, &first, "server")?;
        start_server(cluster, &place, Some(token), &wanted.server_flags)?;
        progress(&format!("{} is ready", place.name));
    }
    write_kubeconfig(cluster)?;
    if wanted.restored.is_some() {
        forget_nodes(cluster)?;
    }
    for index in 1..=wanted.nodes {
        let place = layout.node(index);
        start_node(cluster, wanted, &layout, &place, &token(&wanted.binary, &first, "node")?)?;
        progress(&format!("{} started", place.name));
    }
    await_nodes(cluster)?;
    cluster.save()
}

fn restore(wanted: &Wanted, backup: &Path, first: &Place) -> anyhow::Result<()> {
    std::fs::create_dir_all(&first.disk)?;
    let output = Command::new(&wanted.binary)
        .args(["backup", "restore"])
        .arg(backup)
        .arg("--data-dir")
        .arg(&first.data_dir)
        .output()
        .context("cannot run raftsman backup restore")?;
    ensure!(output.status.success(), "backup restore: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The nodes of the backup are gone with their disks: new ones must be able to take their names.
fn forget_nodes(cluster: &Cluster) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = crate::work::deployment::connect(&cluster.kubeconfig(), None).await?;
        let nodes: Api<Node> = Api::all(client);
        for node in nodes.list(&ListParams::default()).await? {
            nodes.delete(&node.metadata.name.unwrap_or_default(), &DeleteParams::default()).await?;
        }
        Ok(())
    })
}

/// Every node is Ready and has its range of addresses.
fn await_nodes(cluster: &Cluster) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let has_range = node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some());
        has_range && conditions.clone().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    runtime.block_on(async {
        let client = crate::work::deployment::connect(&cluster.kubeconfig(), None).await?;
        for node in cluster.of_role("node") {
            let nodes: Api<Node> = Api::all(client.clone());
            let held = await_condition(nodes, &node.name, |node: Option<&Node>| node.is_some_and(ready));
            let held = tokio::time::timeout(READY_LIMIT, held).await;
            let late = || format!("{} is not Ready after {READY_LIMIT:?}:\n{}", node.name, node.log_tail());
            held.with_context(late)??;
        }
        Ok(())
    })
}

/// Starts a server, the first one or with a token of the others', and waits until it is ready.
///
/// # Errors
/// When its place cannot be made, or it ends or is not ready in time.
pub(crate) fn start_server(
    cluster: &mut Cluster,
    place: &Place,
    token: Option<String>,
    flags: &[String],
) -> anyhow::Result<()> {
    network::add_place(&cluster.layout(), place)?;
    let mut command = if cluster.breakable { breakable::prepare(&cluster.dir, place)? } else { Vec::new() };
    command.extend(base_command(&cluster.binary, place, token, "server"));
    for (flag, port) in [("--port", place.api_port), ("--peer-port", place.peer_port), ("--etcd-port", place.etcd_port)]
    {
        command.push(format!("{flag}={port}"));
    }
    command.extend_from_slice(flags);
    let process = launch(cluster, place, "server", command, None)?;
    await_server(&process, place)
}

fn start_node(
    cluster: &mut Cluster,
    wanted: &Wanted,
    layout: &Layout,
    place: &Place,
    token: &str,
) -> anyhow::Result<()> {
    network::add_place(layout, place)?;
    let mut command = base_command(&wanted.binary, place, Some(token.to_owned()), "node");
    command.push(format!("--runtime={}", wanted.runtime));
    let mut docker_host = None;
    if wanted.runtime == "docker" && cluster.isolated {
        let mut engine = engine::describe(layout, place);
        std::fs::create_dir_all(&engine.data_dir)?;
        engine.start()?;
        docker_host = engine.docker_host.clone();
        cluster.processes.push(engine.clone());
        engine::await_ready(&engine)?;
    }
    if wanted.image && wanted.runtime == "docker" {
        let host = docker_host.as_deref().unwrap_or("unix:///var/run/docker.sock");
        crate::sample::import(&cluster.dir, host).with_context(|| format!("the sample image on {host}"))?;
    }
    if let Some(host) = &docker_host {
        command.push(format!("--docker-host={host}"));
    }
    launch(cluster, place, "node", command, docker_host).map(drop)
}

fn base_command(binary: &Path, place: &Place, token: Option<String>, role: &str) -> Vec<String> {
    let mut command = vec![binary.display().to_string()];
    match token {
        None => command.push("up".to_owned()),
        Some(token) => command.extend(["join".to_owned(), token]),
    }
    command.extend([
        format!("--name={}", place.name),
        format!("--data-dir={}", place.data_dir.display()),
        format!("--bind={}", place.address),
        format!("--advertise={}", place.address),
        format!("--roles={role}"),
    ]);
    command
}

fn launch(
    cluster: &mut Cluster,
    place: &Place,
    role: &str,
    command: Vec<String>,
    docker_host: Option<String>,
) -> anyhow::Result<Process> {
    std::fs::create_dir_all(&place.data_dir)?;
    let mut process = Process::new(&cluster.dir, place, role, command, docker_host);
    process.start()?;
    cluster.processes.push(process.clone());
    Ok(process)
}

/// A server is ready when its `/readyz` says so, asked with the credentials that it wrote.
pub(crate) fn await_server(process: &Process, place: &Place) -> anyhow::Result<()> {
    let kubeconfig = place.data_dir.join("admin.kubeconfig");
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        if !process.alive() {
            bail!("{} ended:\n{}", process.name, process.log_tail());
        }
        if kubeconfig.exists() && ready(&kubeconfig, place)? {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{} is not ready after {READY_LIMIT:?}:\n{}", process.name, process.log_tail());
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn ready(kubeconfig: &Path, place: &Place) -> anyhow::Result<bool> {
    let credentials = kubeconfig::read(kubeconfig)?;
    let url = format!("https://{}:{}/readyz", place.address, place.api_port);
    Ok(crate::work::client::get_once(&credentials, &url).is_ok_and(|status| status == 200))
}

/// Asks the first server for a token, as an administrator on that machine would.
pub(crate) fn token(binary: &Path, first: &Place, role: &str) -> anyhow::Result<String> {
    let output = Command::new(binary)
        .args(["token", "create", "--role", role, "--output", "json", "--kubeconfig"])
        .arg(first.data_dir.join("admin.kubeconfig"))
        .output()
        .context("cannot run raftsman token create")?;
    ensure!(output.status.success(), "token create: {}", String::from_utf8_lossy(&output.stderr).trim());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("token create")?;
    Ok(answer["token"].as_str().context("token create printed no token")?.to_owned())
}

/// Writes whom an administrator may call: the servers that run.
///
/// # Errors
/// When none of them has the administrator's credentials.
pub(crate) fn write_kubeconfig(cluster: &Cluster) -> anyhow::Result<()> {
    let running: Vec<Place> = cluster
        .of_role("server")
        .filter(|server| server.alive())
        .filter_map(|server| cluster.layout().server_named(&server.name))
        .collect();
    let first = running.first().context("no server runs")?;
    let credentials = kubeconfig::read(&first.data_dir.join("admin.kubeconfig"))?;
    let servers: Vec<_> = running
        .iter()
        .map(|place| (place.name.clone(), format!("https://{}:{}", place.address, place.api_port)))
        .collect();
    let path = cluster.kubeconfig();
    let mut file = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    let mut file =
        file.write(true).create(true).truncate(true).open(&path).with_context(|| path.display().to_string())?;
    std::io::Write::write_all(&mut file, kubeconfig::compose(&credentials, &servers).as_bytes())?;
    Ok(())
}
