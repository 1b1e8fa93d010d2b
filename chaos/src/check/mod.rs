//! PURE: one property per file. A checker takes the evidence of a run and says what broke, in words.

pub(crate) mod acked_durable;
pub(crate) mod around;
pub(crate) mod lease;
pub(crate) mod linearizable;
pub(crate) mod pod_once;
pub(crate) mod same_state;
pub(crate) mod watch_gapless;

use serde::{Deserialize, Serialize};

use crate::history::{History, Operation};

/// What one checker found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) property: String,
    /// How much evidence there was; nothing looked at is a failure.
    pub(crate) looked_at: usize,
    pub(crate) violations: Vec<String>,
    /// The fewest operations that contradict each other in the first of them, where operations do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) between: Vec<Operation>,
    /// Where the first of them is, where no operation is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
}

/// Where in a history something broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Microseconds since the run began.
    pub(crate) at_us: u64,
    pub(crate) key: String,
}

/// A violation and the operations that show it.
pub(crate) type Shown<'a> = (String, Vec<&'a Operation>);

impl Verdict {
    pub(crate) fn new(property: &str, looked_at: usize, mut violations: Vec<String>) -> Self {
        violations.truncate(VIOLATIONS_MAX);
        Verdict { property: property.to_owned(), looked_at, violations, between: Vec::new(), place: None }
    }

    /// As `new`, of violations that operations show.
    pub(crate) fn of_operations(property: &str, looked_at: usize, shown: Vec<Shown<'_>>) -> Self {
        let first = shown.first().map(|(_, between)| between.as_slice()).unwrap_or_default();
        let between = first.iter().map(|operation| (*operation).clone()).collect();
        let violations = shown.into_iter().map(|(why, _)| why).collect();
        Verdict { between, ..Verdict::new(property, looked_at, violations) }
    }

    /// As `new`, of violations that say where they are.
    pub(crate) fn placed(property: &str, looked_at: usize, violations: Vec<(String, Option<Place>)>) -> Self {
        let place = violations.first().and_then(|(_, place)| place.clone());
        let words = violations.into_iter().map(|(words, _)| words).collect();
        Verdict { place, ..Verdict::new(property, looked_at, words) }
    }

    /// Where the first violation is, as far as it is anywhere: it could be seen with the last answer that belongs to it.
    pub(crate) fn place(&self) -> Option<Place> {
        let last = self.between.iter().max_by_key(|operation| operation.returned_us);
        let of = |last: &Operation| Place { at_us: last.returned_us, key: last.call.key().to_owned() };
        self.place.clone().or_else(|| last.map(of))
    }

    pub(crate) fn holds(&self) -> bool {
        self.violations.is_empty() && self.looked_at > 0
    }
}

/// A broken property shows itself in its first violations; more only hide them.
const VIOLATIONS_MAX: usize = 20;

/// Everything that must hold of a key/value history.
pub(crate) fn key_value(history: &History) -> Vec<Verdict> {
    vec![
        linearizable::check(history),
        acked_durable::check(history),
        watch_gapless::check(history),
        same_state::check(history),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_evidence_fails_every_checker() {
        let verdicts = key_value(&History::default());
        assert_eq!(verdicts.len(), 4);
        assert!(verdicts.iter().all(|verdict| !verdict.holds()));
    }
}
