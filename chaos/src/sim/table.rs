//! Many runs, a few at a time, and what is printed of them.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

use crate::sim::finding::{Finding, finding};
use crate::sim::museum::{By, Exhibit, MUSEUM};
use crate::sim::run::Report;
use crate::sim::schedule::Schedule;
use crate::sim::{Options, elsewhere, shrink};

/// Of what was found the table shows so much. Units: characters.
const WORDS_MAX: usize = 200;

/// What a schedule holds, in lines.
pub(crate) fn plan(schedule: &Schedule) -> String {
    let Schedule { seed, seconds, clients, snapshot_entries, latency_ms, compact_ms, drifts_ppm, .. } = schedule;
    let mut text = format!(
        "  seed {seed}: {seconds} s, {clients} clients, a snapshot every {snapshot_entries} entries, messages take up to \
         {latency_ms} ms, compaction every {compact_ms} ms, clocks go {drifts_ppm:?} millionths faster\n"
    );
    if let Some(defect) = &schedule.defect {
        let _ = writeln!(text, "  with the defect {defect}");
    }
    for step in &schedule.steps {
        let _ = writeln!(text, "  {:>6} ms, for {:>5} ms  {:?}", step.at_ms, step.lasts_ms, step.fault);
    }
    text
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
pub(crate) fn run(schedules: &[Schedule], options: &Options) -> anyhow::Result<Vec<(Schedule, Finding)>> {
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
                    if let Some(found) = finding(&judged) {
                        let path = options.dir.join(format!("seed-{}/schedule.json", schedule.seed));
                        let replay = format!("replay it with: raftsman-chaos sim --replay {}", path.display());
                        println!("seed {} FAILED: {}\n  {replay}", schedule.seed, found.told());
                        failed.lock().expect("not poisoned").push((schedule.clone(), found));
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

/// Brings in each defect, or the one that is asked for, until a seed finds it.
///
/// # Errors
/// When one is not found by as many seeds as it should be, or not by whom it should be.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(crate) fn museum(options: &Options) -> anyhow::Result<()> {
    let asked = |exhibit: &&Exhibit| options.defect.as_ref().is_none_or(|name| name == exhibit.name);
    let exhibits: Vec<_> = MUSEUM.iter().filter(asked).collect();
    let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    println!("{:<24} {:>5} {:>5}  who found it, what it stands for, and what was found", "defect", "seed", "of");
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, exhibits.len().max(1)) {
            scope.spawn(|| {
                while let Some(exhibit) = exhibits.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = exhibited(exhibit, options);
                    missed.fetch_add(usize::from(found.is_none()), Ordering::Relaxed);
                    println!("{}", shown(exhibit, found.as_ref(), options));
                }
            });
        }
    });
    let missed = missed.into_inner();
    anyhow::ensure!(missed == 0, "{missed} of {} defects were not found", exhibits.len());
    let seconds = processor_seconds();
    println!("all of {} were found, in {seconds:.1} s of the processor's time", exhibits.len());
    Ok(())
}

/// The first seed that finds a defect, and what it finds.
fn exhibited(exhibit: &Exhibit, options: &Options) -> Option<(Schedule, Finding)> {
    (1..=exhibit.seeds).find_map(|seed| {
        let defect = Some(exhibit.name.to_owned());
        let schedule = Schedule { defect, ..Schedule::of(seed, options.seconds) };
        let folder = options.dir.join(format!("{}-{seed}", exhibit.name));
        let found = finding(&elsewhere(&schedule, &folder, |_| false))?;
        (found.by_checkers() || exhibit.by == By::Work).then_some((schedule, found))
    })
}

/// A row of the museum's table.
fn shown(exhibit: &Exhibit, found: Option<&(Schedule, Finding)>, options: &Options) -> String {
    let Exhibit { name, about, seeds, .. } = exhibit;
    let Some((schedule, found)) = found else { return format!("{name:<24} {:>5} {seeds:>5}  NOT FOUND: {about}", "-") };
    let words: String = found.words.chars().take(WORDS_MAX).collect();
    let row = format!("{name:<24} {:>5} {seeds:>5}  {}: {about}: {words}", schedule.seed, found.by());
    if !options.shrink {
        return row;
    }
    let folder = options.dir.join(name);
    let shrunk = shrink(schedule, found, &folder).unwrap_or_else(|error| format!("it was not shortened: {error:#}"));
    format!("{row}\n  {shrunk}")
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
