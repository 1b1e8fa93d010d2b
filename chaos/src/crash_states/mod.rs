//! Every state that a loss of power leaves: a store's disk is recorded write by write under load, then put together again
//! as it was at some moment, with and without what was not flushed. The store has to open there, and to show what it
//! acknowledged by then, whole, and nothing that nobody wrote.

mod disk;
mod history;
mod load;
mod member;
mod mounted;
mod record;
mod shelf;
mod stream;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use parking_lot::Mutex;

use crate::crash_states::disk::Base;
use crate::crash_states::history::{Violation, Wrong};
use crate::crash_states::mounted::Mounted;
use crate::crash_states::record::Recording;
use crate::crash_states::shelf::Shelf;
use crate::crash_states::stream::Cut;
use crate::seed::Seed;
use crate::world::shim::{self, Number};

/// States between two lines of progress.
const PROGRESS: u64 = 500;
/// States that are named when they fail; more of them say nothing new.
const NAMED: usize = 20;

/// What to look at.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// So many moments, spread evenly over the recording.
    #[arg(long, default_value_t = 10_000)]
    states: u64,
    /// Of the clients' calls, and of what lies on the disk of what was not flushed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the recording lies afterwards.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("raftsman-crash-states"))]
    dir: PathBuf,
    /// States that are looked at at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Look at this state alone, of the recording that lies there, with the same numbers of states and seed.
    #[arg(long)]
    only: Option<u64>,
    /// Plant a fault, which has to be found: syncs of the log do nothing, and writes are acknowledged all the same.
    #[arg(long)]
    unsynced: bool,
}

/// What was found.
#[derive(Default)]
struct Found {
    looked: AtomicU64,
    /// States with writes that no flush followed.
    open: AtomicU64,
    /// States with a part of those writes.
    partial: AtomicU64,
    failures: Mutex<Vec<Violation>>,
}

/// Why this machine cannot do it.
fn missing() -> Option<&'static str> {
    let there = |path: &str| Path::new(path).exists();
    if !nix::unistd::geteuid().is_root() {
        return Some("mounting needs root");
    }
    if !there("/dev/fuse") {
        return Some("there is no /dev/fuse");
    }
    if !there("/dev/loop-control") {
        return Some("there are no loop devices");
    }
    let made = Command::new("mkfs.ext4").arg("-V").output().is_ok_and(|done| done.status.success());
    (!made).then_some("there is no mkfs.ext4")
}

/// What the preloaded library calls this process.
const UNSYNCED: &str = "unsynced";

/// This command again, in a process whose log is not synced.
///
/// # Errors
/// As the command, and without a C compiler.
fn again_unsynced(dir: &Path) -> anyhow::Result<()> {
    let dir = dir.canonicalize()?;
    let prefix = shim::prefix(&dir, UNSYNCED)?;
    shim::tell(&dir, UNSYNCED, Number::SyncsLie, 1)?;
    let (program, before) = prefix.split_first().context("a command")?;
    let mut again = Command::new(program);
    again.args(before).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    let done = again.status()?;
    ensure!(done.success(), "without syncs: {done}");
    Ok(())
}

/// Records, and looks at every state; fails when one is not as it must be.
///
/// # Errors
/// Also when it cannot be done, or would prove nothing.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(why) = missing() {
        println!("skipped: crash-states: {why}");
        return Ok(());
    }
    ensure!(options.states > 0, "no states");
    std::fs::create_dir_all(&options.dir)?;
    if options.unsynced && !shim::preloaded() {
        return again_unsynced(&options.dir);
    }
    if options.only.is_none() {
        record::record(&options.dir, (options.states / 2).clamp(600, 4000), options.seed)?;
    }
    let recording = record::load(&options.dir)?;
    let (writes, events) = (recording.history.writes().len(), recording.events.len());
    println!("recorded {writes} calls on a disk that was told {events} things");
    let (found, begun) = (Found::default(), Instant::now());
    let jobs = if options.only.is_some() { 1 } else { options.jobs };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|job| {
                let (recording, found) = (&recording, &found);
                scope.spawn(move || work(options, job, recording, found))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a panic"))))
    })?;
    conclude(options, &found, begun)
}

