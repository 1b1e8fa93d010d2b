//! What a pod as a whole asks for, by what its containers do.
//!
//! Source: k8s.io/kubernetes `pkg/apis/core/v1/defaults.go` (`defaultHugePagePodLimits`, `defaultPodRequests`),
//! k8s.io/component-helpers `resource/helpers.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::defaults::{Fields, below};
use crate::quantity;

const HUGE_PAGES: &str = "hugepages-";

/// Amounts in thousandths, with the text of those that one container alone asks for.
type Amounts = BTreeMap<String, (i64, String)>;

/// Fills the resources of a pod that names some.
pub(super) fn fill(spec: &mut Fields) {
    let named = |spec: &Fields, list: &str| {
        spec.get("resources").and_then(|own| own[list].as_object()).is_some_and(|list| !list.is_empty())
    };
    if !named(spec, "limits") && !named(spec, "requests") {
        return;
    }
    let (requests, limits) = (all(spec, "requests"), all(spec, "limits"));
    let own = below(spec, "resources");
    let asked: Vec<String> =
        own.get("requests").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for (name, (_, amount)) in limits.iter().filter(|(name, _)| name.starts_with(HUGE_PAGES) && !asked.contains(name)) {
        below(own, "limits").entry(name.clone()).or_insert_with(|| amount.as_str().into());
    }
    let Some(own_limits) = own.get("limits").and_then(Value::as_object).filter(|limits| !limits.is_empty()).cloned()
    else {
        return;
    };
    for (name, (_, amount)) in requests.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")) {
        below(own, "requests").entry(name.clone()).or_insert_with(|| amount.as_str().into());
    }
    for (name, limit) in own_limits.into_iter().filter(|(name, _)| supported(name)) {
        below(own, "requests").entry(name).or_insert(limit);
    }
}

fn supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES)
}

/// What containers ask for together: sidecars run beside them, other init containers one after the other before.
fn all(spec: &Fields, list: &str) -> Amounts {
    let containers = |name: &str| spec.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut sum = Amounts::new();
    for container in containers("containers") {
        add(&mut sum, &of(container, list));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in containers("initContainers") {
        let asked = of(container, list);
        if container["restartPolicy"] == "Always" {
            add(&mut sum, &asked);
            add(&mut sidecars, &asked);
            most(&mut peak, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &asked);
            most(&mut peak, &beside);
        }
    }
    most(&mut sum, &peak);
    sum
}

fn of(container: &Value, list: &str) -> Amounts {
    let entries = container["resources"][list].as_object().into_iter().flatten();
    let amount = |value: &Value| Some((quantity::milli(value)?, value.as_str()?.to_owned()));
    entries.filter_map(|(name, value)| Some((name.clone(), amount(value)?))).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, (amount, text)) in more {
        match sum.get_mut(name) {
            None => {
                sum.insert(name.clone(), (*amount, text.clone()));
            }
            Some(held) => {
                let total = held.0.saturating_add(*amount);
                // Go keeps the suffixes of the first one.
                let binary = if held.0 == 0 { text } else { &held.1 }.ends_with('i');
                let written = if binary && total % (1000 << 10) == 0 {
                    format!("{}Ki", total / (1000 << 10))
                } else {
                    format!("{total}m")
                };
                *held = (total, quantity::canonical::canonical(&written, false).unwrap_or(written));
            }
        }
    }
}

fn most(peak: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        match peak.get_mut(name) {
            Some(held) if held.0 >= amount.0 => {}
            Some(held) => held.clone_from(amount),
            None => {
                peak.insert(name.clone(), amount.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_follow_from_containers_and_limits() {
        let mut spec = json!({
            "resources": { "limits": { "cpu": "4", "memory": "4Gi" } },
            "containers": [
                { "resources": { "requests": { "cpu": "500m" }, "limits": { "hugepages-2Mi": "2Mi" } } },
                { "resources": { "requests": { "cpu": "250m" }, "limits": { "hugepages-2Mi": "4Mi" } } },
            ],
            "initContainers": [{ "resources": { "requests": { "cpu": "1" } } }],
        });
        fill(spec.as_object_mut().expect("an object"));
        let wanted = json!({
            "limits": { "cpu": "4", "memory": "4Gi", "hugepages-2Mi": "6Mi" },
            "requests": { "cpu": "1", "memory": "4Gi", "hugepages-2Mi": "6Mi" },
        });
        assert_eq!(spec["resources"], wanted);
        let mut plain = json!({ "containers": [{ "resources": { "requests": { "cpu": "1" } } }] });
        let before = plain.clone();
        fill(plain.as_object_mut().expect("an object"));
        assert_eq!(plain, before);
    }
}
