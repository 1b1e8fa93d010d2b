//! `make demo`: the reliability story, unattended: what was done, what was observed, how long it took.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;

use crate::sample;
use crate::scenario;
use crate::work::deployment;
use crate::world::bring_up::{self, Wanted};
use crate::world::cluster::Cluster;
use crate::world::engine::docker_client;

/// The control plane stays away so long.
const AWAY: Duration = Duration::from_secs(5);
/// Anything else takes less.
const LIMIT: Duration = Duration::from_secs(60);

/// One line of the table.
struct Line {
    what: &'static str,
    observed: anyhow::Result<String>,
    took: Duration,
}

/// What the lines share.
struct Demo {
    dir: PathBuf,
    binary: PathBuf,
    runtime: String,
    lines: Vec<Line>,
}

impl Demo {
    fn wanted(&self, name: &str, restored: Option<PathBuf>) -> Wanted {
        Wanted {
            dir: self.dir.join(name),
            servers: 3,
            nodes: 2,
            runtime: self.runtime.clone(),
            binary: self.binary.clone(),
            server_flags: Vec::new(),
            image: true,
            restored,
            loopback: false,
            breakable: false,
        }
    }

    /// Runs a step; what it observed becomes a line.
    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn step(&mut self, what: &'static str, work: impl FnOnce() -> anyhow::Result<String>) {
        println!("... {what}");
        let began = Instant::now();
        let observed = work();
        self.lines.push(Line { what, observed, took: began.elapsed() });
    }
}

/// Runs all of it and prints the table; fails when a line does.
pub(crate) fn run(dir: PathBuf, runtime: String, binary: PathBuf) -> anyhow::Result<()> {
    if let Ok(left) = Cluster::load(&dir.join("first")).or_else(|_| Cluster::load(&dir.join("second"))) {
        left.down()?;
    }
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    let mut demo = Demo { dir, binary, runtime, lines: Vec::new() };
    let mut cluster = bring_up::up(&demo.wanted("first", None), &mut |_| {})?;
    let told = story(&mut demo, &mut cluster);
    // A cluster that was lost on purpose is down already.
    let _ = cluster.down();
    told?;
    let failed = table(&demo.lines)?;
    std::fs::remove_dir_all(&demo.dir)?;
    ensure!(failed == 0, "{failed} lines failed");
    Ok(())
}

fn story(demo: &mut Demo, cluster: &mut Cluster) -> anyhow::Result<()> {
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    demo.step("an application is deployed", || deploy(&tokio, cluster));
    for (what, name) in [
        ("the leader is killed (-9) during writes", "leader-kill"),
        ("a follower is paused and goes on", "minority-pause"),
        ("a node's agent is killed, its pods run elsewhere", "agent-kill"),
    ] {
        demo.step(what, || {
            let run = tokio.block_on(scenario::observe(scenario::find(name)?, 1, cluster))?.0;
            let broken: Vec<&str> = run.verdicts.iter().filter(|v| !v.holds()).map(|v| v.property.as_str()).collect();
            ensure!(broken.is_empty(), "broken: {}", broken.join(", "));
            let (written, outage) = (run.written, run.outage_us / 1000);
            let pods = match run.replaced_ms {
                Some(after) => format!("pods run elsewhere {after} ms after it"),
                None => format!("pods whole {} ms after the fault", run.converged_ms),
            };
            Ok(format!("{written} writes, none lost; longest pause {outage} ms; {pods}"))
        });
    }
    demo.step("all servers are killed and come back, containers go on", || away(&tokio, cluster));
    let file = demo.dir.join("backup");
    let binary = demo.binary.clone();
    demo.step("a backup is taken and verified", || {
        raftsman(&binary, &["backup", "create"], &[&file], Some(&cluster.kubeconfig()))
    });
    demo.step("everything is lost: processes, disks, containers", || {
        cluster.down()?;
        std::fs::remove_dir_all(&cluster.dir)?;
        Ok("nothing is left but the backup".to_owned())
    });
    let wanted = demo.wanted("second", Some(file));
    demo.step("a new cluster is made from the backup", || {
        let second = bring_up::up(&wanted, &mut |_| {})?;
        let back = answers(&tokio, &second);
        second.down()?;
        back
    });
    Ok(())
}

