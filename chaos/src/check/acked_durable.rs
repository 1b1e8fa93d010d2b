//! PURE: no acknowledged write is lost, on any member, and no refused write happened.

use std::collections::BTreeMap;

use crate::check::Verdict;
use crate::history::{History, Outcome};

pub(crate) fn check(history: &History) -> Verdict {
    let mut violations = Vec::new();
    let mut looked_at = 0;
    for (member, events) in &history.truth {
        let happened: BTreeMap<&str, i64> =
            events.iter().filter_map(|event| Some((event.value.as_deref()?, event.revision))).collect();
        for operation in &history.operations {
            let Some(value) = operation.call.value() else { continue };
            match (&operation.outcome, happened.get(value)) {
                (Outcome::Written { revision }, found) if found != Some(revision) => violations.push((
                    format!(
                        "{member}: {value} was acknowledged at revision {revision}, but the member has it at {found:?}"
                    ),
                    vec![operation],
                )),
                (Outcome::Refused { error }, Some(revision)) => {
                    let why = format!("{member}: {value} was refused ({error}), yet it is there at {revision}");
                    violations.push((why, vec![operation]));
                }
                _ => {}
            }
            looked_at += usize::from(matches!(operation.outcome, Outcome::Written { .. }));
        }
    }
    Verdict::of_operations("no acknowledged write lost", looked_at, violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Operation, Watched};

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
        assert!(check(&history(written(), &[5])).holds());
        let lost = check(&history(written(), &[]));
        assert!(!lost.holds() && lost.between.len() == 1, "lost");
        assert!(!check(&history(written(), &[6])).holds(), "moved");
        assert!(!check(&history(refused(), &[5])).violations.is_empty(), "resurrected");
        assert!(!check(&History::default()).holds(), "no evidence is no proof");
    }
}
