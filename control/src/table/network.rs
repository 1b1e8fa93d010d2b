//! PURE: cells of Services and of who stands behind them.
//!
//! Source: k8s.io/kubernetes `pkg/printers/internalversion/printers.go`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cells::{items, number, text};

/// Addresses shown before it says how many more there are.
const SHOWN: usize = 3;

pub(super) fn ports(service: &Value) -> String {
    let port = |port: &Value| {
        let node = Some(number(&port["nodePort"])).filter(|node| *node > 0).map(|node| format!(":{node}"));
        format!("{}{}/{}", number(&port["port"]), node.unwrap_or_default(), text(&port["protocol"]))
    };
    let all: Vec<String> = items(&service["spec"]["ports"]).map(port).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

pub(super) fn cluster_ip(service: &Value) -> &str {
    match service["spec"]["clusterIPs"][0].as_str() {
        Some(first) => first,
        None => "<none>",
    }
}

pub(super) fn external_ip(service: &Value) -> String {
    let spec = &service["spec"];
    let own: Vec<&str> = items(&spec["externalIPs"]).map(text).collect();
    let balancer = |ingress: &Value| match text(&ingress["ip"]) {
        "" => text(&ingress["hostname"]).to_owned(),
        ip => ip.to_owned(),
    };
    match text(&spec["type"]) {
        "ClusterIP" | "NodePort" if own.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => own.join(","),
        "LoadBalancer" => {
            let given = items(&service["status"]["loadBalancer"]["ingress"]).map(balancer);
            let given: BTreeSet<String> = given.filter(|address| !address.is_empty()).collect();
            let all: Vec<&str> = given.iter().map(String::as_str).chain(own).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => text(&spec["externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// `10.1.0.2:80,10.1.0.3:80`.
pub(super) fn endpoints(endpoints: &Value) -> String {
    let mut all = Vec::new();
    for subset in items(&endpoints["subsets"]) {
        let addresses = || items(&subset["addresses"]).map(|address| text(&address["ip"]));
        if items(&subset["ports"]).next().is_none() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in items(&subset["ports"]) {
            let port = number(&port["port"]);
            all.extend(
                addresses().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    if items(&endpoints["subsets"]).next().is_none() { "<none>".to_owned() } else { some_of(&all) }
}

pub(super) fn slice_ports(slice: &Value) -> String {
    let port = |port: &Value| match (port["port"].as_i64(), port["name"].as_str()) {
        (Some(port), _) => port.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    or_unset(some_of(&items(&slice["ports"]).map(port).collect::<Vec<_>>()))
}

pub(super) fn slice_endpoints(slice: &Value) -> String {
    let addresses = items(&slice["endpoints"]).flat_map(|endpoint| items(&endpoint["addresses"]));
    or_unset(some_of(&addresses.map(|address| text(address).to_owned()).collect::<Vec<_>>()))
}

fn some_of(all: &[String]) -> String {
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if all.len() > SHOWN { format!("{shown} + {} more...", all.len() - SHOWN) } else { shown }
}

fn or_unset(text: String) -> String {
    if text.is_empty() { "<unset>".to_owned() } else { text }
}
