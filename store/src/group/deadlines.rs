//! PURE: when leases end, and when what is left of them is to be noted, each in order: looking at them costs what is due,
//! however many there are.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::machine::lease::Times;

/// Leases ended at a time at most.
const REVOKES_MAX: usize = 250;
/// Leases whose rest is noted by one entry at most.
const NOTES_MAX: usize = 1000;
/// Leases that live shorter start anew under a new leader, seconds.
const NOTED_FROM: i64 = 30;
/// Seconds that a lease must have lost since its rest was noted, or since it was renewed.
const NOTE_EVERY: i64 = 10;
/// Longer than anything runs.
const FOR_EVER: Duration = Duration::from_secs(1 << 33);

/// See the module. Each lease with the grant that it was counted for: an id may be granted again at once after it was
/// revoked, and then has all of its time.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    counted: HashMap<i64, Counted>,
    /// Of all leases.
    ends: BTreeSet<(Instant, i64)>,
    /// When what is left is to be noted, of those of which it ever is.
    notes: BTreeSet<(Instant, i64)>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    times: Times,
    end: Instant,
    note: Option<Instant>,
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Leases that have ended.
    pub(super) ended: Vec<i64>,
    /// Leases whose rest is to be noted, with that, seconds.
    pub(super) notes: Vec<(i64, i64)>,
}

impl Counted {
    fn new(times: Times, end: Instant, now: Instant) -> Self {
        let note = noted_at(times).map(|rest| after(now, end.saturating_duration_since(now).saturating_sub(rest)));
        Counted { times, end, note }
    }
}

impl Deadlines {
    /// When a lease ends; of one that is not counted yet its time begins now.
    pub(super) fn of(&mut self, id: i64, times: Times, now: Instant) -> Instant {
        let held = self.counted.get(&id).copied();
        let end = carried(held, times, now);
        if held.is_none_or(|held| held.times != times) {
            self.place(id, Some(Counted::new(times, end, now)));
        }
        end
    }

    /// Its time begins again.
    pub(super) fn renew(&mut self, id: i64, times: Times, now: Instant) {
        let end = after(now, Times { noted: 0, ..times }.full());
        self.place(id, Some(Counted::new(times, end, now)));
    }

    /// It was granted, revoked, or what is left of it was noted.
    pub(super) fn changed(&mut self, id: i64, times: Option<Times>, now: Instant) {
        match times {
            Some(times) => drop(self.of(id, times, now)),
            None => self.place(id, None),
        }
    }

    /// These are all there are.
    pub(super) fn all(&mut self, leases: &[(i64, Times)], now: Instant) {
        let counted = leases.iter().map(|(id, times)| {
            let end = carried(self.counted.get(id).copied(), *times, now);
            (*id, Counted::new(*times, end, now))
        });
        self.counted = counted.collect();
        self.ends = self.counted.iter().map(|(id, held)| (held.end, *id)).collect();
        self.notes = self.counted.iter().filter_map(|(id, held)| Some((held.note?, *id))).collect();
    }

    /// What is due, of leases that are still there as `current` tells.
    pub(super) fn due(&mut self, now: Instant, current: impl Fn(i64) -> Option<Times>) -> Due {
        let first = |all: &BTreeSet<(Instant, i64)>, most| -> Vec<i64> {
            all.iter().take_while(|(at, _)| *at <= now).take(most).map(|(_, id)| *id).collect()
        };
        let mut due = Due::default();
        for id in first(&self.ends, REVOKES_MAX) {
            self.changed(id, current(id), now);
            if self.counted.get(&id).is_some_and(|held| held.end <= now) {
                due.ended.push(id);
            }
        }
        for id in first(&self.notes, NOTES_MAX) {
            self.changed(id, current(id), now);
            let Some(held) = self.counted.get(&id).copied().filter(|held| held.note.is_some_and(|at| at <= now)) else {
                continue;
            };
            let left = seconds(held.end.saturating_duration_since(now));
            if notable(held.times.ttl, left, held.times.noted) {
                due.notes.push((id, left));
            } else {
                // It has ended.
                self.place(id, Some(Counted { note: None, ..held }));
            }
        }
        due
    }

