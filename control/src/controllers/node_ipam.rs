//! PURE: each node's part of the pods' range. Source: k8s.io/kubernetes `pkg/controller/nodeipam`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::json;

use crate::controllers::{Observed, Plan};
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;

/// Bits of a node's prefix: 254 pods.
const NODE_BITS: u8 = 24;

pub(crate) fn wakes(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "nodes") {
        keys.push(changed.key.clone());
    }
}

/// Nodes that wait together choose together, each another part: with the same choice only one of them would get its
/// claim (`registry::allocation`), and a thousand that join would stand in each other's way.
pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let pods = observed.settings.ranges.pods;
    let size = 1_u32 << (32 - NODE_BITS);
    let held = |node: &Arc<Item>| node.value["spec"]["podCIDR"].as_str().map(str::to_owned);
    let place = |part: &str| {
        let base: Ipv4Addr = part.split_once('/')?.0.parse().ok()?;
        Some(u32::from(base).checked_sub(u32::from(pods.at(0)))? / size)
    };
    let Some(node) = observed.world.get(key).filter(|node| held(node).is_none()) else { return Plan::default() };
    let (mut taken, mut before) = (BTreeSet::new(), 0);
    for other in observed.world.list(key.kind, "") {
        match held(other) {
            Some(part) => taken.extend(place(&part)),
            None if other.key < *key => before += 1,
            None => {}
        }
    }
    let Some(part) = (0..pods.size() / size).filter(|place| !taken.contains(place)).nth(before) else {
        return Plan::default();
    };
    let part = format!("{}/{NODE_BITS}", pods.at(part * size));
    let mut object = node.value.clone();
    object["spec"]["podCIDR"] = part.clone().into();
    object["spec"]["podCIDRs"] = json!([part]);
    Plan::of(vec![Change::Update { kind: key.kind, part: Part::Main, object }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::stage::Stage;

    #[test]
    fn nodes_that_wait_together_get_parts_at_the_first_attempt() {
        let mut stage = Stage::new();
        let keys: Vec<Key> = (0..40).map(|number| stage.node(&format!("n{number:02}"))).collect();
        stage.change(&keys[7], Part::Main, |node| node["spec"]["podCIDR"] = "10.244.3.0/24".into());
        let wanted: BTreeSet<String> = keys
            .iter()
            .flat_map(|key| stage.plan("node-ipam-controller", key).txns)
            .flat_map(|txn| txn.changes)
            .map(|change| match change {
                Change::Update { object, .. } => object["spec"]["podCIDR"].as_str().expect("a part").to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(wanted.len(), 39, "one has its part, and no two choose the same");
        assert!(!wanted.contains("10.244.3.0/24") && wanted.contains("10.244.39.0/24"));
    }
}
