//! `raftsman-chaos cluster run`, which `make run` calls: a cluster with the sample application, until Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::sample;
use crate::work::deployment;
use crate::world::bring_up::{self, Wanted};
use crate::world::cluster::Cluster;
use crate::world::network;

/// Starts everything, says what there is, waits, and removes everything.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn run(mut wanted: Wanted) -> anyhow::Result<()> {
    if let Ok(left) = Cluster::load(&wanted.dir) {
        println!("a cluster was left in {}: it is removed first", wanted.dir.display());
        left.down()?;
        std::fs::remove_dir_all(&left.dir)?;
    }
    wanted.runtime = possible_runtime(wanted.runtime);
    if wanted.runtime == "docker" && network::can_isolate().is_err() {
        // Without namespaces there is one engine, and so one node.
        wanted.nodes = 1;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // From here on Ctrl-C ends it in order.
    let ended = runtime.block_on(async { Ends::new() })?;
    let cluster = bring_up::up(&wanted, &mut |line| println!("  {line}"))?;
    let shown = runtime.block_on(show(&cluster, &wanted.binary));
    if shown.is_ok() {
        println!("\nCtrl-C stops and removes all of it.");
        runtime.block_on(ended.asked());
    }
    println!("\nremoving the cluster");
    let down = cluster.down();
    if down.is_ok() && shown.is_ok() {
        std::fs::remove_dir_all(&cluster.dir)?;
    }
    shown.and(down)
}

/// What was asked for, or simulation where no engine can run, said loudly.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn possible_runtime(asked: String) -> String {
    match engine_possible() {
        Err(why) if asked == "docker" => {
            println!("!!! NO CONTAINER WILL RUN: {why}");
            println!(
                "!!! The nodes are SIMULATED, so that the control plane can be tried. As root, `make install` helps."
            );
            "sim".to_owned()
        }
        _ => asked,
    }
}

/// Whether an engine can run here at all.
fn engine_possible() -> Result<(), String> {
    let found = Command::new("dockerd").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        return Err("dockerd is not installed".to_owned());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("starting a Docker Engine for each node needs root".to_owned());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command's output")]
async fn show(cluster: &Cluster, binary: &Path) -> anyhow::Result<()> {
    let client = deployment::connect(&cluster.kubeconfig(), None).await?;
    sample::deploy(&client).await?;
    println!("  the sample application is deployed");
    let running = deployment::await_named(&client, "hello", Duration::from_secs(60)).await?;
    println!("  its pods are ready after {:.1} s", running.as_secs_f64());
    let served = cluster.runtime == "docker" && cluster.isolated;
    if served {
        tokio::task::block_in_place(|| sample::await_page(cluster))?;
    }
    println!("\nwhat runs where");
    for process in cluster.processes.iter().filter(|process| process.role != "engine") {
        println!("  {:<10} {:<7} {:<16} pid {}", process.name, process.role, process.address, process.pid);
    }
    for [name, phase, address, node] in sample::pods(&client).await? {
        println!("  pod {name:<22} {phase:<8} {address:<14} on {node}");
    }
    let kubeconfig = cluster.kubeconfig();
    if served {
        let node = cluster.of_role("node").next().context("a node")?;
        println!("\nthe application   http://{}:{}/", node.address, sample::NODE_PORT);
    }
    println!("kubeconfig        {}", kubeconfig.display());
    let [address, token] = tokio::task::block_in_place(|| log_in(binary, &kubeconfig))?;
    println!("dashboard         {address}");
    println!("  log in with     {token}");
    println!("\ntry");
    println!("  export KUBECONFIG={}", kubeconfig.display());
    println!("  kubectl get pods -o wide");
    println!("  kubectl scale deployment hello --replicas=5");
    println!("  kubectl logs -f deployment/hello");
    Ok(())
}

/// Where the dashboard is, and a token to log in with.
fn log_in(binary: &Path, kubeconfig: &Path) -> anyhow::Result<[String; 2]> {
    let output = Command::new(binary).args(["dashboard", "--output", "json", "--kubeconfig"]).arg(kubeconfig).output();
    let output = output.context("cannot run raftsman dashboard")?;
    ensure!(output.status.success(), "raftsman dashboard: {}", String::from_utf8_lossy(&output.stderr).trim());
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(["address", "token"].map(|word| said[word].as_str().unwrap_or_default().to_owned()))
}

/// What ends it.
struct Ends {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> anyhow::Result<Ends> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Ends { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Where `make run` keeps its cluster.
pub(crate) fn default_dir() -> PathBuf {
    std::env::temp_dir().join("raftsman-run")
}
