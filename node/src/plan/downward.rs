//! The downward API: fields of the pod and resources of a container as text, for env and volumes.
//!
//! Source: `pkg/fieldpath` and `pkg/api/v1/resource` of Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, ResourceFieldSelector};

use super::{quantity, spec};

/// What a node can give, for containers without a limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocatable {
    /// Units: thousandths of a CPU.
    pub cpu_milli: i64,
    /// Units: bytes.
    pub memory_bytes: i64,
}

/// The value of a field, or None when the path names no field that is served.
pub fn field(pod: &Pod, status: &PodStatus, path: &str) -> Option<String> {
    let meta = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let found = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return None,
        };
        return Some(found.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let joined = |ips: Vec<&str>| ips.join(",");
    let text = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
        "spec.nodeName" => spec::of(pod).node_name.clone(),
        "spec.serviceAccountName" => spec::of(pod).service_account_name.clone(),
        "status.hostIP" => status.host_ip.clone(),
        "status.hostIPs" => Some(joined(status.host_ips.iter().flatten().map(|h| h.ip.as_str()).collect())),
        "status.podIP" => status.pod_ip.clone(),
        "status.podIPs" => Some(joined(status.pod_ips.iter().flatten().map(|p| p.ip.as_str()).collect())),
        _ => return None,
    };
    Some(text.unwrap_or_default())
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    Some((map, key))
}

/// `key="value"` per line, sorted, the value quoted as Go does.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(k, v): (&String, &String)| format!("{k}={}", go_quote(v));
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a resource of a container, in multiples of the divisor, rounded up.
///
/// A limit that is not set is what the node can give.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    node: Allocatable,
) -> Option<String> {
    let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => spec::all(pod).find(|c| c.name == name)?,
        None => own?,
    };
    let (kind, name) = selector.resource.split_once('.')?;
    let whole = match name {
        "cpu" => i128::from(node.cpu_milli),
        "memory" => i128::from(node.memory_bytes) * 1000,
        _ => 0,
    };
    let milli = match kind {
        "limits" => quantity::limit_milli(container, name).unwrap_or(whole),
        "requests" => quantity::request_milli(container, name).unwrap_or(0),
        _ => return None,
    };
    let divisor = selector.divisor.as_ref().and_then(|d| quantity::milli(&d.0)).filter(|d| *d > 0).unwrap_or(1000);
    Some((milli.div_euclid(divisor) + i128::from(milli.rem_euclid(divisor) != 0)).to_string())
}
