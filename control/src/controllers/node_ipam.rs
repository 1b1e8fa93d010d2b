//! PURE: each node's part of the pods' range. Source: k8s.io/kubernetes `pkg/controller/nodeipam`.

use std::collections::BTreeSet;

use serde_json::json;

use crate::controllers::{Observed, Plan};
use crate::reconcile::world::{Changed, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;

/// Bits of a node's prefix: 254 pods.
const NODE_BITS: u8 = 24;

pub(crate) fn wakes(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "nodes") {
        keys.push(changed.key.clone());
    }
}

/// Two nodes planned at the same time may choose the same part; only one of them gets the claim (`registry::allocation`).
pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let has = |value: &serde_json::Value| value["spec"]["podCIDR"].as_str().map(str::to_owned);
    let Some(node) = observed.world.get(key).filter(|node| has(&node.value).is_none()) else { return Plan::default() };
    let taken: BTreeSet<String> = observed.world.list(key.kind, "").filter_map(|node| has(&node.value)).collect();
    let pods = observed.settings.ranges.pods;
    let size = 1_u32 << (32 - NODE_BITS);
    let mut parts = (0..pods.size() / size).map(|at| format!("{}/{NODE_BITS}", pods.at(at * size)));
    let Some(part) = parts.find(|part| !taken.contains(part)) else { return Plan::default() };
    let mut object = node.value.clone();
    object["spec"]["podCIDR"] = part.clone().into();
    object["spec"]["podCIDRs"] = json!([part]);
    Plan::of(vec![Change::Update { kind: key.kind, part: Part::Main, object }])
}
