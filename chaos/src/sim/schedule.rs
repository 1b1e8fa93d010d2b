//! PURE: what happens to the members of a simulation, and when: drawn from a seed, written down, replayed, shortened.

use serde::{Deserialize, Serialize};

use crate::seed::Seed;

/// Members of a simulated group.
pub(crate) const MEMBERS: usize = 3;
/// A clock goes faster or slower by five hundredths at most.
const DRIFT_PPM_MAX: u64 = 50_000;
/// Nothing happens before: members find each other first.
const CALM_MS: u64 = 1500;

/// One thing that goes wrong, and for how long. Members are counted from 0; times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// The process is killed; its disk stays as it is.
    Kill { member: usize },
    /// The machine loses its power: what was not synced is lost, in part.
    PowerLoss { member: usize },
    /// All of them do, at once.
    PowerLossOfAll,
    /// Nothing gets through to and from a member.
    Isolate { member: usize },
    /// Nothing gets through between two.
    Cut { one: usize, other: usize },
    /// Nothing gets through in one direction.
    CutOneWay { from: usize, to: usize },
    /// What is sent between two arrives later, all of it.
    Hold { one: usize, other: usize },
    /// The links of a member are slow.
    SlowLinks { member: usize, latency_ms: u64 },
    /// Syncs of a member's disk fail.
    SyncsFail { member: usize },
    /// A member's disk is full.
    DiskFull { member: usize },
    /// A member's disk takes up to so long for a sync.
    SlowDisk { member: usize, sync_ms: u64 },
    /// A bit of what lies on a member's disk flips while it does not run.
    BitFlip { member: usize },
    /// A member's wall clock is wrong.
    ClockJump { member: usize, ms: i64 },
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) at_ms: u64,
    pub(crate) lasts_ms: u64,
    pub(crate) fault: Fault,
}

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Of clients, of the network's delays, of what disks lose.
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) clients: u32,
    /// Log entries between snapshots.
    pub(crate) snapshot_entries: u64,
    /// A message takes so long at most.
    pub(crate) latency_ms: u64,
    /// Between two compactions; 0: there are none.
    #[serde(default)]
    pub(crate) compact_ms: u64,
    /// So much faster than time members' clocks go, millionths.
    #[serde(default)]
    pub(crate) drifts_ppm: [i64; MEMBERS],
    /// A defect that is brought in on purpose, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) defect: Option<String>,
    pub(crate) steps: Vec<Step>,
}

impl Schedule {
    /// What a seed stands for.
    pub(crate) fn of(seed: u64, seconds: u64) -> Self {
        // A stream per purpose: what is added to one does not move another.
        let mut settings = Seed::of(seed, "settings");
        let mut faults = Seed::of(seed, "faults");
        let pick = |choice: &[u64], random: &mut Seed| {
            let place = usize::try_from(random.below(choice.len() as u64)).unwrap_or(0);
            choice[place]
        };
        let clients = 2 + u32::try_from(settings.below(4)).unwrap_or(0);
        let snapshot_entries = pick(&[40, 150, 600], &mut settings);
        let latency_ms = pick(&[3, 15, 40], &mut settings);
        let compact_ms = pick(&[0, 1000, 3000], &mut settings);
        let drifts = settings.below(2) == 0;
        let drifts_ppm = [0; MEMBERS].map(|_| if drifts { drift(&mut settings) } else { 0 });
        // Each seed has some kinds of faults and not others.
        let kinds: Vec<u64> = (0..KINDS).filter(|_| faults.below(5) < 2).collect();
        let (mut steps, mut at_ms) = (Vec::new(), CALM_MS);
        while !kinds.is_empty() {
            at_ms += 100 + faults.below(2500);
            let lasts_ms = 100 + faults.below(4000);
            if at_ms + 500 > 1000 * seconds {
                break;
            }
            let kind = pick(&kinds, &mut faults);
            steps.push(Step { at_ms, lasts_ms, fault: fault(kind, &mut faults) });
        }
        let defect = None;
        Schedule { seed, seconds, clients, snapshot_entries, latency_ms, compact_ms, drifts_ppm, defect, steps }
    }
}

/// Within what leases have to bear.
fn drift(random: &mut Seed) -> i64 {
    i64::try_from(random.below(2 * DRIFT_PPM_MAX + 1)).unwrap_or(0) - i64::try_from(DRIFT_PPM_MAX).unwrap_or(0)
}

/// How many kinds there are.
const KINDS: u64 = 13;

