//! Nodes: taints, the part of the pods' range, what they offer, and what an update may not change.
//!
//! Source: k8s.io/kubernetes `pkg/apis/core/validation/validation.go`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::validate::amount::Amount;
use crate::validate::field::{Errors, Path};
use crate::validate::read::{entries, list, text, texts};
use crate::validate::shapes::{NODE_ADDRESS, TAINT};
use crate::validate::show::As;
use crate::validate::{Rules, names, root};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
/// What is counted in whole numbers.
const COUNTED: [&str; 9] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Of nodes.
pub const RULES: Rules = Rules { create, update, status: changed, others: &[] };

fn create(node: &Value, errors: &mut Errors) {
    taints(node, errors);
    resources(node, errors);
    pod_ranges(&node["spec"], errors);
}

fn update(old: &Value, new: &Value, errors: &mut Errors) {
    create(new, errors);
    changed(old, new, errors);
}

fn changed(old: &Value, new: &Value, errors: &mut Errors) {
    resources(new, errors);
    let mut seen = BTreeSet::new();
    for (at, address) in list(&new["status"], "addresses").iter().enumerate() {
        if !seen.insert((text(address, "type"), text(address, "address"))) {
            let place = root().child("status").child("addresses").index(at);
            errors.duplicate(&place, &As(address, &NODE_ADDRESS));
        }
    }
    let (before, after) = (&old["spec"], &new["spec"]);
    let (held, wanted): (Vec<&str>, Vec<&str>) =
        (texts(before, "podCIDRs").collect(), texts(after, "podCIDRs").collect());
    let spec = root().child("spec");
    if !held.is_empty() {
        let differ = held.iter().zip(&wanted).filter(|(held, wanted)| held != wanted).count();
        for _ in 0..if held.len() == wanted.len() { differ } else { 1 } {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&spec.child("podCIDRs"), why);
        }
    }
    let provider = text(before, "providerID");
    if !provider.is_empty() && provider != text(after, "providerID") {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&spec.child("providerID"), why);
    }
    taints(new, errors);
    if text(before, "externalID") != text(after, "externalID") {
        errors.forbidden(&spec.child("externalID"), "may not be updated");
    }
}

fn taints(node: &Value, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, taint) in list(&node["spec"], "taints").iter().enumerate() {
        // They are named as the annotation that they once were.
        let place = root().child("metadata").child("taints").index(at);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.malformed(&place.child("key"), key, &names::qualified_name(key));
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            errors.invalid(&place.child("value"), value, &wrong.join(";"));
        }
        if effect.is_empty() {
            errors.required(&place.child("effect"), "");
        } else if !EFFECTS.contains(&effect) {
            errors.not_supported(&place.child("effect"), effect, &EFFECTS);
        }
        if !seen.insert((effect, key)) {
            errors.duplicate_because(&place, &As(taint, &TAINT), "taints must be unique by key and effect pair");
        }
    }
}

/// What a node has and offers: never negative, and whole where it is counted.
fn resources(node: &Value, errors: &mut Errors) {
    for field in ["capacity", "allocatable"] {
        for (name, value) in entries(&node["status"], field) {
            quantity(name, value, &root().child("status").child(field).child(name), errors);
        }
    }
}

/// A quantity of a resource.
pub(crate) fn quantity(name: &str, value: &Value, place: &Path, errors: &mut Errors) {
    let amount = Amount::of(value);
    if amount.is_negative() {
        errors.invalid(place, &amount.to_string(), "must be greater than or equal to 0");
    }
    let extended = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    if (COUNTED.contains(&name) || extended) && !amount.is_whole() {
        errors.invalid(place, &amount.to_string(), "must be an integer");
    }
}

fn pod_ranges(spec: &Value, errors: &mut Errors) {
    let place = root().child("spec").child("podCIDRs");
    let ranges: Vec<&str> = texts(spec, "podCIDRs").collect();
    for (at, range) in ranges.iter().enumerate() {
        errors.malformed(&place.index(at), *range, &names::cidr(range));
    }
    if ranges.len() < 2 {
        return;
    }
    let family = |range: &str| {
        let (base, bits) = range.split_once('/')?;
        bits.parse::<u8>().ok()?;
        Some(base.parse::<IpAddr>().ok()?.is_ipv4())
    };
    let mut families = BTreeSet::new();
    for (at, range) in ranges.iter().enumerate() {
        if let Some(family) = family(range) {
            families.insert(family);
            continue;
        }
        let why = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{at}]: <nil> (invalid CIDR address: {range})"
        );
        errors.internal(&place, &why);
        families.clear();
        break;
    }
    if families.len() < 2 || ranges.len() > 2 {
        errors.invalid(&place, &spec["podCIDRs"], "may specify no more than one CIDR for each IP family");
    }
    let mut seen = BTreeSet::new();
    for (at, range) in ranges.iter().enumerate() {
        if !seen.insert(range) {
            errors.duplicate(&place.index(at), *range);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validate::field::said;

    #[test]
    fn taints_are_unique_and_well_formed() {
        let taint = json!({ "key": "a", "effect": "NoSchedule" });
        let node = json!({ "spec": { "taints": [taint, taint, { "key": "a", "effect": "x" }, { "key": "b" }] } });
        assert_eq!(
            said(|errors| create(&node, errors)),
            [
                "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\
                 \"TimeAdded\":null}: taints must be unique by key and effect pair",
                "metadata.taints[2].effect: Unsupported value: \"x\": supported values: \"NoSchedule\", \
                 \"PreferNoSchedule\", \"NoExecute\"",
                "metadata.taints[3].effect: Required value",
            ]
        );
    }

    #[test]
    fn a_part_of_the_range_is_given_once() {
        let old = json!({ "spec": { "podCIDRs": ["10.0.0.0/24"], "providerID": "p" } });
        let new = json!({ "spec": { "podCIDRs": ["10.0.0.0/24", "zz"], "providerID": "p" } });
        let said = said(|errors| update(&old, &new, errors));
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[1].starts_with("spec.podCIDRs: Internal error: invalid PodCIDRs. failed"), "{said:?}");
        assert!(said[3].contains("may not change podCIDR"), "{said:?}");
    }

    #[test]
    fn two_families_are_two_ranges() {
        for (ranges, wrong) in [
            (json!(["10.0.0.0/24", "fd00::/64"]), 0),
            (json!(["10.0.0.0/24", "10.0.1.0/24"]), 1),
            (json!(["10.0.0.0/24", "10.0.0.0/24"]), 2),
        ] {
            let node = json!({ "spec": { "podCIDRs": ranges } });
            assert_eq!(said(|errors| create(&node, errors)).len(), wrong, "{ranges}");
        }
    }

    #[test]
    fn what_a_node_offers_is_not_negative_and_counted_whole() {
        let node = json!({ "status": { "capacity": { "memory": "-1", "pods": "1500m", "example.com/gpu": "0.5" } } });
        assert_eq!(said(|errors| create(&node, errors)).len(), 3);
    }
}
