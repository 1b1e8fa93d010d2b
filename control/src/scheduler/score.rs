//! PURE: which of the nodes that may is best: apart from its kin, preferred, with room, balanced.

use serde_json::Value;

use super::affinity;
use super::nodes::{Node, Nodes, Wants};
use super::taints::{Tolerated, tolerated};

/// A share of everything; scores are sums of these.
const FULL: i64 = 100;

/// Higher is better; among equals the last name, so that it is the same for everybody who looks.
pub(super) fn of(nodes: &Nodes, node: &Node, wants: &Wants<'_>) -> i64 {
    2 * apart(nodes, node, wants) + 3 * unwanted(node, wants) + 2 * preferred(node, wants) + room(node, wants)
}

/// Pods of one controller spread over nodes.
fn apart(nodes: &Nodes, node: &Node, wants: &Wants<'_>) -> i64 {
    let Some(controller) = &wants.footprint.controller else { return 0 };
    let (kin, most) = (node.kin.get(controller).copied().unwrap_or(0), nodes.most_kin(wants));
    if most == 0 { FULL } else { FULL * (most - kin) / most }
}

/// Taints that only advise.
fn unwanted(node: &Node, wants: &Wants<'_>) -> i64 {
    let taints = node.item.value["spec"]["taints"].as_array().into_iter().flatten();
    let soft = taints.filter(|taint| taint["effect"] == "PreferNoSchedule");
    let borne = |taint: &&Value| tolerated(&wants.pod.value, taint) != Tolerated::No;
    if soft.into_iter().all(|taint| borne(&taint)) { FULL } else { 0 }
}

fn preferred(node: &Node, wants: &Wants<'_>) -> i64 {
    let terms = &wants.pod.value["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    let terms: Vec<&Value> = terms.as_array().into_iter().flatten().collect();
    let weight = |term: &&Value| term["weight"].as_i64().unwrap_or(0);
    let all: i64 = terms.iter().map(weight).sum();
    let held: i64 = terms.iter().filter(|term| affinity::takes(&term["preference"], node)).map(weight).sum();
    if all == 0 { 0 } else { FULL * held / all }
}

/// What is left of processors and memory with the pod there; pods that ask for nothing count a little.
fn room(node: &Node, wants: &Wants<'_>) -> i64 {
    let share = |name: &str, little: i64| {
        let all = node.allocatable.get(name).copied().unwrap_or(0);
        let asked = wants.footprint.requests.get(name).copied().filter(|asked| *asked > 0).unwrap_or(little);
        let used = node.used.get(name).copied().unwrap_or(0).max(node.pods * little) + asked;
        if all == 0 { 0 } else { ((all - used).max(0) * FULL) / all }
    };
    i64::midpoint(share("cpu", 100), share("memory", 200 * 1024 * 1024 * 1000))
}
