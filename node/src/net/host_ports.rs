//! PURE: ports of the node by which its pods are reached: `hostPort`. Source: the CNI plugin `portmap`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};

/// One port of the node, and the pod's port behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    /// In small letters, e.g. `tcp`.
    pub(super) protocol: String,
    pub(super) port: u16,
    /// The only address of the node that answers; none: all do.
    pub(super) address: Option<Ipv4Addr>,
    pub(super) pod: Ipv4Addr,
    pub(super) pod_port: u16,
}

/// Those of the pods that run on a node and have an address of their own.
pub(crate) fn of(pods: &[Pod], node: &str) -> BTreeSet<HostPort> {
    pods.iter().filter(|pod| runs_on(pod, node)).flat_map(of_pod).collect()
}

fn runs_on(pod: &Pod, node: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let spec = pod.spec.as_ref();
    spec.is_some_and(|spec| spec.node_name.as_deref() == Some(node) && spec.host_network != Some(true))
        && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn of_pod(pod: &Pod) -> Vec<HostPort> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
    let (Some(address), Some(spec)) = (address, &pod.spec) else { return Vec::new() };
    // Init containers that end have ended before anybody asks them; those that go on are sidecars.
    let sidecar = |held: &&Container| held.restart_policy.as_deref() == Some("Always");
    let containers = spec.init_containers.iter().flatten().filter(sidecar).chain(&spec.containers);
    containers.flat_map(|held| held.ports.iter().flatten()).filter_map(|port| of_port(port, address)).collect()
}

fn of_port(port: &ContainerPort, pod: Ipv4Addr) -> Option<HostPort> {
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port > 0);
    let address = match port.host_ip.as_deref().unwrap_or_default() {
        "" | "0.0.0.0" => None,
        // What is no address of this family is no door here.
        text => Some(text.parse().ok()?),
    };
    Some(HostPort {
        protocol: port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
        port: number(port.host_port?)?,
        address,
        pod,
        pod_port: number(port.container_port)?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(crate) fn pod(node: &str, ports: Value, phase: &str) -> Pod {
        let spec = json!({ "nodeName": node, "containers": [{ "name": "c", "ports": ports }] });
        let status = json!({ "phase": phase, "podIP": "10.244.1.9" });
        let pod = json!({ "metadata": { "name": "p" }, "spec": spec, "status": status });
        serde_json::from_value(pod).expect("a Pod")
    }

    #[test]
    fn pods_that_run_here_have_their_ports() {
        let ports = json!([
            { "containerPort": 80, "hostPort": 8080 },
            { "containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "192.0.2.1" },
            { "containerPort": 443 },
            { "containerPort": 1, "hostPort": 2, "hostIP": "::1" },
        ]);
        let shown = |pods: &[Pod]| -> Vec<String> {
            let one = |held: HostPort| format!("{} {} {:?} {}", held.protocol, held.port, held.address, held.pod_port);
            of(pods, "here").into_iter().map(one).collect()
        };
        assert_eq!(shown(&[pod("here", ports.clone(), "Running")]), ["tcp 8080 None 80", "udp 53 Some(192.0.2.1) 53"]);
        assert!(shown(&[pod("here", ports.clone(), "Succeeded"), pod("far", ports.clone(), "Running")]).is_empty());
        let mut own = pod("here", ports, "Running");
        own.spec.as_mut().expect("a spec").host_network = Some(true);
        assert!(shown(&[own]).is_empty(), "it is on the node's network already");
    }
}
