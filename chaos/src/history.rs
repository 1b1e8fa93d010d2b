//! What the clients of a run did and saw: the only evidence that checkers look at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One call of one client. Times are microseconds since the run began, on the harness's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Operation {
    pub(crate) client: u32,
    pub(crate) call: Call,
    pub(crate) invoked_us: u64,
    pub(crate) returned_us: u64,
    pub(crate) outcome: Outcome,
}

/// What was asked. Values are unique in a run, so that a value names its write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Call {
    Put {
        key: String,
        value: String,
    },
    /// Write only if the key is still at this mod revision (0: absent).
    PutIf {
        key: String,
        value: String,
        mod_revision: i64,
    },
    Get {
        key: String,
    },
}

impl Call {
    pub(crate) fn key(&self) -> &str {
        match self {
            Call::Put { key, .. } | Call::PutIf { key, .. } | Call::Get { key } => key,
        }
    }

    /// The value that this call may write.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Call::Put { value, .. } | Call::PutIf { value, .. } => Some(value),
            Call::Get { .. } => None,
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Written at this revision.
    Written { revision: i64 },
    /// Evaluated at this revision without writing: the key's value (and its mod revision) then.
    Seen { revision: i64, value: Option<(String, i64)> },
    /// Certainly not done.
    Refused { error: String },
    /// May have been done, now or later.
    Unknown { error: String },
}

/// One event that a watch delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watched {
    pub(crate) revision: i64,
    pub(crate) key: String,
    /// None for a deletion.
    pub(crate) value: Option<String>,
}

/// An answer of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrival {
    pub(crate) at_us: u64,
    /// Of the first event in it, which has waited the longest.
    pub(crate) revision: i64,
}

/// A member's state at a revision, as it tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateHash {
    pub(crate) hash: u32,
    pub(crate) revision: i64,
    /// Members that compacted differently cannot be compared.
    pub(crate) compacted: i64,
}

/// How long a key stayed that is attached to a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseStory {
    pub(crate) key: String,
    pub(crate) ttl_us: u64,
    /// When the last renewal was asked for that was granted.
    pub(crate) renewed_invoked_us: u64,
    /// When the last one was answered, or given up: it may have been done until then.
    pub(crate) asked_us: u64,
    pub(crate) reads: Vec<LeaseRead>,
}

/// A linearizable look at such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRead {
    pub(crate) invoked_us: u64,
    pub(crate) returned_us: u64,
    pub(crate) there: bool,
}

/// A whole run's evidence.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    /// What each watcher saw while faults were on, by name.
    pub(crate) watches: BTreeMap<String, Vec<Watched>>,
    /// When.
    #[serde(default)]
    pub(crate) arrivals: BTreeMap<String, Vec<Arrival>>,
    /// All events since the run began, read from every member after it healed, by member.
    pub(crate) truth: BTreeMap<String, Vec<Watched>>,
    /// The state of every member after it healed, all at one revision.
    #[serde(default)]
    pub(crate) hashes: BTreeMap<String, StateHash>,
    #[serde(default)]
    pub(crate) leases: Vec<LeaseStory>,
    /// By so much at most clocks of members went faster or slower than the harness's, millionths.
    #[serde(default)]
    pub(crate) drift_ppm: u64,
}

impl History {
    /// The longest time between two successful writes, in microseconds: the outage that clients felt.
    pub(crate) fn longest_write_gap_us(&self) -> u64 {
        let mut written: Vec<u64> = self
            .operations
            .iter()
            .filter(|operation| matches!(operation.outcome, Outcome::Written { .. }))
            .map(|operation| operation.returned_us)
            .collect();
        written.sort_unstable();
        written.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    pub(crate) fn count(&self, wanted: fn(&Outcome) -> bool) -> usize {
        self.operations.iter().filter(|operation| wanted(&operation.outcome)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_successful_writes() {
        let operation = |returned_us, outcome| {
            let call = Call::Get { key: "k".into() };
            Operation { client: 0, call, invoked_us: 0, returned_us, outcome }
        };
        let written = Outcome::Written { revision: 2 };
        let unknown = Outcome::Unknown { error: "timeout".into() };
        let operations = vec![operation(900, written.clone()), operation(500, unknown), operation(100, written)];
        let history = History { operations, ..History::default() };
        assert_eq!(history.longest_write_gap_us(), 800);
        assert_eq!(history.count(|outcome| matches!(outcome, Outcome::Unknown { .. })), 1);
    }
}
