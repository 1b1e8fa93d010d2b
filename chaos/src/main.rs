//! The chaos harness: starts clusters, breaks them on purpose, and checks what clients saw.

#[cfg_attr(not(test), expect(dead_code, reason = "scenarios call it; they come with the server binary"))]
mod check;
#[cfg_attr(not(test), expect(dead_code, reason = "scenarios call it; they come with the server binary"))]
mod history;
#[cfg_attr(not(test), expect(dead_code, reason = "scenarios call it; they come with the server binary"))]
mod seed;
#[expect(dead_code, reason = "scenarios call it; they come with the server binary")]
mod work;
#[expect(dead_code, reason = "scenarios call it; they come with the server binary")]
mod world;

mod run_sample;
mod sample;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Cluster(ClusterVerb::Up { dir, servers, nodes, runtime, binary, server_flags }) => {
            let beside = || std::env::current_exe().map(|path| path.with_file_name("raftsman"));
            let binary = binary.map_or_else(beside, Ok)?;
            let wanted = Wanted { dir, servers, nodes, runtime, binary, server_flags };
            let cluster = bring_up::up(&wanted, &mut |line| tracing::info!("{line}"))?;
            tracing::info!(kubeconfig = %cluster.kubeconfig().display(), "the cluster is ready");
            Ok(())
        }
        Verb::Cluster(ClusterVerb::Run { dir, runtime }) => {
            let binary = std::env::current_exe()?.with_file_name("raftsman");
            run_sample::run(Wanted { dir, servers: 3, nodes: 2, runtime, binary, server_flags: Vec::new() })
        }
        Verb::Cluster(ClusterVerb::Down { dir }) => Cluster::load(&dir)?.down(),
    }
}
