//! PURE: no acknowledged write is lost, on any member, no refused write happened, and none happened twice.

use std::collections::BTreeMap;

use crate::check::Verdict;
use crate::history::{History, Outcome, Watched};

pub(crate) fn check(history: &History) -> Verdict {
    let mut violations = Vec::new();
    let mut looked_at = 0;
    for (member, events) in &history.truth {
        let happened = happened(events);
        for operation in &history.operations {
            let Some(value) = operation.call.value() else { continue };
            let found = happened.get(value).map_or(&[][..], Vec::as_slice);
            let violation = match (&operation.outcome, found) {
                (_, [first, .., last]) => {
                    Some(format!("{member}: {value} was written at revision {first} and again at {last}"))
                }
                (Outcome::Written { revision }, found) if found != [*revision] => Some(match found.first() {
                    Some(other) => format!(
                        "{member}: {value} was acknowledged at revision {revision}, but the member has it at {other}"
                    ),
                    None => format!(
                        "{member}: {value} was acknowledged at revision {revision}, but the member does not have it"
                    ),
                }),
                (Outcome::Refused { error }, [revision]) => {
                    Some(format!("{member}: {value} was refused ({error}), yet it is there at {revision}"))
                }
                (Outcome::Seen { .. }, [revision]) => {
                    Some(format!("{member}: {value} was not to be written, yet it is there at {revision}"))
                }
                _ => None,
            };
            violations.extend(violation.map(|words| (words, vec![operation])));
            looked_at += usize::from(matches!(operation.outcome, Outcome::Written { .. }));
        }
    }
    Verdict::of_operations("no acknowledged write lost", looked_at, violations)
}

/// The revisions at which each value was written.
fn happened(events: &[Watched]) -> BTreeMap<&str, Vec<i64>> {
    let mut happened: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in events {
        if let Some(value) = &event.value {
            happened.entry(value).or_default().push(event.revision);
        }
    }
    happened
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Operation};

    fn history(outcome: Outcome, truth: &[i64]) -> History {
        let call = Call::Put { key: "k".into(), value: "v".into() };
        let events =
            truth.iter().map(|revision| Watched { revision: *revision, key: "k".into(), value: Some("v".into()) });
        History {
            operations: vec![Operation { client: 0, call, invoked_us: 1, returned_us: 2, outcome }],
            truth: BTreeMap::from([("server-1".to_owned(), events.collect())]),
            ..History::default()
        }
    }

    #[test]
    fn verdicts() {
        let written = || Outcome::Written { revision: 5 };
        let refused = || Outcome::Refused { error: "no".into() };
        let seen = || Outcome::Seen { revision: 9, value: None };
        let unknown = || Outcome::Unknown { error: "lost".into() };
        assert!(check(&history(written(), &[5])).holds());
        let lost = check(&history(written(), &[]));
        assert!(!lost.holds() && lost.between.len() == 1, "lost");
        assert!(!check(&history(written(), &[6])).holds(), "moved");
        assert!(!check(&history(written(), &[4, 5])).violations.is_empty(), "written twice");
        assert!(!check(&history(unknown(), &[4, 5])).violations.is_empty(), "written twice, though nobody was told");
        assert!(check(&history(unknown(), &[4])).violations.is_empty());
        assert!(!check(&history(refused(), &[5])).violations.is_empty(), "resurrected");
        assert!(!check(&history(seen(), &[5])).violations.is_empty(), "written against its condition");
        assert!(!check(&History::default()).holds(), "no evidence is no proof");
    }
}
