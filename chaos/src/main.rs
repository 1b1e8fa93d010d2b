//! The chaos harness: starts clusters, breaks them on purpose, and checks what clients saw.

mod bench;
mod check;
mod crash_states;
mod history;
mod seed;
mod sim;
mod work;
mod world;

mod demo;
mod run_sample;
mod sample;
mod scenario;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::world::bring_up::{self, Wanted};
use crate::world::cluster::Cluster;

/// Starts Raftsman clusters on this machine and breaks them on purpose.
#[derive(Parser)]
#[command(name = "raftsman-chaos", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start or stop a cluster of real processes on this machine.
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Run a scenario on a cluster of its own: clients, a fault, and what must hold of everything they saw.
    Run {
        /// Its name; `raftsman-chaos doctor` lists all, and which of them this machine can do
        scenario: String,
        /// What is broken: a cluster with nodes and an application, or `raftsman store` alone.
        #[arg(long, default_value = "cluster")]
        over: scenario::Over,
        /// Of the clients' calls and of how long the fault lasts.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// So many runs, with one seed after the other.
        #[arg(long, default_value_t = 1)]
        runs: u64,
        /// What runs the containers: docker, or sim (simulated).
        #[arg(long, default_value = "docker", value_parser = ["docker", "sim"])]
        runtime: String,
        /// Where each run's evidence goes.
        #[arg(long, default_value_os_t = std::env::temp_dir().join("raftsman-chaos"))]
        dir: PathBuf,
    },
    /// The reliability story, unattended; ends with a table.
    Demo {
        /// What runs the containers: docker, or sim (simulated).
        #[arg(long, default_value = "docker", value_parser = ["docker", "sim"])]
        runtime: String,
        /// Where it works.
        #[arg(long, default_value_os_t = std::env::temp_dir().join("raftsman-demo"))]
        dir: PathBuf,
    },
    /// Measure, beside etcd where etcd can be asked the same.
    Bench(bench::Options),
    /// Measure the store beside etcd: `ETCD_BIN`, else the one on the path.
    BenchStore(bench::store::Options),
    /// Run the store in simulation: three members, clients, disks and networks in one process, from a seed.
    Sim(sim::Options),
    /// Rebuild the states that a loss of power leaves of a store's disk, and open the store in each.
    CrashStates(crash_states::Options),
    /// Turn a run's folder into one HTML page.
    Report {
        /// The folder of a run.
        dir: PathBuf,
    },
    /// Say which faults this machine can inject.
    Doctor,
}

