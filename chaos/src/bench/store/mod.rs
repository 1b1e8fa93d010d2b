//! `make bench-store`: `raftsman store` and etcd in turn, started by the same flags, under the same generator.

mod calls;
mod crowd;
mod fanout;
mod large;
mod members;
mod outage;
mod perf;
mod plot;
mod puts;
mod ranges;
mod upkeep;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::bench::cases::{self, Case};
use crate::bench::figures::Table;
use crate::bench::probe;
use members::{Members, Program};

/// How the store's bench is run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Cases to run; `default` are all but check-perf and large, which take minutes [default: default]
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// How often each row is measured, ours and etcd's in turn; rows show the middle and the range
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Seconds of each measurement of a rate
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// What `check-perf` asks for: clients and puts a second as etcd's check has them by these names
    #[arg(long, value_enum, default_value_t = perf::Load::Xl)]
    load: perf::Load,
    /// The size of the state of `large`
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=30))]
    gigabytes: u64,
    /// Where members keep their data: its disk is part of what is measured
    #[arg(long, default_value_os_t = std::env::temp_dir().join("raftsman-bench-store"))]
    dir: PathBuf,
    /// Write the table and a plot of the ratios into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// What their files are called
    #[arg(long, default_value = "store")]
    page: String,
}

/// The two that are measured, and what came out so far.
struct Pair {
    options: Options,
    ours: Program,
    etcd: Program,
    table: Table,
}

/// A column of a measurement: what it is called, and where it lies.
type Column<M> = (&'static str, fn(&M) -> f64);

/// A new case is a row and a function.
const CASES: &[Case<Pair>] = &[
    case("put-1", "puts of 1 KiB, one member", |pair| puts::run(pair, 1, &[1, 16, 128, 1000])),
    case("put-3", "the same, three members", |pair| puts::run(pair, 3, &[1, 16, 128, 1000])),
    case("range", "10,000 and 100,000 keys of 1 KiB in one answer", ranges::run),
    case("crowd", "10 clients that read 200 MB at once, and one that writes", crowd::run),
    case("watch", "1,000 watchers, and the same with stalled ones beside them", fanout::run),
    case("upkeep", "puts while compactions and snapshots go on", upkeep::run),
    case("memory", "resident after 267,000 puts", upkeep::memory),
    case("outage", "writes stop while a killed leader is replaced", outage::run),
    Case { asked: true, ..case("check-perf", "etcd's own check, unmodified: once each, a minute and more", perf::run) },
    Case { asked: true, ..case("large", "a state of many gigabytes in the memory of few (ours alone)", large::run) },
];

const fn case(name: &'static str, about: &'static str, run: fn(&mut Pair) -> anyhow::Result<()>) -> Case<Pair> {
    Case { name, about, asked: false, run }
}

/// Runs the cases and prints their rows.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn run(options: Options, binary: &Path) -> anyhow::Result<()> {
    let chosen = cases::choose(CASES, &options.cases)?;
    std::fs::create_dir_all(&options.dir).with_context(|| options.dir.display().to_string())?;
    let (ours, etcd) = (Program::ours(binary), Program::etcd()?);
    let machine = probe::machine(&options.dir)?;
    println!("{machine}\n{} beside {}, both on loopback without TLS", ours.version, etcd.version);
    let mut pair = Pair { options, ours, etcd, table: Table::default() };
    let measured = cases::run(&chosen, &mut pair);
    if let Some(out) = &pair.options.out {
        pair.write(out, &machine)?;
    }
    let measured = measured.with_context(|| format!("logs of the members are in {}", pair.options.dir.display()));
    measured.and_then(|()| Ok(std::fs::remove_dir_all(&pair.options.dir)?))
}

impl Pair {
    /// So many members of ours, and of etcd's.
    fn start(&self, count: usize) -> anyhow::Result<(Members, Members)> {
        let ours = Members::start(&self.ours, &self.folder("ours")?, count)?;
        Ok((ours, Members::start(&self.etcd, &self.folder("etcd")?, count)?))
    }

    /// One member of ours, and where its data lies.
    fn start_ours(&self) -> anyhow::Result<(Members, PathBuf)> {
        let folder = self.folder("ours")?;
        Ok((Members::start(&self.ours, &folder, 1)?, folder))
    }

    /// A folder that is not there.
    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.options.dir.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        Ok(folder)
    }

    /// The page, and the picture where there is something to compare.
    fn write(&self, out: &Path, machine: &str) -> anyhow::Result<()> {
        let (name, peer) = (&self.options.page, &self.etcd.version);
        std::fs::create_dir_all(out)?;
        std::fs::write(out.join(format!("{name}.md")), plot::page(&self.table, name, (peer, machine)))?;
        if plot::compares(&self.table.rows) {
            std::fs::write(out.join(format!("{name}.svg")), plot::ratios(&self.table.rows, peer))?;
        }
        Ok(())
    }

    fn rounds(&self) -> u32 {
        self.options.rounds
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    /// One fdatasync of the disk itself. Units: milliseconds.
    fn disk_ms(&self) -> anyhow::Result<f64> {
        Ok(probe::syncs(&self.options.dir)?.percentile(50))
    }

    /// How the machine is as a round begins.
    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn note(&self, round: u32) {
        let machine = probe::machine(&self.options.dir).unwrap_or_else(|error| format!("{error:#}"));
        println!("  round {}: {machine}", round + 1);
    }

    /// What a program of others' said, which the page shows as it is.
    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn quote(&mut self, who: &str, lines: &[String]) {
        lines.iter().for_each(|line| println!("  {who}: {line}"));
        self.table.quotes.push((who.to_owned(), lines.join("\n")));
    }

    /// A row for each column of rounds that were measured.
    fn rows<M>(&mut self, case: &str, columns: &[Column<M>], ours: &[M], etcd: &[M]) {
        for (what, figure) in columns {
            self.row(case, what, ours.iter().map(figure).collect(), etcd.iter().map(figure).collect());
        }
    }

    #[expect(clippy::print_stdout, reason = "a command's output")]
    fn row(&mut self, case: &str, what: &str, ours: Vec<f64>, etcd: Vec<f64>) {
        println!("  {}", self.table.add(case, what, ours, etcd));
    }
}
