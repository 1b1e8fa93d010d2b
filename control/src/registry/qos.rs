//! PURE: which quality of service a pod gets, by what its containers ask for.
//!
//! Source: k8s.io/kubernetes `pkg/apis/core/helper/qos/qos.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity;

/// What decides.
const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let own = &spec["resources"];
    let all: Vec<&Value> = if own.is_object() {
        vec![own]
    } else {
        let lists = ["containers", "initContainers"].map(|list| spec[list].as_array());
        lists.into_iter().flatten().flatten().map(|container| &container["resources"]).collect()
    };
    let (mut requests, mut limits, mut guaranteed) = (BTreeMap::new(), BTreeMap::new(), true);
    for resources in all {
        add(&mut requests, &resources["requests"]);
        guaranteed &= add(&mut limits, &resources["limits"]) == COUNTED.len();
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds what counts; says how many resources that were.
fn add(sums: &mut BTreeMap<&'static str, i64>, list: &Value) -> usize {
    // What is more than a number can hold is still something.
    let found = COUNTED.iter().filter_map(|name| Some((*name, quantity::milli(list.get(name)?).unwrap_or(i64::MAX))));
    let found: Vec<_> = found.filter(|(_, amount)| *amount > 0).collect();
    for (name, amount) in &found {
        let sum = sums.entry(name).or_insert(0);
        *sum = sum.saturating_add(*amount);
    }
    found.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes() {
        let both = json!({ "cpu": "1", "memory": "1Gi" });
        for (resources, wanted) in [
            (json!([{}]), "BestEffort"),
            (json!([{ "requests": { "cpu": "0" } }]), "BestEffort"),
            (json!([{ "requests": { "cpu": "1" } }]), "Burstable"),
            (json!([{ "requests": { "cpu": "9223372036854775807" } }]), "Burstable"),
            (json!([{ "requests": both, "limits": both }]), "Guaranteed"),
            (json!([{ "requests": both, "limits": both }, {}]), "Burstable"),
            (json!([{ "requests": { "cpu": "1" }, "limits": both }]), "Burstable"),
        ] {
            let containers: Vec<Value> = resources
                .as_array()
                .into_iter()
                .flatten()
                .map(|resources| json!({ "name": "c", "resources": resources }))
                .collect();
            assert_eq!(class(&json!({ "spec": { "containers": containers } })), wanted, "{resources}");
        }
    }
}
