//! PURE: no pod runs on two nodes, and none of its containers runs twice on one.
//!
//! The evidence is what container engines report, never what the API says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::check::Verdict;

/// A running container, as its node's engine reported it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Microseconds since the run began, when the engine was asked.
    pub(crate) at_us: u64,
    pub(crate) node: String,
    pub(crate) pod_uid: String,
    pub(crate) container: String,
    pub(crate) container_id: String,
}

pub(crate) fn check(observed: &[Running]) -> Verdict {
    let mut nodes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut copies: BTreeMap<(u64, &str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    for running in observed {
        nodes.entry(&running.pod_uid).or_default().insert(&running.node);
        copies
            .entry((running.at_us, &running.node, &running.pod_uid, &running.container))
            .or_default()
            .insert(&running.container_id);
    }
    let spread = nodes.iter().filter(|(_, nodes)| nodes.len() > 1);
    let doubled = copies.iter().filter(|(_, ids)| ids.len() > 1);
    let violations = spread
        .map(|(uid, nodes)| format!("pod {uid} ran on {nodes:?}"))
        .chain(doubled.map(|((at_us, node, uid, container), ids)| {
            format!("pod {uid}: {} copies of {container} ran on {node} at {at_us} µs", ids.len())
        }))
        .collect();
    Verdict::new("no pod identity runs twice", nodes.len(), violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(at_us: u64, node: &str, uid: &str, id: &str) -> Running {
        let text = |text: &str| text.to_owned();
        Running { at_us, node: text(node), pod_uid: text(uid), container: text("app"), container_id: text(id) }
    }

    #[test]
    fn verdicts() {
        assert!(check(&[running(1, "a", "x", "1"), running(1, "b", "y", "2"), running(2, "a", "x", "3")]).holds());
        assert!(!check(&[running(1, "a", "x", "1"), running(9, "b", "x", "2")]).holds(), "on two nodes");
        assert!(!check(&[running(1, "a", "x", "1"), running(1, "a", "x", "2")]).holds(), "twice on one");
        assert!(!check(&[]).holds(), "nothing ran");
    }
}