#[expect(clippy::print_stdout, reason = "a command's output")]
fn conclude(options: &Options, found: &Found, begun: Instant) -> anyhow::Result<()> {
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (looked, open, partial) = (count(&found.looked), count(&found.open), count(&found.partial));
    let seconds = begun.elapsed().as_secs_f64();
    let rate = looked as f64 / seconds.max(0.001);
    let failures = found.failures.lock();
    let of = |wrong: Wrong| failures.iter().filter(|(kind, _)| *kind == wrong).count();
    let (lost, invented) = (of(Wrong::Lost), of(Wrong::Invented));
    let (different, unopened) = (of(Wrong::Different), of(Wrong::Unopened));
    println!(
        "{looked} states in {seconds:.0} s ({rate:.1}/s), {open} with writes that were not flushed, {partial} with a part of \
         them: {lost} lost something, {invented} invented something, {different} differ otherwise, {unopened} do not open"
    );
    for (_, failure) in failures.iter().take(NAMED) {
        println!("    {failure}");
    }
    if options.unsynced {
        ensure!(
            lost > 0,
            "the planted fault was not found: nothing acknowledged is lost, though the log was not synced"
        );
        return Ok(());
    }
    ensure!(failures.is_empty(), "{} states are not as they must be", failures.len());
    ensure!(options.only.is_some() || partial > 0, "vacuous: no state had a part of what was not flushed");
    Ok(())
}

/// One of the threads that look: its share of the states, in order.
#[expect(clippy::print_stdout, reason = "a command's output")]
fn work(options: &Options, job: u64, recording: &Recording, found: &Found) -> anyhow::Result<()> {
    let dir = options.dir.join(format!("job{job}"));
    let mut shelf = Shelf::new(&dir.join("fuse"), record::DISK_BYTES)?;
    let mut base = Base::new(recording.image.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let share = options.states.div_ceil(options.jobs);
    let all = match options.only {
        Some(only) => only..only + 1,
        None => job * share..(job + 1) * share,
    };
    for number in all {
        if number >= options.states && options.only.is_none() {
            break;
        }
        let cut = stream::cut(&recording.events, number, options.states, options.seed);
        let state = Arc::new(base.state(&recording.events, &cut));
        let file = shelf.plug(state);
        let chance = Seed::new(options.seed ^ number).next();
        let looked = look(&file, &dir.join("mnt"), chance, &cut, recording, &runtime);
        // What cannot be looked at is no state that a store opens in.
        let looked = looked.unwrap_or_else(|error| Err((Wrong::Unopened, format!("{error:#}"))));
        if let Err((wrong, why)) = looked {
            let Cut { position, durable, kept, .. } = &cut;
            let (states, seed, dir) = (options.states, options.seed, options.dir.display());
            let named = format!(
                "state {number} (event {position}, flushed up to {durable}, {kept:?} of the rest): {why}; again: \
                 raftsman-chaos crash-states --states {states} --seed {seed} --dir {dir} --only {number}"
            );
            found.failures.lock().push((wrong, named));
        }
        found.open.fetch_add(u64::from(cut.open > 0), Ordering::Relaxed);
        let partial = !cut.writes.is_empty() && (cut.writes.len() < cut.open || cut.kept == stream::Kept::Torn);
        found.partial.fetch_add(u64::from(partial), Ordering::Relaxed);
        let looked = found.looked.fetch_add(1, Ordering::Relaxed) + 1;
        if looked.is_multiple_of(PROGRESS) {
            println!("{looked} states, {} failed", found.failures.lock().len());
        }
    }
    Ok(())
}

/// One state: mounts it, opens the store in it, and judges what it shows.
fn look(
    file: &Path,
    at: &Path,
    chance: u64,
    cut: &Cut,
    recording: &Recording,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<Result<(), Violation>> {
    let mounted = Mounted::new(file, at).context("the file system")?;
    let dir = mounted.path().join("store");
    // A task of its own: a panic is this state's failure.
    let opened = runtime.block_on(runtime.spawn(async move {
        let store = member::open(&dir, member::REOPENED).await?;
        let contents = member::contents(&store, chance).await;
        store.shutdown().await;
        contents
    }));
    let contents = opened.context("a panic")?.context("it does not open")?;
    mounted.unmount()?;
    Ok(recording.history.judge(cut.position, &contents))
}
