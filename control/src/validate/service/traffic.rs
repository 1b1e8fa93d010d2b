//! Where a Service's traffic comes from and where it goes.

use serde_json::Value;

use crate::validate::field::Errors;
use crate::validate::names;
use crate::validate::read::{held, list, number, text};
use crate::validate::service::spec_path;

const POLICIES: [&str; 2] = ["Cluster", "Local"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];

/// Whether it can be reached from outside.
fn is_external(spec: &Value, kind: &str) -> bool {
    matches!(kind, "LoadBalancer" | "NodePort") || (kind == "ClusterIP" && !list(spec, "externalIPs").is_empty())
}

/// Whether nodes tell the load balancer if they have endpoints.
fn is_health_checked(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

/// The class of its load balancer, which stays while the type does.
pub(super) fn class(before: Option<&Value>, after: &Value, errors: &mut Errors) {
    let (place, field) = (spec_path().child("loadBalancerClass"), "loadBalancerClass");
    let balanced = |spec: &Value| text(spec, "type") == "LoadBalancer";
    if before.is_some_and(|before| balanced(before) && balanced(after) && held(before, field) != held(after, field)) {
        errors.invalid(&place, &after[field], "may not change once set");
    }
    if held(after, field).is_none() {
        return;
    }
    if balanced(after) {
        errors.malformed(&place, text(after, field), &names::qualified_name(text(after, field)));
    } else {
        errors.forbidden(&place, "may only be used when `type` is 'LoadBalancer'");
    }
}

/// The policies of traffic from outside and inside, and how it is spread.
pub(super) fn policies(spec: &Value, kind: &str, errors: &mut Errors) {
    let path = spec_path();
    let (place, policy) = (path.child("externalTrafficPolicy"), text(spec, "externalTrafficPolicy"));
    if !is_external(spec, kind) {
        if !policy.is_empty() {
            errors.invalid(&place, policy, "may only be set for externally-accessible services");
        }
    } else if !policy.is_empty() && !POLICIES.contains(&policy) {
        errors.not_supported(&place, policy, &POLICIES);
    }
    let (place, port) = (path.child("healthCheckNodePort"), number(spec, "healthCheckNodePort").unwrap_or(0));
    match (is_health_checked(spec), port) {
        (_, 0) => {}
        (true, port) => errors.malformed(&place, &port, &names::port_number(port)),
        (false, port) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&place, &port, why);
        }
    }
    let place = path.child("internalTrafficPolicy");
    let policy = text(spec, "internalTrafficPolicy");
    if held(spec, "internalTrafficPolicy").is_some() && !POLICIES.contains(&policy) {
        errors.not_supported(&place, policy, &POLICIES);
    }
    let spread = text(spec, "trafficDistribution");
    if held(spec, "trafficDistribution").is_some() && !DISTRIBUTIONS.contains(&spread) {
        errors.not_supported(&path.child("trafficDistribution"), spread, &DISTRIBUTIONS);
    }
}

/// The port of health checks stays while there are any.
pub(super) fn health_port_stays(before: &Value, after: &Value, errors: &mut Errors) {
    let port = |spec: &Value| number(spec, "healthCheckNodePort").unwrap_or(0);
    if is_health_checked(before) && is_health_checked(after) && port(before) != port(after) {
        errors.forbidden(&spec_path().child("healthCheckNodePort"), "field is immutable");
    }
}
