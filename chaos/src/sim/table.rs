//! Many runs, a few at a time, and what is printed of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

use crate::sim::museum::MUSEUM;
use crate::sim::run::Report;
use crate::sim::schedule::Schedule;
use crate::sim::{Options, elsewhere};

/// Says what a schedule holds.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn plan(schedule: &Schedule) {
    println!(
        "seed {}: {} s, {} clients, a snapshot every {} entries, messages take up to {} ms",
        schedule.seed, schedule.seconds, schedule.clients, schedule.snapshot_entries, schedule.latency_ms
    );
    for step in &schedule.steps {
        println!("  {:>6} ms, for {:>5} ms  {:?}", step.at_ms, step.lasts_ms, step.fault);
    }
}

/// The processor's seconds that processes took which have ended.
fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    usage.map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// What all runs came to.
#[derive(Default)]
struct Sums {
    operations: usize,
    written: usize,
    simulated_ms: u64,
    stops: u64,
    midst: u64,
    sectors: u64,
    torn: u64,
    cuts: u64,
    flips: usize,
}

impl Sums {
    fn add(&mut self, report: &Report) {
        self.operations += report.operations;
        self.written += report.written;
        self.simulated_ms += report.simulated_ms;
        self.stops += report.evidence.stops;
        self.midst += report.evidence.midst;
        self.sectors += report.evidence.sectors_lost;
        self.torn += report.evidence.torn_writes;
        self.cuts += report.evidence.cuts;
        self.flips += report.evidence.flips.len();
    }
}

/// Runs all; answers those that failed.
///
/// # Errors
/// When processes cannot be started.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn run(schedules: &[Schedule], options: &Options) -> anyhow::Result<Vec<Schedule>> {
    let (began, next) = (Instant::now(), AtomicUsize::new(0));
    let (sums, failed) = (Mutex::new(Sums::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, schedules.len().max(1)) {
            scope.spawn(|| {
                while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let judged = one(schedule, options);
                    if let Ok(report) = &judged {
                        sums.lock().expect("not poisoned").add(report);
                    }
                    if let Some(why) = complaint(&judged) {
                        println!("seed {} FAILED: {why}", schedule.seed);
                        let folder = options.dir.join(format!("seed-{}", schedule.seed));
                        println!("  replay it with: raftsman-chaos sim --replay {}/schedule.json", folder.display());
                        failed.lock().expect("not poisoned").push(schedule.clone());
                    } else if let (Ok(report), true) = (&judged, schedules.len() == 1) {
                        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
                    }
                }
            });
        }
    });
    let (sums, failed) = (sums.into_inner().expect("not poisoned"), failed.into_inner().expect("not poisoned"));
    let (wall, processor) = (began.elapsed().as_secs_f64(), processor_seconds().max(0.001));
    let simulated = sums.simulated_ms as f64 / 1000.0;
    println!(
        "{} runs, {} failed, in {wall:.1} s ({:.2} a second); {simulated:.0} s simulated, {:.1} times the processor's \
         {processor:.1} s",
        schedules.len(),
        failed.len(),
        schedules.len() as f64 / wall,
        simulated / processor
    );
    println!(
        "{} calls, {} writes; {} members stopped, {} interrupted in a write, {} sectors lost, {} writes torn, \
         {} links cut, {} bits flipped",
        sums.operations, sums.written, sums.stops, sums.midst, sums.sectors, sums.torn, sums.cuts, sums.flips
    );
    Ok(failed)
}

/// Brings in each defect until a seed finds it.
///
/// # Errors
/// When one is not found by as many seeds as it should be.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn museum(options: &Options) -> anyhow::Result<()> {
    let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    println!("{:<24} {:>6} {:>6}  what it stands for, and what was found", "defect", "seed", "of");
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, MUSEUM.len()) {
            scope.spawn(|| {
                while let Some(exhibit) = MUSEUM.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = (1..=exhibit.seeds).find_map(|seed| {
                        let defect = Some(exhibit.name.to_owned());
                        let schedule = Schedule { defect, ..Schedule::of(seed, options.seconds) };
                        let folder = options.dir.join(format!("{}-{seed}", exhibit.name));
                        complaint(&elsewhere(&schedule, &folder, |_| false)).map(|why| (seed, why))
                    });
                    let (seed, why) = found.map_or_else(
                        || ("-".to_owned(), "NOT FOUND".to_owned()),
                        |(seed, why)| (seed.to_string(), why.chars().take(160).collect()),
                    );
                    missed.fetch_add(usize::from(seed == "-"), Ordering::Relaxed);
                    println!("{:<24} {seed:>6} {:>6}  {}: {why}", exhibit.name, exhibit.seeds, exhibit.about);
                }
            });
        }
    });
    let missed = missed.into_inner();
    anyhow::ensure!(missed == 0, "{missed} of {} defects were not found", MUSEUM.len());
    Ok(())
}

fn one(schedule: &Schedule, options: &Options) -> anyhow::Result<Report> {
    let folder = options.dir.join(format!("seed-{}", schedule.seed));
    // What an earlier run left is not this one's.
    let _ = std::fs::remove_dir_all(&folder);
    let first = elsewhere(schedule, &folder, |report| !report.ok())?;
    if options.twice {
        let again = options.dir.join(format!("seed-{}-again", schedule.seed));
        let second = elsewhere(schedule, &again, |report| !report.ok())?;
        let (one, other) = (&first, &second);
        anyhow::ensure!(
            (one.trace, one.messages) == (other.trace, other.messages),
            "two runs differ: {:x} after {} messages, {:x} after {}",
            one.trace,
            one.messages,
            other.trace,
            other.messages
        );
    }
    Ok(first)
}

/// What is wrong with a run.
fn complaint(judged: &anyhow::Result<Report>) -> Option<String> {
    let report = match judged {
        Ok(report) if report.ok() => return None,
        Ok(report) => report,
        Err(error) => return Some(format!("{error:#}")),
    };
    let broken = report.verdicts.iter().filter(|verdict| !verdict.holds()).map(|verdict| {
        let first = verdict.violations.first().map_or("no evidence", String::as_str);
        format!("{}: {first} ({} of these)", verdict.property, verdict.violations.len())
    });
    Some(broken.collect::<Vec<_>>().join("; "))
}
