//! PURE: whether a pod may run on a node; each reason in Kubernetes' words.

use super::affinity;
use super::nodes::{Node, Wants};
use super::taints::{Tolerated, tolerated};

/// Set on nodes that are cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Says yes, or every reason of the first filter that says no.
pub(super) fn check(node: &Node, wants: &Wants<'_>) -> Result<(), Vec<String>> {
    let said = [unschedulable, taint, node_affinity, ports, resources, volumes];
    match said.iter().map(|filter| filter(node, wants)).find(|reasons| !reasons.is_empty()) {
        Some(reasons) => Err(reasons),
        None => Ok(()),
    }
}

fn when(no: bool, why: &str) -> Vec<String> {
    if no { vec![why.to_owned()] } else { Vec::new() }
}

fn unschedulable(node: &Node, wants: &Wants<'_>) -> Vec<String> {
    let cordoned = node.item.value["spec"]["unschedulable"] == true;
    let taint = serde_json::json!({ "key": UNSCHEDULABLE, "effect": "NoSchedule" });
    when(cordoned && tolerated(&wants.pod.value, &taint) == Tolerated::No, "node(s) were unschedulable")
}

fn taint(node: &Node, wants: &Wants<'_>) -> Vec<String> {
    let taints = node.item.value["spec"]["taints"].as_array().into_iter().flatten();
    let mut hard = taints.filter(|taint| taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute");
    let bad = hard.find(|taint| tolerated(&wants.pod.value, taint) == Tolerated::No);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    bad.map(|taint| format!("node(s) had untolerated taint {{{}: {}}}", text(&taint["key"]), text(&taint["value"])))
        .into_iter()
        .collect()
}

fn node_affinity(node: &Node, wants: &Wants<'_>) -> Vec<String> {
    let spec = &wants.pod.value["spec"];
    let selector = spec["nodeSelector"].as_object().into_iter().flatten();
    let mut selector = selector.map(|(key, value)| node.label(key) == value.as_str());
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let fits = selector.all(|fits| fits) && (required.is_null() || affinity::selected(required, node));
    when(!fits, "node(s) didn't match Pod's node affinity/selector")
}

fn ports(node: &Node, wants: &Wants<'_>) -> Vec<String> {
    when(wants.port_conflict(node), "node(s) didn't have free ports for the requested pod ports")
}

fn resources(node: &Node, wants: &Wants<'_>) -> Vec<String> {
    let amount = |amounts: &super::nodes::Amounts, name: &str| amounts.get(name).copied().unwrap_or(0);
    let most = amount(&node.allocatable, "pods");
    let mut reasons = when(most > 0 && (node.pods + 1).saturating_mul(1000) > most, "Too many pods");
    for (name, wanted) in wants.footprint.requests.iter().filter(|(_, wanted)| **wanted > 0) {
        if amount(&node.used, name).saturating_add(*wanted) > amount(&node.allocatable, name) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}

fn volumes(node: &Node, wants: &Wants<'_>) -> Vec<String> {
    if let Some(claim) = &wants.missing_claim {
        return vec![format!("persistentvolumeclaim \"{claim}\" not found")];
    }
    let away = wants.volumes.iter().any(|required| !required.is_null() && !affinity::selected(required, node));
    when(away, "node(s) had volume node affinity conflict")
}
