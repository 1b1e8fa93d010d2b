//! PURE: a watch delivers every event after its start exactly once, in order; all members tell the same history.
//!
//! Source: etcd's watch guarantees (ordered, unique, reliable, atomic).

use crate::check::{Shown, Verdict};
use crate::history::{History, Operation, Outcome, Watched};

pub(crate) fn check(history: &History) -> Verdict {
    let mut violations = Vec::new();
    let mut looked_at = 0;
    let mut members = history.truth.iter();
    let Some((reference_name, reference)) = members.next() else {
        return Verdict::new("watches ordered and without gaps", 0, Vec::new());
    };
    for (member, events) in members {
        if events != reference {
            violations.push((format!("{member} and {reference_name} tell different histories"), Vec::new()));
        }
    }
    for (watcher, events) in &history.watches {
        looked_at += events.len();
        violations.extend(differences(watcher, events, reference, &history.operations));
    }
    Verdict::of_operations("watches ordered and without gaps", looked_at, violations)
}

/// What the watcher saw must be one contiguous stretch of the truth.
fn differences<'a>(
    watcher: &str,
    seen: &[Watched],
    truth: &[Watched],
    operations: &'a [Operation],
) -> Option<Shown<'a>> {
    let first = seen.first()?;
    let writers = |events: &[&Watched]| {
        let wrote = |operation: &&Operation| match operation.outcome {
            Outcome::Written { revision } => events.iter().any(|event| event.revision == revision),
            _ => false,
        };
        operations.iter().filter(wrote).collect()
    };
    let Some(start) = truth.iter().position(|event| event == first) else {
        return Some((format!("{watcher} saw {first:?}, which never happened"), writers(&[first])));
    };
    let stretch = &truth[start..];
    let length = seen.len().min(stretch.len());
    let differs = (0..length).find(|index| seen[*index] != stretch[*index]);
    match differs {
        Some(index) => {
            let (is, must) = (&seen[index], &stretch[index]);
            let why = format!(
                "{watcher}: event {index} is {is:?}, the truth has {must:?} there (lost, doubled or out of order)"
            );
            Some((why, writers(&[is, must])))
        }
        None if seen.len() > stretch.len() => {
            Some((format!("{watcher} saw {} events too many", seen.len() - length), writers(&[&seen[length]])))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn events(revisions: &[i64]) -> Vec<Watched> {
        let event =
            |revision: &i64| Watched { revision: *revision, key: "k".into(), value: Some(format!("v{revision}")) };
        revisions.iter().map(event).collect()
    }

    fn verdict(seen: &[i64]) -> bool {
        check(&History {
            watches: BTreeMap::from([("w".to_owned(), events(seen))]),
            truth: BTreeMap::from([("server-1".to_owned(), events(&[2, 3, 4, 5, 6]))]),
            ..History::default()
        })
        .holds()
    }

    #[test]
    fn verdicts() {
        assert!(verdict(&[3, 4, 5]));
        assert!(verdict(&[2, 3, 4, 5, 6]));
        assert!(!verdict(&[3, 5]), "gap");
        assert!(!verdict(&[3, 3, 4]), "doubled");
        assert!(!verdict(&[4, 3]), "out of order");
        assert!(!verdict(&[5, 6, 7]), "invented");
        assert!(!verdict(&[]), "nothing seen proves nothing");
    }

    #[test]
    fn members_must_agree() {
        let history = History {
            watches: BTreeMap::from([("w".to_owned(), events(&[2, 3]))]),
            truth: BTreeMap::from([("a".to_owned(), events(&[2, 3])), ("b".to_owned(), events(&[2, 4]))]),
            ..History::default()
        };
        assert!(!check(&history).holds());
    }
}