fn fault(kind: u64, random: &mut Seed) -> Fault {
    let members = MEMBERS as u64;
    let member = usize::try_from(random.below(members)).unwrap_or(0);
    let other = (member + 1 + usize::try_from(random.below(members - 1)).unwrap_or(0)) % MEMBERS;
    match kind {
        0 => Fault::Kill { member },
        1 => Fault::PowerLoss { member },
        2 => Fault::PowerLossOfAll,
        3 => Fault::Isolate { member },
        4 => Fault::Cut { one: member, other },
        5 => Fault::CutOneWay { from: member, to: other },
        6 => Fault::Hold { one: member, other },
        7 => Fault::SlowLinks { member, latency_ms: 50 + random.below(300) },
        8 => Fault::SyncsFail { member },
        9 => Fault::DiskFull { member },
        10 => Fault::SlowDisk { member, sync_ms: 20 + random.below(400) },
        11 => Fault::BitFlip { member },
        _ => {
            let ms = i64::try_from(random.below(7_200_000)).unwrap_or(0) - 3_600_000;
            Fault::ClockJump { member, ms }
        }
    }
}

/// What is done to the world at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Stop { member: usize, power: bool },
    Flip { member: usize },
    Start { member: usize },
    Partition { one: usize, other: usize, on: bool },
    OneWay { from: usize, to: usize, on: bool },
    Hold { one: usize, other: usize, on: bool },
    Latency { member: usize, ms: Option<u64> },
    SyncsFail { member: usize, on: bool },
    Full { member: usize, on: bool },
    SlowSyncs { member: usize, ms: Option<u64> },
    Skew { member: usize, ms: i64 },
}

/// The steps as actions in the order of their times.
pub(crate) fn actions(steps: &[Step]) -> Vec<(u64, Action)> {
    let mut all = Vec::new();
    for step in steps {
        let (begin, end) = (step.at_ms, step.at_ms + step.lasts_ms);
        let mut both = |first: Action, last: Action| all.extend([(begin, first), (end, last)]);
        let start = |member| Action::Start { member };
        match step.fault {
            Fault::Kill { member } => both(Action::Stop { member, power: false }, start(member)),
            Fault::PowerLoss { member } => both(Action::Stop { member, power: true }, start(member)),
            Fault::PowerLossOfAll => {
                (0..MEMBERS).for_each(|member| both(Action::Stop { member, power: true }, start(member)));
            }
            Fault::Isolate { member } => {
                for other in (0..MEMBERS).filter(|other| *other != member) {
                    let cut = |on| Action::Partition { one: member, other, on };
                    both(cut(true), cut(false));
                }
            }
            Fault::Cut { one, other } => {
                let cut = |on| Action::Partition { one, other, on };
                both(cut(true), cut(false));
            }
            Fault::CutOneWay { from, to } => {
                let cut = |on| Action::OneWay { from, to, on };
                both(cut(true), cut(false));
            }
            Fault::Hold { one, other } => {
                let hold = |on| Action::Hold { one, other, on };
                both(hold(true), hold(false));
            }
            Fault::SlowLinks { member, latency_ms } => {
                let slow = |ms| Action::Latency { member, ms };
                both(slow(Some(latency_ms)), slow(None));
            }
            Fault::SyncsFail { member } => {
                both(Action::SyncsFail { member, on: true }, Action::SyncsFail { member, on: false });
                all.push((end, start(member)));
            }
            Fault::DiskFull { member } => {
                both(Action::Full { member, on: true }, Action::Full { member, on: false });
                all.push((end, start(member)));
            }
            Fault::SlowDisk { member, sync_ms } => {
                let slow = |ms| Action::SlowSyncs { member, ms };
                both(slow(Some(sync_ms)), slow(None));
            }
            Fault::BitFlip { member } => {
                both(Action::Stop { member, power: false }, start(member));
                all.push((begin, Action::Flip { member }));
            }
            Fault::ClockJump { member, ms } => {
                both(Action::Skew { member, ms }, Action::Skew { member, ms: 0 });
            }
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_for_one_schedule_and_every_kind_is_drawn() {
        assert_eq!(Schedule::of(7, 20), Schedule::of(7, 20));
        assert_ne!(Schedule::of(7, 20).steps, Schedule::of(8, 20).steps);
        let steps: Vec<Step> = (0..200).flat_map(|seed| Schedule::of(seed, 20).steps).collect();
        let mut kinds: Vec<_> = steps.iter().map(|step| std::mem::discriminant(&step.fault)).collect();
        kinds.dedup();
        let distinct: std::collections::HashSet<_> = kinds.into_iter().collect();
        assert_eq!(distinct.len() as u64, KINDS);
    }

    #[test]
    fn a_schedule_is_what_was_written_down() {
        let schedule = Schedule::of(3, 20);
        let text = serde_json::to_string(&schedule).expect("plain");
        assert_eq!(serde_json::from_str::<Schedule>(&text).expect("read"), schedule);
    }

    #[test]
    fn actions_are_in_order_and_each_is_taken_back() {
        for seed in 0..50 {
            let schedule = Schedule::of(seed, 20);
            let actions = actions(&schedule.steps);
            assert!(actions.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            let stops = |action: &Action| matches!(action, Action::Stop { .. });
            let starts = |action: &Action| matches!(action, Action::Start { .. });
            let count = |wanted: fn(&Action) -> bool| actions.iter().filter(|(_, action)| wanted(action)).count();
            assert!(count(starts) >= count(stops));
        }
    }
}