#[derive(Subcommand)]
enum ClusterVerb {
    /// Start a cluster; returns when it is ready.
    Up {
        /// Where logs, data and admin.kubeconfig go.
        #[arg(long)]
        dir: PathBuf,
        #[arg(long, default_value_t = 3)]
        servers: u8,
        #[arg(long, default_value_t = 2)]
        nodes: u8,
        /// What runs the containers: docker, or sim (simulated).
        #[arg(long, default_value = "docker", value_parser = ["docker", "sim"])]
        runtime: String,
        /// Give each engine the image of the sample application, `raftsman-sample:1`.
        #[arg(long)]
        sample_image: bool,
        /// The raftsman binary; by default the one beside this program.
        #[arg(long)]
        binary: Option<PathBuf>,
        /// Handed to every server as it stands; may be repeated.
        #[arg(long = "server-flag", allow_hyphen_values = true)]
        server_flags: Vec<String>,
    },
    /// Start a cluster with the sample application, say what there is, and stay until Ctrl-C.
    Run {
        /// Where logs, data and admin.kubeconfig go.
        #[arg(long, default_value_os_t = run_sample::default_dir())]
        dir: PathBuf,
        /// What runs the containers: docker, or sim (simulated).
        #[arg(long, default_value = "docker", value_parser = ["docker", "sim"])]
        runtime: String,
    },
    /// Stop a cluster and remove everything but its folder.
    Down {
        /// The folder given to `up`.
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // A thousand agents in one process have much to tell, a simulation of hours, and a store that starts ten thousand times.
    let quiet = matches!(command, Verb::Bench(_) | Verb::BenchStore(_) | Verb::Sim(_) | Verb::CrashStates(_));
    let level = if quiet { "error" } else { "info" };
    // Servers that cannot be reached are what runs are about: who waits for one says so when it gives up.
    let filter = EnvFilter::new(format!("{level},kube_client=off"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Cluster(ClusterVerb::Up { dir, servers, nodes, runtime, sample_image, binary, server_flags }) => {
            let beside = || std::env::current_exe().map(|path| path.with_file_name("raftsman"));
            let binary = binary.map_or_else(beside, Ok)?;
            let wanted = Wanted {
                dir,
                servers,
                nodes,
                runtime,
                binary,
                server_flags,
                image: sample_image,
                restored: None,
                loopback: false,
                breakable: false,
            };
            let cluster = bring_up::up(&wanted, &mut |line| tracing::info!("{line}"))?;
            tracing::info!(kubeconfig = %cluster.kubeconfig().display(), "the cluster is ready");
            Ok(())
        }
        Verb::Cluster(ClusterVerb::Run { dir, runtime }) => {
            let binary = std::env::current_exe()?.with_file_name("raftsman");
            run_sample::run(Wanted {
                dir,
                servers: 3,
                nodes: 2,
                runtime,
                binary,
                server_flags: Vec::new(),
                image: true,
                restored: None,
                loopback: false,
                breakable: false,
            })
        }
        Verb::Run { scenario, over, seed, runs, runtime, dir } => {
            // Without containers nobody has to have an engine.
            let runtime = if over == scenario::Over::Store { runtime } else { run_sample::possible_runtime(runtime) };
            runs_of(&scenario, over, seed..seed + runs, &runtime, &dir)
        }
        Verb::Demo { runtime, dir } => {
            let runtime = run_sample::possible_runtime(runtime);
            demo::run(dir, runtime, std::env::current_exe()?.with_file_name("raftsman"))
        }
        Verb::Bench(options) => bench::run(options, std::env::current_exe()?.with_file_name("raftsman")),
        Verb::BenchStore(options) => bench::store::run(options, &std::env::current_exe()?.with_file_name("raftsman")),
        Verb::Sim(options) => sim::command(options),
        Verb::CrashStates(options) => crash_states::run(&options),
        Verb::Report { dir } => {
            tracing::info!("{}", scenario::report::write(&dir)?.display());
            Ok(())
        }
        Verb::Doctor => {
            doctor();
            Ok(())
        }
        Verb::Cluster(ClusterVerb::Down { dir }) => Cluster::load(&dir)?.down(),
    }
}

/// Runs and prints a line for each; fails when anything did not hold.
#[expect(clippy::print_stdout, reason = "a command's output")]
fn runs_of(
    name: &str,
    over: scenario::Over,
    seeds: std::ops::Range<u64>,
    runtime: &str,
    dir: &std::path::Path,
) -> anyhow::Result<()> {
    let scenario = scenario::find(name)?;
    if let Some(why) = scenario.missing() {
        println!("skipped: {name}: {why}");
        return Ok(());
    }
    let binary = std::env::current_exe()?.with_file_name("raftsman");
    let mut failed = 0;
    println!(
        "{:<16} {:>6} {:>10} {:>8} {:>10} {:>12}  verdict",
        "scenario", "seed", "operations", "written", "outage ms", "converged ms"
    );
    let runs = seeds.end - seeds.start;
    for seed in seeds {
        let folder = dir.join(format!("{name}-{seed}"));
        if folder.join("run.json").exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let run = scenario::run(scenario, seed, &folder, binary.clone(), runtime, over);
        failed += u64::from(!run.as_ref().is_ok_and(scenario::Run::ok));
        told(name, seed, &run);
        // One that was broken off has no evidence of all that it asks for; the others go on.
        if run.is_ok() {
            scenario::report::write(&folder)?;
        }
    }
    println!("{runs} runs, {failed} failed; evidence: {}", dir.display());
    anyhow::ensure!(failed == 0, "{failed} of {runs} runs failed");
    Ok(())
}

/// Prints how a run ended.
#[expect(clippy::print_stdout, reason = "a command's output")]
fn told(name: &str, seed: u64, run: &anyhow::Result<scenario::Run>) {
    let run = match run {
        Ok(run) => run,
        Err(error) => {
            println!(
                "{name:<16} {seed:>6} {:>10} {:>8} {:>10} {:>12}  FAILED\n    broken off: {error:#}",
                "", "", "", ""
            );
            return;
        }
    };
    let (outage, verdict) = (run.outage_us / 1000, if run.ok() { "ok" } else { "FAILED" });
    println!(
        "{name:<16} {seed:>6} {:>10} {:>8} {outage:>10} {:>12}  {verdict}",
        run.operations, run.written, run.converged_ms
    );
    for broken in run.verdicts.iter().filter(|verdict| !verdict.holds()) {
        let why = if broken.violations.is_empty() { "no evidence".to_owned() } else { broken.violations.join("; ") };
        println!("    {}: {why}", broken.property);
    }
}

#[expect(clippy::print_stdout, reason = "a command's output")]
fn doctor() {
    for row in scenario::SCENARIOS {
        let verdict = row.missing().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
        println!("{:<16} {verdict:<8} {}", row.name, row.about);
    }
}
