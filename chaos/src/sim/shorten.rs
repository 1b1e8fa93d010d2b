//! Shortens a schedule that fails, as long as it fails the same way.

use std::path::Path;

use crate::sim::elsewhere;
use crate::sim::finding::{Finding, finding};
use crate::sim::schedule::{Schedule, Step};
use crate::sim::shrink::ddmin;

/// A schedule that fails as another one does, with fewer faults.
pub(crate) struct Shortened {
    pub(crate) schedule: Schedule,
    pub(crate) runs: usize,
}

/// Leaves faults out, and time behind the failure, as long as it fails the same way. `attempt`: a folder of its own.
pub(crate) fn shorten(schedule: &Schedule, found: &Finding, attempt: &Path) -> Shortened {
    let mut runs = 0;
    let mut fails = |shorter: &Schedule| {
        runs += 1;
        finding(&elsewhere(shorter, attempt, |_| false)).is_some_and(|other| found.is_as(&other))
    };
    let mut base = schedule.clone();
    if let Some(shorter) = found.at_ms.and_then(|at_ms| early(schedule, at_ms)).filter(|shorter| fails(shorter)) {
        base = shorter;
    }
    let with = |steps: &[Step]| Schedule { steps: steps.to_vec(), ..base.clone() };
    let steps = ddmin(&base.steps, &mut |steps| fails(&with(steps)));
    let schedule = with(&steps);
    // Absent where no run came to nothing.
    let _ = std::fs::remove_dir_all(attempt);
    Shortened { schedule, runs }
}

/// Without what comes after a moment; none: nothing does.
fn early(schedule: &Schedule, at_ms: u64) -> Option<Schedule> {
    let seconds = schedule.seconds.min(at_ms / 1000 + 1);
    let steps: Vec<_> = schedule.steps.iter().filter(|step| step.at_ms <= at_ms).cloned().collect();
    let shorter = seconds < schedule.seconds || steps.len() < schedule.steps.len();
    shorter.then(|| Schedule { seconds, steps, ..schedule.clone() })
}
