//! Services: ports, addresses, where traffic may come from and how it is spread, and what each type may have.
//!
//! Source: k8s.io/kubernetes `pkg/apis/core/validation/validation.go`.

mod address;
mod traffic;
mod warnings;

use std::collections::BTreeSet;

use serde_json::{Value, json};

pub use address::addresses;

use crate::validate::endpoints::protocol;
use crate::validate::field::{Errors, Path};
use crate::validate::metadata::labels;
use crate::validate::read::{held, list, number, text, texts};
use crate::validate::shapes::SERVICE_PORT;
use crate::validate::show::As;
use crate::validate::{Rules, names, root};

const AFFINITIES: [&str; 2] = ["ClientIP", "None"];
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const IP_MODES: [&str; 2] = ["Proxy", "VIP"];
/// How long a client may be sent to the same pod, seconds.
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY: &str = "service.kubernetes.io/topology-mode";
const SOURCES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Of Services.
pub const RULES: Rules = Rules { create: whole, update, status, others: &[] };

fn spec_path() -> Path {
    root().child("spec")
}

/// Whether it has no address on purpose.
fn is_headless(spec: &Value) -> bool {
    spec["clusterIPs"] == json!(["None"])
}

fn whole(service: &Value, errors: &mut Errors) {
    let (spec, path) = (&service["spec"], spec_path());
    let kind = text(spec, "type");
    topology_annotations(&service["metadata"]["annotations"], errors);
    if list(spec, "ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), "None", &why);
        }
        "ExternalName" => external_name(spec, &path, errors),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (at, one) in list(spec, "ports").iter().enumerate() {
        port(one, list(spec, "ports").len() > 1, &mut seen, &path.child("ports").index(at), errors);
    }
    labels(&spec["selector"], &path.child("selector"), errors);
    affinity(spec, &path, errors);
    addresses(service, errors);
    for (at, address) in texts(spec, "externalIPs").enumerate() {
        let place = path.child("externalIPs").index(at);
        let wrong = names::ip(address);
        errors.malformed(&place, address, &if wrong.is_empty() { names::endpoint_ip(address) } else { wrong });
    }
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &TYPES);
    }
    repeated_ports(spec, kind, &path, errors);
    sources(service, kind, errors);
    if kind != "LoadBalancer" && held(spec, "allocateLoadBalancerNodePorts").is_some() {
        let why = "may only be used when `type` is 'LoadBalancer'";
        errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), why);
    }
    traffic::class(None, spec, errors);
    traffic::policies(spec, kind, errors);
}

fn topology_annotations(annotations: &Value, errors: &mut Errors) {
    if held(annotations, HINTS).is_some()
        && held(annotations, TOPOLOGY).is_some()
        && text(annotations, HINTS) != text(annotations, TOPOLOGY)
    {
        let place = root().child("metadata").child("annotations").key(TOPOLOGY);
        let why = format!("must match annotations[{HINTS}] when both are specified");
        errors.invalid(&place, text(annotations, TOPOLOGY), &why);
    }
}

fn external_name(spec: &Value, path: &Path, errors: &mut Errors) {
    let why = "may not be set for ExternalName services";
    for field in ["clusterIPs", "ipFamilies"] {
        if !list(spec, field).is_empty() {
            errors.forbidden(&path.child(field), why);
        }
    }
    if held(spec, "ipFamilyPolicy").is_some() {
        errors.forbidden(&path.child("ipFamilyPolicy"), why);
    }
    let given = text(spec, "externalName");
    let name = given.strip_suffix('.').unwrap_or(given);
    if name.is_empty() {
        errors.required(&path.child("externalName"), "");
    } else {
        errors.malformed(&path.child("externalName"), name, &names::dns1123_subdomain(name));
    }
}

fn port<'a>(port: &'a Value, named: bool, seen: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    let name = text(port, "name");
    if !name.is_empty() {
        errors.malformed(&path.child("name"), name, &names::dns1123_label(name));
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    } else if named {
        errors.required(&path.child("name"), "");
    }
    let given = number(port, "port").unwrap_or(0);
    errors.malformed(&path.child("port"), &given, &names::port_number(given));
    let spoken = text(port, "protocol");
    // Between the protocol and the one over it lies the target; `protocol` checks both.
    protocol(&json!({ "protocol": spoken }), path, errors);
    // Where none is said, it is the port itself.
    let aimed = held(port, "targetPort").cloned().unwrap_or_else(|| given.into());
    target(&aimed, &path.child("targetPort"), errors);
    if held(port, "appProtocol").is_some() {
        let over = text(port, "appProtocol");
        errors.malformed(&path.child("appProtocol"), over, &names::qualified_name(over));
    }
}