    fn place(&mut self, id: i64, to: Option<Counted>) {
        if let Some(held) = self.counted.remove(&id) {
            self.ends.remove(&(held.end, id));
            if let Some(at) = held.note {
                self.notes.remove(&(at, id));
            }
        }
        if let Some(held) = to {
            self.ends.insert((held.end, id));
            self.notes.extend(held.note.map(|at| (at, id)));
            self.counted.insert(id, held);
        }
    }
}

/// The end of a lease that may be counted already.
fn carried(held: Option<Counted>, times: Times, now: Instant) -> Instant {
    held.filter(|held| held.times.grant == times.grant).map_or_else(|| after(now, times.full()), |held| held.end)
}

/// The clock may run past any time: what is longer is as good as for ever.
fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now + FOR_EVER)
}

/// Seconds that a lease must lose before its rest is noted. Not before its owner has missed the time at which clients
/// renew, a third of it: healthy ones cost nothing.
fn to_lose(ttl: i64, noted: i64) -> i64 {
    if noted > 0 { NOTE_EVERY } else { (ttl / 5 * 2 + ttl % 5 * 2 / 5).clamp(NOTE_EVERY, 3 * NOTE_EVERY) }
}

/// Whether the rest of a lease is to be noted, given its time to live, what is left and what was noted last (0: nothing).
fn notable(ttl: i64, left: i64, noted: i64) -> bool {
    let lost = (if noted > 0 { noted } else { ttl }) - left;
    ttl >= NOTED_FROM && left > 0 && lost >= to_lose(ttl, noted)
}

