//! `make bench`: what a cluster costs and how fast it is; `store` is `make bench-store`, beside etcd.
//!
//! Each case prints its own rows. Wall figures of a shared machine say little alone: a probe of the disk goes with them,
//! and processor time and memory stand next to the rates.

mod agents;
mod cases;
mod figures;
mod objects;
mod probe;
mod start;
pub(crate) mod store;

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::bench::cases::Case;
use crate::bench::figures::Table;
use crate::world::bring_up::{self, Wanted};
use crate::world::cluster::Cluster;

/// How a bench is run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Cases to run [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// How often each row is measured; rows show the middle and the range
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Simulated nodes of `schedule` and `running`
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    nodes: u32,
    /// Pods of `schedule` and `running`
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pods: u32,
    /// Where servers keep their data: its disk is part of what is measured
    #[arg(long, default_value_os_t = std::env::temp_dir().join("raftsman-bench"))]
    dir: PathBuf,
    /// Also write all rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    /// How many nodes and pods.
    fn scale(&self) -> (usize, usize) {
        (self.nodes as usize, self.pods as usize)
    }
}

/// What a case works with.
struct Bench {
    options: Options,
    binary: PathBuf,
    table: Table,
}

/// A new case is a row and a function.
const CASES: &[Case<Bench>] = &[
    Case {
        name: "start",
        about: "from the process's start to ready, and memory when idle",
        asked: false,
        run: start::run,
    },
    Case {
        name: "pods",
        about: "pods created, listed and watched through the Kubernetes API",
        asked: false,
        run: objects::run,
    },
    Case {
        name: "schedule",
        about: "pods that wait, bound to nodes by a server that starts",
        asked: false,
        run: agents::schedule,
    },
    Case {
        name: "running",
        about: "pods from created to Running on simulated agents",
        asked: false,
        run: agents::running,
    },
];

/// Runs the cases and prints their rows.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn run(options: Options, binary: PathBuf) -> anyhow::Result<()> {
    let chosen = cases::choose(CASES, &options.cases)?;
    std::fs::create_dir_all(&options.dir).with_context(|| options.dir.display().to_string())?;
    println!("{}", probe::machine(&options.dir)?);
    let mut bench = Bench { options, binary, table: Table::default() };
    let measured = cases::run(&chosen, &mut bench);
    println!("\n{}", probe::machine(&bench.options.dir)?);
    if let Some(file) = &bench.options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&bench.table.rows)?)
            .with_context(|| file.display().to_string())?;
    }
    std::fs::remove_dir_all(&bench.options.dir)?;
    measured
}

impl Bench {
    /// Adds a row and prints it.
    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn row(&mut self, case: &str, what: &str, ours: Vec<f64>, peer: Vec<f64>) {
        println!("  {}", self.table.add(case, what, ours, peer));
    }

    /// A folder of the bench's own, empty.
    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.options.dir.join(name);
        if folder.exists() {
            if let Ok(left) = Cluster::load(&folder) {
                left.down()?;
            }
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Servers on loopback, as the peer runs.
    fn servers(&self, name: &str, servers: u8, flags: &[&str]) -> anyhow::Result<Cluster> {
        let wanted = Wanted {
            dir: self.folder(name)?,
            servers,
            nodes: 0,
            runtime: "sim".to_owned(),
            binary: self.binary.clone(),
            server_flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            image: false,
            restored: None,
            loopback: true,
            breakable: false,
        };
        bring_up::up(&wanted, &mut |_| {})
    }
}

/// A runtime for one case.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Removes a cluster and its folder.
fn remove(cluster: &Cluster) -> anyhow::Result<()> {
    let dir: &Path = &cluster.dir;
    cluster.down()?;
    std::fs::remove_dir_all(dir).with_context(|| dir.display().to_string())
}
