//! PURE: one property per file. A checker takes the evidence of a run and says what broke, in words.

pub(crate) mod acked_durable;
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
}

/// A violation and the operations that show it.
pub(crate) type Shown<'a> = (String, Vec<&'a Operation>);

impl Verdict {
    pub(crate) fn new(property: &str, looked_at: usize, mut violations: Vec<String>) -> Self {
        violations.truncate(VIOLATIONS_MAX);
        Verdict { property: property.to_owned(), looked_at, violations, between: Vec::new() }
    }

    /// As `new`, of violations that operations show.
    pub(crate) fn of_operations(property: &str, looked_at: usize, shown: Vec<Shown<'_>>) -> Self {
        let first = shown.first().map(|(_, between)| between.as_slice()).unwrap_or_default();
        let between = first.iter().map(|operation| (*operation).clone()).collect();
        let violations = shown.into_iter().map(|(why, _)| why).collect();
        Verdict { between, ..Verdict::new(property, looked_at, violations) }
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
