//! PURE: what the user-space proxy listens to, and where it passes connections on.
//!
//! Pods on the engine's bridge are reached on their own node alone: for those of another node the proxy goes to that
//! node's port of the Service, where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::host_ports::HostPort;
use super::proxy::{Backend, endpoints};

/// Where to listen, and where connections go.
pub(super) type Forwards = BTreeMap<SocketAddr, BTreeSet<SocketAddr>>;

/// What a node knows.
pub(super) struct Known<'a> {
    pub(super) services: &'a [Service],
    pub(super) slices: &'a [EndpointSlice],
    pub(super) nodes: &'a [Node],
    /// Its ports that are pods'.
    pub(super) host_ports: &'a BTreeSet<HostPort>,
    /// This node's name.
    pub(super) own: &'a str,
    /// Whether loopback can have the Services' addresses.
    pub(super) cluster_ips: bool,
}

/// Listens only where somebody answers: without endpoints connections are refused, as they should be.
pub(super) fn forwards(known: &Known<'_>) -> Forwards {
    let mut all = Forwards::new();
    for held in known.host_ports.iter().filter(|held| held.protocol == "tcp") {
        let at = SocketAddr::from((held.address.unwrap_or(Ipv4Addr::UNSPECIFIED), held.port));
        all.insert(at, [(held.pod, held.pod_port).into()].into());
    }
    for service in known.services {
        let Some(spec) = &service.spec else { continue };
        let address = spec.cluster_ip.as_deref().and_then(|address| address.parse::<Ipv4Addr>().ok());
        let tcp = |port: &&ServicePort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        for port in spec.ports.iter().flatten().filter(tcp) {
            let targets = targets(known, service, port);
            if targets.is_empty() {
                continue;
            }
            if let (Some(address), Ok(number), true) = (address, u16::try_from(port.port), known.cluster_ips) {
                all.insert((address, number).into(), targets.clone());
            }
            if let Some(number) = node_port(port) {
                all.insert((Ipv4Addr::UNSPECIFIED, number).into(), targets);
            }
        }
    }
    all
}

fn node_port(port: &ServicePort) -> Option<u16> {
    port.node_port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)
}

fn targets(known: &Known<'_>, service: &Service, port: &ServicePort) -> BTreeSet<SocketAddr> {
    let all = endpoints(service, known.slices, port);
    let here = |held: &&Backend| held.node.as_deref().is_none_or(|node| node == known.own);
    let near: BTreeSet<SocketAddr> = all.iter().filter(here).map(|held| (held.address, held.port).into()).collect();
    let Some(number) = node_port(port).filter(|_| near.is_empty()) else { return near };
    let far = all.iter().filter_map(|held| address(known.nodes, held.node.as_deref()?));
    far.map(|address| (address, number).into()).collect()
}

fn address(nodes: &[Node], name: &str) -> Option<IpAddr> {
    let node = nodes.iter().find(|held| held.metadata.name.as_deref() == Some(name))?;
    let mut addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.find(|address| address.type_ == "InternalIP")?.address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known(on: &[(&str, &str, bool)]) -> (Vec<Service>, Vec<EndpointSlice>, Vec<Node>) {
        let endpoints: Vec<_> = on
            .iter()
            .map(|(ip, node, ready)| json!({ "addresses": [ip], "nodeName": node, "conditions": { "ready": ready } }))
            .collect();
        let service = json!({ "metadata": { "name": "s", "namespace": "ns" }, "spec": { "clusterIP": "10.96.0.7",
            "ports": [{ "port": 80, "nodePort": 30080 }, { "port": 53, "protocol": "UDP", "name": "dns" }] } });
        let slice = json!({ "addressType": "IPv4", "endpoints": endpoints, "ports": [{ "port": 8080 }],
            "metadata": { "name": "s-1", "namespace": "ns", "labels": { "kubernetes.io/service-name": "s" } } });
        let node = json!({ "metadata": { "name": "far" },
            "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.9" }] } });
        let typed = "as the API has it";
        (
            vec![serde_json::from_value(service).expect(typed)],
            vec![serde_json::from_value(slice).expect(typed)],
            vec![serde_json::from_value(node).expect(typed)],
        )
    }

    fn shown(on: &[(&str, &str, bool)], cluster_ips: bool) -> Vec<String> {
        let (services, slices, nodes) = known(on);
        let host_ports = BTreeSet::new();
        let known = Known {
            services: &services,
            slices: &slices,
            nodes: &nodes,
            host_ports: &host_ports,
            own: "here",
            cluster_ips,
        };
        let line = |(at, to): (SocketAddr, BTreeSet<SocketAddr>)| {
            format!("{at} {}", to.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        };
        forwards(&known).into_iter().map(line).collect()
    }

    #[test]
    fn connections_go_to_ready_pods_of_this_node() {
        let on = [("172.17.0.2", "here", true), ("172.17.0.3", "here", false), ("172.17.0.2", "far", true)];
        assert_eq!(shown(&on, true), ["0.0.0.0:30080 172.17.0.2:8080", "10.96.0.7:80 172.17.0.2:8080"]);
        assert_eq!(shown(&on, false), ["0.0.0.0:30080 172.17.0.2:8080"]);
    }

    #[test]
    fn a_pods_port_of_the_node_leads_to_it() {
        let ports = json!([{ "containerPort": 80, "hostPort": 8080 }, { "containerPort": 5, "hostPort": 5, "protocol": "UDP" }]);
        let host_ports =
            super::super::host_ports::of(&[super::super::host_ports::tests::pod("n", ports, "Running")], "n");
        let known =
            Known { services: &[], slices: &[], nodes: &[], host_ports: &host_ports, own: "n", cluster_ips: false };
        let wanted: Forwards =
            [("0.0.0.0:8080".parse().expect("given"), ["10.244.1.9:80".parse().expect("given")].into())].into();
        assert_eq!(forwards(&known), wanted);
    }

    #[test]
    fn pods_of_another_node_are_reached_through_its_port_and_nobody_listens_for_none() {
        let on = [("172.17.0.2", "far", true)];
        assert_eq!(shown(&on, true), ["0.0.0.0:30080 192.0.2.9:30080", "10.96.0.7:80 192.0.2.9:30080"]);
        assert!(shown(&[("172.17.0.2", "here", false)], true).is_empty());
    }
}
