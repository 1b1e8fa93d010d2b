//! Leases: times that can pass, strategies that are known.
//!
//! Source: k8s.io/kubernetes `pkg/apis/coordination/validation/validation.go`.

use serde_json::Value;

use crate::validate::field::Errors;
use crate::validate::read::{held, number, text};
use crate::validate::{LENIENT, Rules, names, root};

const STRATEGIES: [&str; 1] = ["OldestEmulationVersion"];

/// Of leases.
pub const RULES: Rules = Rules { create: spec, update: |_, lease, errors| spec(lease, errors), ..LENIENT };

fn spec(lease: &Value, errors: &mut Errors) {
    let (spec, path) = (&lease["spec"], root().child("spec"));
    if let Some(seconds) = number(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.invalid(&path.child("leaseDurationSeconds"), &seconds, "must be greater than 0");
    }
    if let Some(times) = number(spec, "leaseTransitions").filter(|times| *times < 0) {
        errors.invalid(&path.child("leaseTransitions"), &times, "must be greater than or equal to 0");
    }
    let strategy = text(spec, "strategy");
    if held(spec, "strategy").is_some() {
        // Kubernetes names the field twice.
        let place = path.child("strategy").child("strategy");
        if strategy.contains('/') {
            errors.malformed(&place, strategy, &names::qualified_name(strategy));
        } else if !STRATEGIES.contains(&strategy) {
            errors.not_supported(&place, strategy, &STRATEGIES);
        }
    }
    if !text(spec, "preferredHolder").is_empty() && strategy.is_empty() {
        errors.forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leases() {
        for (given, wrong) in [
            (json!({ "leaseDurationSeconds": 1, "leaseTransitions": 0 }), 0),
            (json!({ "leaseDurationSeconds": 0, "leaseTransitions": -1 }), 2),
            (json!({ "strategy": "OldestEmulationVersion", "preferredHolder": "a" }), 0),
            (json!({ "strategy": "example.com/mine" }), 0),
            (json!({ "strategy": "mine" }), 1),
            (json!({ "preferredHolder": "a" }), 1),
        ] {
            let mut errors = Errors::default();
            spec(&json!({ "spec": given }), &mut errors);
            assert_eq!(errors.len(), wrong, "{given}");
        }
    }
}
