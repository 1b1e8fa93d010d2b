//! `make bench-store`: `raftsman store` and etcd in turn, started by the same flags, under the same generator.

mod fanout;
mod members;
mod outage;
mod plot;
mod puts;
mod ranges;
mod upkeep;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::bench::figures::Table;
use crate::bench::probe;
use members::{Members, Program};

/// How the store's bench is run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Cases to run [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// How often each row is measured, ours and etcd's in turn; rows show the middle and the range
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Seconds of each measurement of a rate
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Where members keep their data: its disk is part of what is measured
    #[arg(long, default_value_os_t = std::env::temp_dir().join("raftsman-bench-store"))]
    dir: PathBuf,
    /// Write the table and a plot of the ratios into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// The two that are measured, and what came out so far.
struct Pair<'a> {
    options: &'a Options,
    ours: Program,
    etcd: Program,
    table: &'a mut Table,
}

/// A row of the table of cases.
struct Case {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Pair<'_>) -> anyhow::Result<()>,
}

/// A new case is a row and a function.
const CASES: &[Case] = &[
    Case { name: "put-1", about: "puts of 1 KiB, one member", run: |pair| puts::run(pair, 1, &[1, 16, 128, 1000]) },
    Case { name: "put-3", about: "the same, three members", run: |pair| puts::run(pair, 3, &[1, 16, 128, 1000]) },
    Case { name: "range", about: "10,000 and 100,000 keys of 1 KiB in one answer", run: ranges::run },
    Case { name: "watch", about: "1,000 watchers, and the same with stalled ones beside them", run: fanout::run },
    Case { name: "upkeep", about: "puts while compactions and snapshots go on", run: upkeep::run },
    Case { name: "memory", about: "resident after 267,000 puts", run: upkeep::memory },
    Case { name: "outage", about: "writes stop while a killed leader is replaced", run: outage::run },
];

/// Runs the cases and prints their rows.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn run(options: &Options, binary: &Path) -> anyhow::Result<()> {
    let known = |name: &String| CASES.iter().any(|case| case.name == name);
    let names = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    ensure!(options.cases.iter().all(known), "there is no such case; there are {}", names());
    std::fs::create_dir_all(&options.dir).with_context(|| options.dir.display().to_string())?;
    let (ours, etcd) = (Program::ours(binary), Program::etcd()?);
    let machine = probe::machine(&options.dir)?;
    println!("{machine}\n{} beside {}, both on loopback without TLS", ours.version, etcd.version);
    let mut table = Table::default();
    let mut failed = Vec::new();
    for case in CASES {
        if !options.cases.is_empty() && !options.cases.iter().any(|name| name == case.name) {
            continue;
        }
        println!("\n{}: {}", case.name, case.about);
        let mut pair = Pair { options, ours: ours.clone(), etcd: etcd.clone(), table: &mut table };
        // A case that cannot be measured here takes no other with it.
        if let Err(error) = (case.run)(&mut pair) {
            println!("  not measured: {error:#}");
            failed.push(case.name);
        }
    }
    if let Some(out) = &options.out {
        std::fs::create_dir_all(out)?;
        std::fs::write(out.join("store.md"), plot::page(&table.rows, &etcd.version, &machine))?;
        std::fs::write(out.join("store.svg"), plot::ratios(&table.rows, &etcd.version))?;
    }
    std::fs::remove_dir_all(&options.dir)?;
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

impl Pair<'_> {
    /// So many members of ours, and of etcd's.
    fn start(&self, count: usize) -> anyhow::Result<(Members, Members)> {
        let folder = |name: &str| -> anyhow::Result<PathBuf> {
            let folder = self.options.dir.join(name);
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            Ok(folder)
        };
        let ours = Members::start(&self.ours, &folder("ours")?, count)?;
        Ok((ours, Members::start(&self.etcd, &folder("etcd")?, count)?))
    }

    fn rounds(&self) -> u32 {
        self.options.rounds
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    /// How the machine is as a round begins.
    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn note(&self, round: u32) {
        let machine = probe::machine(&self.options.dir).unwrap_or_else(|error| format!("{error:#}"));
        println!("  round {}: {machine}", round + 1);
    }

    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn say(&self, line: &str) {
        println!("  {line}");
    }

    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn row(&mut self, case: &str, what: &str, ours: Vec<f64>, etcd: Vec<f64>) {
        println!("  {}", self.table.add(case, what, ours, etcd));
    }
}
