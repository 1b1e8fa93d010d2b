//! Services and their endpoints.

use serde_json::{Value, json};

use crate::defaults::{Fields, below, default, default_absent, each, text};

/// How long a client stays with an endpoint, seconds.
const AFFINITY: i64 = 10_800;

pub(super) fn service(fields: &mut Fields) {
    let spec = below(fields, "spec");
    default(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let held =
                spec.get("sessionAffinityConfig").is_some_and(|held| !held["clientIP"]["timeoutSeconds"].is_null());
            if !held {
                spec.insert("sessionAffinityConfig".to_owned(), json!({ "clientIP": { "timeoutSeconds": AFFINITY } }));
            }
        }
        _ => {}
    }
    default(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        default(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            default(port, "targetPort", number);
        }
    }
    let outside = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|addresses| !addresses.is_empty());
    let kind = text(spec, "type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && outside) {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        default_absent(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default_absent(spec, "allocateLoadBalancerNodePorts", true);
        let balancer = below(below(fields, "status"), "loadBalancer");
        for ingress in each(balancer, "ingress") {
            if !text(ingress, "ip").is_empty() {
                default_absent(ingress, "ipMode", "VIP");
            }
        }
    }
}

pub(super) fn port_of_endpoints(fields: &mut Fields) {
    default(fields, "protocol", "TCP");
}

pub(super) fn port_of_slice(fields: &mut Fields) {
    default_absent(fields, "name", "");
    default_absent(fields, "protocol", "TCP");
}
