//! PURE: pod topology spread: constraints that must hold. Source: k8s.io/kubernetes `plugins/podtopologyspread`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::nodes::{Node, Nodes, Wants};
use crate::reconcile::world::Item;
use crate::selector::Labels;

/// Takes out the nodes on which a constraint would be broken; answers how many.
pub(super) fn check(nodes: &Nodes, wants: &Wants<'_>, fitting: &mut Vec<usize>) -> usize {
    let before = fitting.len();
    let constraints = wants.pod.value["spec"]["topologySpreadConstraints"].as_array().into_iter().flatten();
    for constraint in constraints.filter(|constraint| constraint["whenUnsatisfiable"] != "ScheduleAnyway") {
        let key = constraint["topologyKey"].as_str().unwrap_or_default();
        let counts = counts(nodes, wants, constraint, key);
        let least = counts.values().copied().min().unwrap_or(0);
        let skew = constraint["maxSkew"].as_i64().unwrap_or(1);
        fitting.retain(|at| {
            let domain = nodes.all[*at].label(key);
            domain.is_some_and(|domain| counts.get(domain).copied().unwrap_or(0) + 1 - least <= skew)
        });
    }
    before - fitting.len()
}

/// Pods that a constraint counts, by domain.
pub(super) fn counts<'a>(nodes: &'a Nodes, wants: &Wants<'_>, constraint: &Value, key: &str) -> BTreeMap<&'a str, i64> {
    let labels = Labels::of(&constraint["labelSelector"]);
    let namespace = &wants.pod.key.namespace;
    let count = |node: &Node| {
        let same = node.active.iter().filter(|pod| pod.key.namespace == *namespace);
        let held = |pod: &&Arc<Item>| {
            let held = pod.value["metadata"]["labels"].as_object();
            labels.as_ref().is_some_and(|labels| labels.matches(held))
        };
        let same = same.filter(held).count();
        i64::try_from(same).unwrap_or(i64::MAX)
    };
    let mut counts = BTreeMap::new();
    for node in &nodes.all {
        if let Some(domain) = node.label(key) {
            *counts.entry(domain).or_default() += count(node);
        }
    }
    counts
}
