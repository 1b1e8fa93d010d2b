//! The store in simulation: three members, clients and their world in one process, from one seed.
//!
//! One process runs one schedule and nothing else, on one thread: whatever could differ from run to run (clocks,
//! randomness, threads, what an earlier run left) is the world's. Commands start such processes and read what they say.

mod finding;
#[expect(unsafe_code, reason = "functions of the C library, for a process that simulates")]
mod interposed;
mod museum;
mod run;
mod schedule;
mod seen;
mod shorten;
mod shrink;
mod table;
mod world;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::sim::finding::Finding;
use crate::sim::run::Report;
use crate::sim::schedule::Schedule;

/// A run that takes longer has come to nothing. Units: seconds of the processor's time.
const PROCESSOR_SECONDS: u64 = 300;
/// Bytes of a thread's stack: futures of a whole member are deep where they are not optimised.
const STACK_BYTES: usize = 64 << 20;

/// What is simulated.
#[derive(Clone, clap::Args)]
pub(crate) struct Options {
    /// One seed; says what happened.
    #[arg(long, conflicts_with_all = ["seeds", "replay"])]
    seed: Option<u64>,
    /// Seeds, FIRST..LAST, the last one included.
    #[arg(long, value_parser = seeds)]
    seeds: Option<(u64, u64)>,
    /// So many at a time; each takes one processor.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Simulated seconds with faults, of each run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// A schedule, as a failed run leaves it.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Looks for the fewest faults that fail the same way, and writes that schedule beside the first.
    #[arg(long)]
    shrink: bool,
    /// Each run twice, which must be the same to the last byte that was said.
    #[arg(long)]
    twice: bool,
    /// A defect that is brought in on purpose, by its name in the museum.
    #[arg(long, value_parser = exhibit)]
    defect: Option<String>,
    /// Brings in each defect of the museum, or the one of --defect, until a seed finds it.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "replay"])]
    museum: bool,
    /// Says what is scheduled, and runs nothing.
    #[arg(long)]
    plan: bool,
    /// Where failed runs leave what they saw.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("raftsman-sim"))]
    dir: PathBuf,
    /// Runs the schedule in this file, in this process.
    #[arg(long, hide = true)]
    here: Option<PathBuf>,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").ok_or("FIRST..LAST")?;
    let parse = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let (first, last) = (parse(first)?, parse(last.trim_start_matches('='))?);
    if first <= last { Ok((first, last)) } else { Err("the first comes after the last".to_owned()) }
}

fn exhibit(text: &str) -> Result<String, String> {
    let known = || museum::MUSEUM.iter().map(|exhibit| exhibit.name).collect::<Vec<_>>().join(", ");
    museum::find(text).map(|found| found.name.to_owned()).ok_or_else(|| format!("the museum has {}", known()))
}

/// Does what the options ask for.
///
/// # Errors
/// When a run fails.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn command(options: Options) -> anyhow::Result<()> {
    if let Some(path) = &options.here {
        return here(path);
    }
    fs::create_dir_all(&options.dir)?;
    if options.museum {
        return table::museum(&options);
    }
    let mut schedules: Vec<Schedule> = match (&options.replay, options.seed, options.seeds) {
        (Some(path), _, _) => vec![read(path)?],
        (None, Some(seed), _) => vec![Schedule::of(seed, options.seconds)],
        (None, None, Some((first, last))) => (first..=last).map(|seed| Schedule::of(seed, options.seconds)).collect(),
        (None, None, None) => bail!("one of --seed, --seeds, --replay and --museum"),
    };
    for schedule in schedules.iter_mut().filter(|_| options.defect.is_some()) {
        schedule.defect.clone_from(&options.defect);
    }
    if options.plan {
        schedules.iter().for_each(|schedule| print!("{}", table::plan(schedule)));
        return Ok(());
    }
    let failed = table::run(&schedules, &options)?;
    if options.shrink {
        for (schedule, found) in &failed {
            let folder = options.dir.join(format!("seed-{}", schedule.seed));
            println!("seed {}: {}", schedule.seed, shrink(schedule, found, &folder)?);
        }
    }
    ensure!(failed.is_empty(), "{} of {} runs failed", failed.len(), schedules.len());
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Schedule> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// What a process that ran a schedule says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) report: Report,
}

/// Runs the schedule of a file in this process, and says the report.
#[expect(clippy::print_stdout, reason = "what this process is for")]
fn here(path: &Path) -> anyhow::Result<()> {
    let schedule = read(path)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CPU, PROCESSOR_SECONDS, PROCESSOR_SECONDS)?;
    interposed::begin(crate::seed::Seed::of(schedule.seed, "library").next());
    // A thread of its own: what threads drew before, they drew from the system.
    let run = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || run::run(&schedule))?;
    let (report, history) = run.join().map_err(|_| anyhow::anyhow!("the simulation ended in a panic"))??;
    fs::write("history.json", serde_json::to_vec(&history)?)?;
    println!("{}", serde_json::to_string(&Said { report })?);
    Ok(())
}

/// Runs a schedule in a process of its own. Answers its report; what it leaves lies in `folder` then, if that is wanted.
pub(crate) fn elsewhere(schedule: &Schedule, folder: &Path, keep: fn(&Report) -> bool) -> anyhow::Result<Report> {
    let work = work_dir(schedule);
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let text = serde_json::to_vec_pretty(schedule)?;
    fs::write(work.join("schedule.json"), &text)?;
    let log = File::create(work.join("log"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["sim", "--here", "schedule.json"])
        .current_dir(&work)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let mut said = String::new();
    child.stdout.take().context("piped")?.read_to_string(&mut said)?;
    let status = child.wait()?;
    let read = serde_json::from_str::<Said>(said.trim()).map(|said| said.report);
    let report = read.map_err(|_| {
        let told = fs::read_to_string(work.join("log")).unwrap_or_default();
        let last: Vec<_> = told.lines().rev().take(5).collect();
        anyhow::anyhow!("the run came to nothing ({status}): {}", last.join(" | "))
    });
    if report.as_ref().map_or(true, keep) {
        fs::create_dir_all(folder)?;
        for file in ["schedule.json", "history.json", "log"] {
            // A run that came to nothing has no history.
            let _ = fs::copy(work.join(file), folder.join(file));
        }
        if let Ok(report) = &report {
            fs::write(folder.join("report.json"), serde_json::to_vec_pretty(report)?)?;
        }
    }
    fs::remove_dir_all(&work)?;
    report
}

/// Where a run works: in memory, if there is a place for it.
fn work_dir(schedule: &Schedule) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "-");
    base.join(format!("raftsman-sim-{}-{thread}{}", std::process::id(), schedule.seed))
}

/// Shortens a schedule that fails, writes the shortest one into a folder, and says how to replay it.
pub(crate) fn shrink(schedule: &Schedule, found: &Finding, folder: &Path) -> anyhow::Result<String> {
    let shortened = shorten::shorten(schedule, found, &folder.join("attempt"));
    let (shortest, path) = (shortened.schedule, folder.join("shortest.json"));
    fs::create_dir_all(folder)?;
    fs::write(&path, serde_json::to_vec_pretty(&shortest)?)?;
    Ok(format!(
        "{} faults of {} are enough, in {} s of {} ({} runs):\n{}  replay it with: raftsman-chaos sim --replay {}",
        shortest.steps.len(),
        schedule.steps.len(),
        shortest.seconds,
        schedule.seconds,
        shortened.runs,
        table::plan(&shortest),
        path.display()
    ))
}
