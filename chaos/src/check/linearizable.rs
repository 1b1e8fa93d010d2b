//! PURE: every answer fits one order of all operations, and that order respects real time.
//!
//! The store names the order itself: each answer carries the revision it was evaluated at. Sorting by revision
//! (writes before the reads that saw them) and replaying a map is near linear, where a general search is exponential.
//! Unknown writes take part when the truth shows that they happened.

use std::collections::BTreeMap;

use crate::check::{Shown, Verdict};
use crate::history::{Call, History, Operation, Outcome, Watched};

/// A point of the order: an operation, or a write whose client never heard of it.
struct Point<'a> {
    revision: i64,
    operation: &'a Operation,
    /// A write of the unknown may take effect arbitrarily late.
    returned_us: u64,
    effect: Effect<'a>,
}

enum Effect<'a> {
    Write { key: &'a str, value: &'a str },
    Read { key: &'a str, value: Option<(&'a str, i64)> },
}

pub(crate) fn check(history: &History) -> Verdict {
    let truth = history.truth.values().next().map(Vec::as_slice).unwrap_or_default();
    let mut points = points(&history.operations, truth);
    points
        .sort_by_key(|point| (point.revision, matches!(point.effect, Effect::Read { .. }), point.operation.invoked_us));
    let mut violations = replay(&points);
    violations.extend(real_time(&points));
    Verdict::of_operations("linearizable by revision", points.len(), violations)
}

fn points<'a>(operations: &'a [Operation], truth: &'a [Watched]) -> Vec<Point<'a>> {
    let happened: BTreeMap<&str, i64> =
        truth.iter().filter_map(|event| Some((event.value.as_deref()?, event.revision))).collect();
    operations.iter().filter_map(|operation| point(operation, &happened)).collect()
}

fn point<'a>(operation: &'a Operation, happened: &BTreeMap<&str, i64>) -> Option<Point<'a>> {
    let key = operation.call.key();
    let at = |revision, returned_us, effect| Some(Point { revision, operation, returned_us, effect });
    match &operation.outcome {
        Outcome::Written { revision } => {
            at(*revision, operation.returned_us, Effect::Write { key, value: operation.call.value()? })
        }
        Outcome::Seen { revision, value } => {
            let value = value.as_ref().map(|(value, revision)| (value.as_str(), *revision));
            at(*revision, operation.returned_us, Effect::Read { key, value })
        }
        Outcome::Refused { .. } => None,
        Outcome::Unknown { .. } => {
            let value = operation.call.value()?;
            at(*happened.get(value)?, u64::MAX, Effect::Write { key, value })
        }
    }
}

/// Who wrote each value.
fn writers<'a>(points: &[Point<'a>]) -> BTreeMap<&'a str, &'a Operation> {
    let written = points.iter().filter_map(|point| match point.effect {
        Effect::Write { value, .. } => Some((value, point.operation)),
        Effect::Read { .. } => None,
    });
    written.collect()
}

/// Each read sees the newest write before it; no two writes share a revision.
fn replay<'a>(points: &[Point<'a>]) -> Vec<Shown<'a>> {
    let (writers, mut violations) = (writers(points), Vec::new());
    let mut state: BTreeMap<&str, (&str, i64, &Operation)> = BTreeMap::new();
    let mut last: Option<&Point<'a>> = None;
    for point in points {
        let operation = point.operation;
        match &point.effect {
            Effect::Write { key, value } => {
                if let Some(last) = last.filter(|last| last.revision == point.revision) {
                    let why = format!("two writes have revision {}; one of them wrote {value}", last.revision);
                    violations.push((why, vec![last.operation, operation]));
                }
                if let Call::PutIf { mod_revision, .. } = &operation.call {
                    let before = state.get(key);
                    let actual = before.map_or(0, |(_, revision, _)| *revision);
                    if actual != *mod_revision {
                        let why = format!(
                            "{key} was at revision {actual}, yet a write that demanded {mod_revision} succeeded at {}",
                            point.revision
                        );
                        violations.push((why, before.map(|held| held.2).into_iter().chain([operation]).collect()));
                    }
                }
                last = Some(point);
                state.insert(key, (value, point.revision, operation));
            }
            Effect::Read { key, value } => {
                let before = state.get(key);
                let expected = before.map(|(value, revision, _)| (*value, *revision));
                if *value != expected {
                    let why = format!(
                        "client {} read {key} at revision {}: saw {value:?}, the order says {expected:?}",
                        operation.client, point.revision
                    );
                    let seen = value.and_then(|(value, _)| writers.get(value).copied());
                    let newest = before.map(|held| held.2).filter(|newest| seen != Some(*newest));
                    violations.push((why, seen.into_iter().chain(newest).chain([operation]).collect()));
                }
            }
        }
    }
    violations
}

