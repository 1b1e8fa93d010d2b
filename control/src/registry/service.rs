//! PURE: what Services keep of what was allocated for them, and what goes with a type that they no longer have.
//!
//! Source: k8s.io/kubernetes `pkg/registry/core/service/{strategy.go,storage/storage.go,storage/alloc.go}`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::registry::strategy::items;
use crate::status::{FieldError, FieldErrorKind, Status};

/// A type of a Service, with what it brings.
fn typed(spec: &Value) -> &str {
    spec["type"].as_str().unwrap_or("ClusterIP")
}

fn needs_address(spec: &Value) -> bool {
    typed(spec) != "ExternalName"
}

/// Whether its ports may lie on nodes.
fn needs_node_ports(spec: &Value) -> bool {
    matches!(typed(spec), "NodePort" | "LoadBalancer")
}

/// Whether ports on nodes are chosen for it.
pub fn allocates_node_ports(spec: &Value) -> bool {
    match typed(spec) {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Whether a port on nodes says where endpoints are.
pub fn needs_health_port(spec: &Value) -> bool {
    typed(spec) == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

fn needs_policy(spec: &Value) -> bool {
    let outside = spec["externalIPs"].as_array().is_some_and(|addresses| !addresses.is_empty());
    needs_node_ports(spec) || (typed(spec) == "ClusterIP" && outside)
}

/// Completes a new Service.
pub fn born(spec: &mut Value) {
    if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty)
        && let Some(address) = spec["clusterIP"].as_str().filter(|address| !address.is_empty()).map(str::to_owned)
    {
        spec["clusterIPs"] = json!([address]);
    }
}

/// Completes the next version of a Service.
pub fn changed(old: &Value, new: &mut Value) {
    keep_allocated(old, new);
    align_addresses(old, new);
    drop_with_type(old, new);
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn ports(spec: &Value) -> impl Iterator<Item = &Value> {
    spec["ports"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn keep_allocated(old: &Value, new: &mut Value) {
    if needs_address(old) && needs_address(new) {
        if text(&new["clusterIP"]).is_empty() && !text(&old["clusterIP"]).is_empty() {
            new["clusterIP"] = old["clusterIP"].clone();
        }
        let none = new["clusterIPs"].as_array().is_none_or(Vec::is_empty);
        if none && old["clusterIPs"].is_array() && new["clusterIP"] == old["clusterIP"] {
            new["clusterIPs"] = old["clusterIPs"].clone();
        }
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        let used = |spec: &Value| ports(spec).map(|port| number(&port["nodePort"])).collect::<BTreeSet<u64>>();
        let mut taken: BTreeSet<u64> = used(old).intersection(&used(new)).copied().collect();
        let held: BTreeMap<&str, u64> =
            ports(old).map(|port| (text(&port["name"]), number(&port["nodePort"]))).collect();
        for port in items(new, "ports") {
            let before = held.get(text(&port["name"])).copied().unwrap_or(0);
            if number(&port["nodePort"]) == 0 && before != 0 && taken.insert(before) {
                port["nodePort"] = before.into();
            }
        }
    }
    if needs_health_port(old) && needs_health_port(new) && number(&new["healthCheckNodePort"]) == 0 {
        copy(old, new, "healthCheckNodePort");
    }
}

/// The one address and the list of addresses follow each other; who changed only the one meant both.
fn align_addresses(old: &Value, new: &mut Value) {
    if new["clusterIP"] == old["clusterIP"] || new["clusterIPs"] != old["clusterIPs"] {
        return;
    }
    match text(&new["clusterIP"]) {
        "" => remove(new, "clusterIPs"),
        address => new["clusterIPs"] = json!([address]),
    }
}

/// What its old type had and its new one has not goes, unless the client changed it.
fn drop_with_type(old: &Value, new: &mut Value) {
    let mut gone = Vec::new();
    if needs_address(old) && !needs_address(new) {
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if needs_health_port(old) && !needs_health_port(new) {
        gone.push("healthCheckNodePort");
    }
    if typed(old) == "LoadBalancer" && typed(new) != "LoadBalancer" {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if needs_policy(old) && !needs_policy(new) {
        gone.push("externalTrafficPolicy");
    }
    for field in gone {
        if new[field] == old[field] {
            remove(new, field);
        }
    }
    let same = ports(old).map(|port| &port["nodePort"]).eq(ports(new).map(|port| &port["nodePort"]));
    if needs_node_ports(old) && !needs_node_ports(new) && same {
        for port in items(new, "ports") {
            remove(port, "nodePort");
        }
    }
}

/// Which families of addresses a Service has, on a cluster that has IPv4 alone.
///
/// # Errors
/// 422 when it insists on IPv6.
pub fn families(name: &str, spec: &mut Value) -> Result<(), Status> {
    if !needs_address(spec) {
        return Ok(());
    }
    let free = spec["clusterIP"] == "None" && spec["selector"].as_object().is_none_or(|labels| labels.is_empty());
    let policy = match (text(&spec["ipFamilyPolicy"]), free) {
        ("", true) => "RequireDualStack".to_owned(),
        ("", false) => "SingleStack".to_owned(),
        (given, _) => given.to_owned(),
    };
    let given: Vec<String> =
        spec["ipFamilies"].as_array().into_iter().flatten().map(|family| text(family).to_owned()).collect();
    if free {
        let mut all = if given.is_empty() { vec!["IPv4".to_owned()] } else { given };
        if policy != "SingleStack" && all.len() == 1 {
            let other = if all[0] == "IPv4" { "IPv6" } else { "IPv4" };
            all.push(other.to_owned());
        }
        spec["ipFamilies"] = json!(all);
    } else {
        if policy == "RequireDualStack" {
            let why = "this cluster is not configured for dual-stack services";
            return Err(invalid(name, "spec.ipFamilyPolicy", &policy.into(), why));
        }
        if let Some(at) = given.iter().position(|family| family == "IPv6") {
            return Err(invalid(
                name,
                &format!("spec.ipFamilies[{at}]"),
                &"IPv6".into(),
                "not configured on this cluster",
            ));
        }
        spec["ipFamilies"] = json!(["IPv4"]);
    }
    spec["ipFamilyPolicy"] = policy.into();
    Ok(())
}

/// 422 about one field.
pub fn invalid(name: &str, field: &str, value: &Value, why: &str) -> Status {
    let error = FieldError {
        kind: FieldErrorKind::Invalid,
        field: field.to_owned(),
        message: format!("Invalid value: {value}: {why}"),
    };
    Status::invalid("", "Service", name, &[error])
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    if let Some(value) = from.get(field) {
        to[field] = value.clone();
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(old: &Value, mut new: Value) -> Value {
        changed(old, &mut new);
        new
    }

    #[test]
    fn what_was_allocated_stays_until_the_type_changes() {
        let old = json!({
            "type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "externalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ports": [{ "name": "a", "port": 1, "nodePort": 30001 }, { "name": "b", "port": 2, "nodePort": 30002 }]
        });
        let kept = next(
            &old,
            json!({ "type": "NodePort", "ports": [{ "name": "b", "port": 5 }, { "name": "c", "port": 6 }] }),
        );
        assert_eq!(kept["ports"], json!([{ "name": "b", "port": 5, "nodePort": 30002 }, { "name": "c", "port": 6 }]));
        assert_eq!((&kept["clusterIP"], &kept["clusterIPs"]), (&json!("10.96.0.7"), &json!(["10.96.0.7"])));
        let mut plain = old.clone();
        plain["type"] = "ClusterIP".into();
        let plain = next(&old, plain);
        assert_eq!(plain["ports"], json!([{ "name": "a", "port": 1 }, { "name": "b", "port": 2 }]));
        assert_eq!(plain.get("externalTrafficPolicy"), None);
        assert_eq!(
            next(&json!({ "type": "ClusterIP" }), json!({ "type": "ClusterIP" })),
            json!({ "type": "ClusterIP" })
        );
        let mut named = old.clone();
        named["type"] = "ExternalName".into();
        let named = next(&old, named);
        assert_eq!((named.get("clusterIP"), named.get("ipFamilies")), (None, None));
        // A new address is seen by the rules, which refuse it.
        let mut moved = old.clone();
        moved["clusterIP"] = "10.96.0.8".into();
        assert_eq!(next(&old, moved)["clusterIPs"], json!(["10.96.0.8"]));
    }

    #[test]
    fn families_of_one_stack() {
        let chosen = |mut spec: Value| {
            families("s", &mut spec).map(|()| (spec["ipFamilies"].clone(), spec["ipFamilyPolicy"].clone()))
        };
        assert_eq!(chosen(json!({})), Ok((json!(["IPv4"]), json!("SingleStack"))));
        assert_eq!(
            chosen(json!({ "ipFamilyPolicy": "PreferDualStack" })),
            Ok((json!(["IPv4"]), json!("PreferDualStack")))
        );
        let free = json!({ "clusterIP": "None" });
        assert_eq!(chosen(free), Ok((json!(["IPv4", "IPv6"]), json!("RequireDualStack"))));
        let refused = chosen(json!({ "ipFamilies": ["IPv6"] })).expect_err("refused").message;
        assert!(
            refused.ends_with("spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"),
            "{refused}"
        );
    }
}