/// With how much left it is to be noted, if ever.
fn noted_at(times: Times) -> Option<Duration> {
    let Times { ttl, noted, .. } = times;
    let left = (if noted > 0 { noted } else { ttl }) - to_lose(ttl, noted);
    let ever = ttl >= NOTED_FROM && left > 0;
    ever.then(|| Duration::from_secs(left.unsigned_abs()))
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn times(ttl: i64, noted: i64, grant: u64) -> Times {
        Times { ttl, noted, grant }
    }

    #[test]
    fn an_id_that_is_granted_again_has_all_of_its_time() {
        let (now, mut deadlines) = (Instant::now(), Deadlines::default());
        let seconds = |count| now + Duration::from_secs(count);
        assert_eq!(deadlines.of(7, times(5, 0, 1), now), seconds(5));
        assert_eq!(deadlines.of(7, times(5, 0, 1), seconds(3)), seconds(5), "it goes on counting");
        assert_eq!(deadlines.of(7, times(100, 0, 2), seconds(3)), seconds(103), "another lease");
        deadlines.renew(7, times(100, 40, 2), seconds(4));
        assert_eq!(deadlines.of(7, times(100, 40, 2), seconds(5)), seconds(104));
        assert_eq!(deadlines.of(8, times(100, 40, 3), now), seconds(40), "a new leader starts from what was noted");
        assert!(deadlines.of(9, times(i64::MAX, 0, 4), now) >= now + FOR_EVER);
    }

    #[test]
    fn what_is_left_is_noted_of_leases_that_are_not_renewed() {
        assert!(!notable(20, 5, 0), "it is short");
        assert_eq!([notable(60, 41, 0), notable(60, 36, 0)], [false, true], "clients renew after a third");
        assert_eq!([notable(3600, 3571, 0), notable(3600, 3570, 0)], [false, true]);
        assert_eq!([notable(60, 27, 36), notable(60, 26, 36)], [false, true]);
        assert!(!notable(60, 0, 36), "it has ended");
    }

    /// Looks at every lease, each time.
    #[derive(Default)]
    struct Plain(BTreeMap<i64, (u64, Instant)>);

    impl Plain {
        fn of(&mut self, id: i64, times: Times, now: Instant) -> Instant {
            let starts = (times.grant, after(now, times.full()));
            let held = self.0.entry(id).or_insert(starts);
            if held.0 != times.grant {
                *held = starts;
            }
            held.1
        }

        fn due(&mut self, leases: &BTreeMap<i64, Times>, now: Instant) -> Due {
            let mut due = Due::default();
            for (id, times) in leases {
                let end = self.of(*id, *times, now);
                let left = seconds(end.saturating_duration_since(now));
                if end <= now {
                    due.ended.push(*id);
                } else if notable(times.ttl, left, times.noted) {
                    due.notes.push((*id, left));
                }
            }
            self.0.retain(|id, _| leases.contains_key(id));
            due
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Grant(i64, i64),
        Revoke(i64),
        Renew(i64),
        Note(i64, i64),
        /// Milliseconds go by, and whoever counts looks; whether it is told of all leases instead of those that changed.
        Look(u64, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = 1..6_i64;
        prop_oneof![
            (id.clone(), 1..120_i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
            id.clone().prop_map(Step::Revoke),
            id.clone().prop_map(Step::Renew),
            (id, 0..60_i64).prop_map(|(id, left)| Step::Note(id, left)),
            (0..40_000_u64, any::<bool>()).prop_map(|(time, all)| Step::Look(time, all)),
            (0..40_000_u64).prop_map(|time| Step::Look(time, false)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_due_is_what_looking_at_every_lease_would_find(steps in prop::collection::vec(step(), 1..60)) {
            let (mut now, mut grants) = (Instant::now(), 0);
            let (mut deadlines, mut plain) = (Deadlines::default(), Plain::default());
            let (mut leases, mut changed) = (BTreeMap::<i64, Times>::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Grant(id, ttl) => {
                        grants += 1;
                        leases.entry(id).or_insert(times(ttl, 0, grants));
                        changed.insert(id);
                    }
                    Step::Revoke(id) => {
                        leases.remove(&id);
                        changed.insert(id);
                    }
                    Step::Renew(id) => if let Some(held) = leases.get_mut(&id) {
                        held.noted = 0;
                        changed.insert(id);
                        deadlines.renew(id, *held, now);
                        plain.0.insert(id, (held.grant, after(now, held.full())));
                    },
                    Step::Note(id, left) => if let Some(held) = leases.get_mut(&id) {
                        held.noted = left;
                        changed.insert(id);
                    },
                    Step::Look(time, all) => {
                        now += Duration::from_millis(time);
                        if all {
                            deadlines.all(&leases.iter().map(|(id, times)| (*id, *times)).collect::<Vec<_>>(), now);
                        }
                        for id in std::mem::take(&mut changed) {
                            deadlines.changed(id, leases.get(&id).copied(), now);
                        }
                        let mut due = deadlines.due(now, |id| leases.get(&id).copied());
                        due.ended.sort_unstable();
                        due.notes.sort_unstable();
                        prop_assert_eq!(due, plain.due(&leases, now));
                    }
                }
            }
        }
    }

    #[test]
    fn a_look_costs_what_is_due_however_many_there_are() {
        const MANY: i64 = 200_000;
        let (now, mut deadlines) = (Instant::now(), Deadlines::default());
        let leases: Vec<_> = (1..=MANY).map(|id| (id, times(3600, 0, 1))).collect();
        deadlines.all(&leases, now);
        deadlines.changed(MANY + 1, Some(times(5, 0, 1)), now);
        let asked = std::cell::Cell::new(0);
        for tick in 0..100 {
            let due = deadlines.due(now + Duration::from_millis(tick * 250), |id| {
                asked.set(asked.get() + 1);
                Some(times(if id > MANY { 5 } else { 3600 }, 0, 1))
            });
            assert_eq!(due.ended, if tick >= 20 { vec![MANY + 1] } else { Vec::new() });
        }
        assert_eq!(asked.get(), 80, "only the one that had ended was looked at");
        // Those that were gone before they were due are forgotten.
        assert_eq!(deadlines.due(now + Duration::from_secs(9000), |_| None), Due::default());
        assert_eq!(deadlines.counted.len(), leases.len() + 1 - REVOKES_MAX - NOTES_MAX);
        assert_eq!(deadlines.ends.len(), deadlines.counted.len());
    }
}