/// Nothing that ended before another began comes after it in the order.
fn real_time<'a>(points: &[Point<'a>]) -> Vec<Shown<'a>> {
    let mut violations = Vec::new();
    let mut latest: Option<&Operation> = None;
    for point in points {
        let operation = point.operation;
        if let Some(latest) = latest.filter(|latest| point.returned_us < latest.invoked_us) {
            let why = format!(
                "client {}'s operation at revision {} returned at {} µs, before one that precedes it began at {} µs",
                operation.client, point.revision, point.returned_us, latest.invoked_us
            );
            violations.push((why, vec![operation, latest]));
        }
        if latest.is_none_or(|latest| latest.invoked_us < operation.invoked_us) {
            latest = Some(operation);
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    /// A correct history: each operation takes effect at a point inside its interval.
    fn generated(count: usize, seed: u64) -> History {
        let mut seed = Seed::new(seed);
        let mut clocks = [0_u64; 16];
        let mut pending = Vec::new();
        for index in 0..count {
            let client = index % clocks.len();
            let invoked_us = clocks[client] + 1 + seed.below(50);
            let returned_us = invoked_us + 2 + seed.below(1000);
            clocks[client] = returned_us;
            let point = invoked_us + 1 + seed.below(returned_us - invoked_us - 1);
            let key = format!("k{}", seed.below(20));
            let call = match seed.below(2) {
                0 => Call::Put { key, value: format!("v{index}") },
                _ => Call::Get { key },
            };
            pending.push((point, client as u32, call, invoked_us, returned_us));
        }
        pending.sort_by_key(|(point, ..)| *point);
        let mut state = BTreeMap::new();
        let mut revision = 1;
        let mut history = History::default();
        for (_, client, call, invoked_us, returned_us) in pending {
            let outcome = match &call {
                Call::Get { key } => Outcome::Seen { revision, value: state.get(key).cloned() },
                _ => {
                    revision += 1;
                    state.insert(call.key().to_owned(), (call.value().unwrap().to_owned(), revision));
                    Outcome::Written { revision }
                }
            };
            history.operations.push(Operation { client, call, invoked_us, returned_us, outcome });
        }
        history
    }

    #[test]
    fn correct_histories_pass() {
        for seed in 0..50 {
            assert!(check(&generated(2000, seed)).holds(), "seed {seed}");
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        for seed in 0..50 {
            let mut history = generated(2000, seed);
            let read = history
                .operations
                .iter_mut()
                .filter(|operation| matches!(operation.outcome, Outcome::Seen { revision, .. } if revision > 600))
                .nth(5)
                .unwrap();
            if let Outcome::Seen { revision, .. } = &mut read.outcome {
                *revision -= 500;
            }
            let read = read.clone();
            let verdict = check(&history);
            assert!(!verdict.holds(), "seed {seed}");
            assert!(verdict.between.len() <= 3 && verdict.between.contains(&read), "{:?}", verdict.between);
        }
    }

    #[test]
    fn a_lost_write_is_found() {
        let mut history = generated(2000, 7);
        let read = history.operations.iter().find_map(|operation| match &operation.outcome {
            Outcome::Seen { value: Some((_, revision)), .. } if *revision > 300 => Some(*revision),
            _ => None,
        });
        let lost = Outcome::Written { revision: read.unwrap() };
        history.operations.retain(|operation| operation.outcome != lost);
        assert!(!check(&history).holds(), "a value without its write passed");
    }

    #[test]
    fn a_write_that_ignored_its_condition_is_found() {
        let mut history = generated(2000, 9);
        let write = history
            .operations
            .iter_mut()
            .find(|operation| matches!(operation.outcome, Outcome::Written { revision: 900 }))
            .unwrap();
        let (key, value) = (write.call.key().to_owned(), write.call.value().unwrap().to_owned());
        write.call = Call::PutIf { key, value, mod_revision: 899 };
        assert!(!check(&history).holds());
    }
}