fn deploy(tokio: &tokio::runtime::Runtime, cluster: &Cluster) -> anyhow::Result<String> {
    tokio.block_on(async {
        let client = deployment::connect(&cluster.kubeconfig(), None).await?;
        sample::deploy(&client).await
    })?;
    answers(tokio, cluster)
}

/// The application is whole, and its page comes from every node.
fn answers(tokio: &tokio::runtime::Runtime, cluster: &Cluster) -> anyhow::Result<String> {
    tokio.block_on(async {
        let client = deployment::connect(&cluster.kubeconfig(), None).await?;
        deployment::await_named(&client, "hello", LIMIT).await
    })?;
    if cluster.runtime != "docker" || !cluster.isolated {
        return Ok("its pods are ready (simulated)".to_owned());
    }
    sample::await_page(cluster)?;
    let node = cluster.of_role("node").next().context("a node")?;
    Ok(format!("its page: {:?}", sample::page(node.address.parse()?)?))
}

/// Ids of the containers that run on all engines.
fn containers(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for host in cluster.of_role("node").filter_map(|node| node.docker_host.as_deref()) {
        let listed = Command::new(docker_client()).args(["--host", host, "ps", "-q"]).output()?;
        all.extend(String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned));
    }
    Ok(all)
}

fn away(tokio: &tokio::runtime::Runtime, cluster: &mut Cluster) -> anyhow::Result<String> {
    // Two of the sample, those of the scenarios; each with its sandbox. Ended ones may be on their way out still.
    let wanted = 2 * (2 + deployment::REPLICAS as usize);
    let began = Instant::now();
    while cluster.runtime == "docker" && containers(cluster)?.len() != wanted {
        ensure!(began.elapsed() < LIMIT, "{} containers run instead of {wanted}", containers(cluster)?.len());
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let before = containers(cluster)?;
    let names: Vec<String> = cluster.of_role("server").map(|server| server.name.clone()).collect();
    for name in &names {
        cluster.process(name)?.signal(Signal::SIGKILL)?;
    }
    let until = Instant::now() + AWAY;
    let mut pages = 0;
    while Instant::now() < until {
        if cluster.runtime == "docker" && cluster.isolated {
            let node = cluster.of_role("node").next().context("a node")?;
            sample::page(node.address.parse()?).context("the application while no server ran")?;
            pages += 1;
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
    for name in &names {
        cluster.restart(name)?;
    }
    answers(tokio, cluster)?;
    let after = containers(cluster)?;
    ensure!(before == after, "containers changed: {before:?}, then {after:?}");
    Ok(format!("{} containers, the same before and after; {pages} pages served meanwhile", after.len()))
}

fn raftsman(binary: &Path, words: &[&str], paths: &[&Path], kubeconfig: Option<&Path>) -> anyhow::Result<String> {
    let mut command = Command::new(binary);
    command.args(words).args(paths);
    if let Some(kubeconfig) = kubeconfig {
        command.arg("--kubeconfig").arg(kubeconfig);
    }
    let done = command.output().context("raftsman")?;
    if !done.status.success() {
        bail!("{}", String::from_utf8_lossy(&done.stderr).trim());
    }
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let first = text.lines().next().unwrap_or_default();
    Ok(first.split_once(": ").map_or(first, |(_, rest)| rest).to_owned())
}

/// Prints the lines; answers how many failed.
#[expect(clippy::print_stdout, reason = "a command's output")]
fn table(lines: &[Line]) -> anyhow::Result<usize> {
    println!("\n{:<6} {:>7}  {:<58} observed", "", "time", "done");
    let mut failed = 0;
    for line in lines {
        let (verdict, text) = match &line.observed {
            Ok(text) => ("ok", text.clone()),
            Err(error) => {
                failed += 1;
                ("FAILED", format!("{error:#}"))
            }
        };
        println!("{verdict:<6} {:>5.1} s  {:<58} {text}", line.took.as_secs_f64(), line.what);
    }
    Ok(failed)
}