/// A port by number or by name.
fn target(target: &Value, path: &Path, errors: &mut Errors) {
    match target {
        Value::String(name) => errors.malformed(path, name, &names::port_name(name)),
        Value::Number(_) => errors.malformed(path, target, &names::port_number(target.as_i64().unwrap_or(0))),
        _ => {}
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut Errors) {
    let (kind, config) = (text(spec, "sessionAffinity"), held(spec, "sessionAffinityConfig"));
    let place = path.child("sessionAffinityConfig");
    match kind {
        "ClientIP" => {
            let place = place.child("clientIP");
            let Some(config) = config else {
                let why = "when session affinity type is ClientIP";
                return errors.required(&path.child("sessionAffinityConfig"), why);
            };
            let Some(client) = held(config, "clientIP") else {
                return errors.required(&place, "when session affinity type is ClientIP");
            };
            match number(client, "timeoutSeconds") {
                None => errors.required(&place.child("timeoutSeconds"), "when session affinity type is ClientIP"),
                Some(seconds) if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) => {
                    let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                    errors.invalid(&place.child("timeoutSeconds"), &seconds, &why);
                }
                Some(_) => {}
            }
        }
        "None" if config.is_some() => {
            errors.forbidden(&place, "must not be set when session affinity is None");
        }
        "" | "None" => {}
        other => errors.not_supported(&path.child("sessionAffinity"), other, &AFFINITIES),
    }
}

fn repeated_ports(spec: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let ports = list(spec, "ports");
    let node_port = |port: &Value| number(port, "nodePort").unwrap_or(0);
    let at = |at: usize| path.child("ports").index(at);
    if kind == "ClusterIP" {
        for (place, _) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
            errors.forbidden(&at(place).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut seen = BTreeSet::new();
    for (place, port) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
        if !seen.insert((text(port, "protocol"), node_port(port))) {
            errors.duplicate(&at(place).child("nodePort"), &node_port(port));
        }
    }
    let mut seen = BTreeSet::new();
    for (place, port) in ports.iter().enumerate() {
        let (protocol, given) = (text(port, "protocol"), number(port, "port").unwrap_or(0));
        if !seen.insert((protocol, given)) {
            // Only what was compared is shown.
            let key = json!({ "protocol": protocol, "port": given });
            errors.duplicate(&at(place), &As(&key, &SERVICE_PORT));
        }
    }
}

/// Who may come through the load balancer, in the field or in the annotation that it once was.
fn sources(service: &Value, kind: &str, errors: &mut Errors) {
    let why = "may only be used when `type` is 'LoadBalancer'";
    let (spec, annotations) = (&service["spec"], &service["metadata"]["annotations"]);
    if !list(spec, "loadBalancerSourceRanges").is_empty() {
        // Kubernetes spells the field so.
        let place = spec_path().child("LoadBalancerSourceRanges");
        if kind != "LoadBalancer" {
            errors.forbidden(&place, why);
        }
        for (at, range) in texts(spec, "loadBalancerSourceRanges").enumerate() {
            errors.malformed(&place.index(at), range.trim(), &names::cidr(range.trim()));
        }
    } else if held(annotations, SOURCES).is_some() {
        let place = root().child("metadata").child("annotations").key(SOURCES);
        if kind != "LoadBalancer" {
            errors.forbidden(&place, why);
        }
        let ranges = text(annotations, SOURCES).trim();
        for range in ranges.split(',').filter(|_| !ranges.is_empty()).map(str::trim) {
            errors.malformed(&place, range, &names::cidr(range));
        }
    }
}

fn update(old: &Value, new: &Value, errors: &mut Errors) {
    let (before, after) = (&old["spec"], &new["spec"]);
    address::stay(before, after, errors);
    traffic::class(Some(before), after, errors);
    traffic::health_port_stays(before, after, errors);
    whole(new, errors);
}

fn status(_: &Value, new: &Value, errors: &mut Errors) {
    let place = root().child("status").child("loadBalancer").child("ingress");
    let given = list(&new["status"]["loadBalancer"], "ingress");
    if text(&new["spec"], "type") != "LoadBalancer" && !given.is_empty() {
        return errors.forbidden(&place, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (at, ingress) in given.iter().enumerate() {
        let (path, address, host) = (place.index(at), text(ingress, "ip"), text(ingress, "hostname"));
        let mode = path.child("ipMode");
        if !address.is_empty() {
            errors.malformed(&path.child("ip"), address, &names::ip(address));
        }
        match (held(ingress, "ipMode"), address.is_empty()) {
            (None, false) => errors.required(&mode, "must be specified when `ip` is set"),
            (Some(_), true) => errors.forbidden(&mode, "may not be specified when `ip` is not set"),
            (Some(_), false) if !IP_MODES.contains(&text(ingress, "ipMode")) => {
                errors.not_supported(&mode, text(ingress, "ipMode"), &IP_MODES);
            }
            _ => {}
        }
        if !host.is_empty() {
            errors.malformed(&path.child("hostname"), host, &names::dns1123_subdomain(host));
            if host.parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}

pub(crate) use warnings::warnings;

#[cfg(test)]
mod tests;
