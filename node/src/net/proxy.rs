//! PURE: the service proxy: what nftables must hold so that Services are reached, and how to get there from what it holds.
//!
//! Source: k8s.io/kubernetes `pkg/proxy/nftables`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::host_ports::HostPort;
use super::ipam::Range;

/// The one table that is ours.
pub(crate) const TABLE: &str = "ip raftsman";
/// Marks packets whose sender must become the node: their answers have to come back this way.
const MARK: &str = "0x4000";

/// What the table holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Rules by chain.
    chains: BTreeMap<String, Vec<String>>,
    /// `address . protocol . port` to a verdict.
    services: BTreeMap<String, String>,
    /// `protocol . port` to a verdict.
    node_ports: BTreeMap<String, String>,
    /// Services without endpoints: refused.
    closed: BTreeSet<String>,
    /// Ranges of pods: what goes there keeps its sender.
    pods: BTreeSet<String>,
    /// Pods that may reach themselves through a Service.
    hairpin: BTreeSet<String>,
}

/// What must be there, made from what the node was told.
pub(crate) fn rules(
    services: &[Service],
    slices: &[EndpointSlice],
    nodes: &[Node],
    host_ports: &BTreeSet<HostPort>,
    own: Range,
) -> Rules {
    let mut rules = Rules { pods: [own.to_string()].into(), ..Rules::default() };
    rules.pods.extend(nodes.iter().filter_map(|node| node.spec.as_ref()?.pod_cidr.clone()));
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let address = spec.cluster_ip.as_deref().filter(|address| !matches!(*address, "" | "None"));
        let Some(address) = address.filter(|_| spec.type_.as_deref() != Some("ExternalName")) else { continue };
        for port in spec.ports.iter().flatten() {
            add(&mut rules, service, slices, address, port);
        }
    }
    host_ports.iter().for_each(|held| open(&mut rules, held));
    rules
}

/// A port of the node that is a pod's. A Service's port goes before it.
fn open(rules: &mut Rules, held: &HostPort) {
    let HostPort { protocol, port, address, pod, pod_port } = held;
    let chain = format!("hp-{protocol}-{port}");
    let only = address.map(|address| format!("ip daddr {address} ")).unwrap_or_default();
    let rule = format!("{only}meta l4proto {protocol} dnat ip to {pod}:{pod_port}");
    rules.chains.entry(chain.clone()).or_default().push(rule);
    rules.node_ports.entry(format!("{protocol} . {port}")).or_insert(format!("goto {chain}"));
    rules.hairpin.insert(format!("{pod} . {pod}"));
}

fn add(rules: &mut Rules, service: &Service, slices: &[EndpointSlice], address: &str, port: &ServicePort) {
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
    let endpoints = endpoints(service, slices, port);
    let key = format!("{address} . {protocol} . {}", port.port);
    if endpoints.is_empty() {
        rules.closed.insert(key);
        return;
    }
    let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
    let id = fnv(&format!("{namespace:?}/{name:?}/{:?}/{protocol}/{}", port.name, port.port));
    let chain = format!("svc-{id:016x}");
    let target = |(at, held): (usize, &Backend)| format!("{at} : {} . {}", held.address, held.port);
    let targets: Vec<String> = endpoints.iter().enumerate().map(target).collect();
    let rule = format!(
        "meta l4proto {protocol} dnat ip to numgen random mod {} map {{ {} }}",
        targets.len(),
        targets.join(", ")
    );
    rules.chains.insert(chain.clone(), vec![rule]);
    rules.services.insert(key, format!("goto {chain}"));
    if let Some(node_port) = port.node_port.filter(|node_port| *node_port > 0) {
        let outside = format!("np-{id:016x}");
        rules
            .chains
            .insert(outside.clone(), vec![format!("meta mark set meta mark or {MARK}"), format!("goto {chain}")]);
        rules.node_ports.insert(format!("{protocol} . {node_port}"), format!("goto {outside}"));
    }
    rules.hairpin.extend(endpoints.iter().map(|held| format!("{0} . {0}", held.address)));
}

/// Where a Service is answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    /// The node that it is on, if it is a pod.
    pub(super) node: Option<String>,
}

/// Addresses and ports that serve: those that are ready; where there are none, those that still serve while they end.
pub(super) fn endpoints(service: &Service, slices: &[EndpointSlice], port: &ServicePort) -> BTreeSet<Backend> {
    let of_service = |slice: &&EndpointSlice| {
        let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        slice.metadata.namespace == service.metadata.namespace
            && label.map(String::as_str) == service.metadata.name.as_deref()
            && slice.address_type == "IPv4"
    };
    let (mut ready, mut ending) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices.iter().filter(of_service) {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let same = slice.ports.iter().flatten().find(|held| name(&held.name) == name(&port.name));
        let Some(port) = same.and_then(|held| held.port).and_then(|port| u16::try_from(port).ok()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first().and_then(|text| text.parse().ok()) else { continue };
            let backend = Backend { address, port, node: endpoint.node_name.clone() };
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if conditions.ready != Some(false) {
                ready.insert(backend);
            } else if conditions.serving == Some(true) && conditions.terminating == Some(true) {
                ending.insert(backend);
            }
        }
    }
    if ready.is_empty() { ending } else { ready }
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Makes the table anew, empty.
pub(crate) fn create(own: Range) -> String {
    format!(
        "table {TABLE} {{}}
delete table {TABLE}
table {TABLE} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node-ports {{ type inet_proto . inet_service : verdict; }}
  set closed {{ type ipv4_addr . inet_proto . inet_service; }}
  set pods {{ type ipv4_addr; flags interval; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain dispatch {{
    ip daddr . meta l4proto . th dport vmap @services
    ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @node-ports
  }}
  chain prerouting {{ type nat hook prerouting priority dstnat; jump dispatch; }}
  chain output {{ type nat hook output priority -100; jump dispatch; }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    meta mark & {MARK} == {MARK} masquerade
    ip saddr . ip daddr @hairpin masquerade
    ip saddr {own} ip daddr != @pods masquerade
  }}
  chain forward {{ type filter hook forward priority filter; ip daddr . meta l4proto . th dport @closed reject; }}
  chain local {{ type filter hook output priority filter; ip daddr . meta l4proto . th dport @closed reject; }}
}}
"
    )
}

/// The script that turns what is there into what must be there, by elements and chains.
pub(crate) fn change(old: &Rules, new: &Rules) -> String {
    let mut script = String::new();
    let mut line = |text: String| {
        script.push_str(&text);
        script.push('\n');
    };
    // All chains first: rules go to other chains.
    let changed = || new.chains.iter().filter(|(chain, rules)| old.chains.get(*chain) != Some(rules));
    for (chain, _) in changed() {
        line(format!("add chain {TABLE} {chain}"));
        line(format!("flush chain {TABLE} {chain}"));
    }
    for (chain, rules) in changed() {
        rules.iter().for_each(|rule| line(format!("add rule {TABLE} {chain} {rule}")));
    }
    for (map, old, new) in
        [("services", &old.services, &new.services), ("node-ports", &old.node_ports, &new.node_ports)]
    {
        for (key, _) in old.iter().filter(|(key, verdict)| new.get(*key) != Some(verdict)) {
            line(format!("delete element {TABLE} {map} {{ {key} }}"));
        }
        for (key, verdict) in new.iter().filter(|(key, verdict)| old.get(*key) != Some(verdict)) {
            line(format!("add element {TABLE} {map} {{ {key} : {verdict} }}"));
        }
    }
    for (set, old, new) in
        [("closed", &old.closed, &new.closed), ("pods", &old.pods, &new.pods), ("hairpin", &old.hairpin, &new.hairpin)]
    {
        old.difference(new).for_each(|key| line(format!("delete element {TABLE} {set} {{ {key} }}")));
        new.difference(old).for_each(|key| line(format!("add element {TABLE} {set} {{ {key} }}")));
    }
    // Chains that others go to are deleted after those.
    let gone: Vec<&String> = old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)).collect();
    gone.iter().for_each(|chain| line(format!("flush chain {TABLE} {chain}")));
    gone.iter().for_each(|chain| line(format!("delete chain {TABLE} {chain}")));
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(port: i32) -> Service {
        let spec = json!({ "type": "NodePort", "clusterIP": "10.96.0.7",
            "ports": [{ "name": "web", "port": port, "nodePort": 30080, "targetPort": 8080 }] });
        serde_json::from_value(json!({ "metadata": { "name": "s", "namespace": "ns" }, "spec": spec }))
            .expect("a Service")
    }

    fn slice(ready: &[(&str, bool)]) -> EndpointSlice {
        let endpoints: Vec<_> =
            ready.iter().map(|(ip, ready)| json!({ "addresses": [ip], "conditions": { "ready": ready } })).collect();
        serde_json::from_value(json!({
            "metadata": { "name": "s-1", "namespace": "ns", "labels": { "kubernetes.io/service-name": "s" } },
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{ "name": "web", "port": 8080, "protocol": "TCP" }],
        }))
        .expect("a slice")
    }

    fn own() -> Range {
        "10.244.1.0/24".parse().expect("a range")
    }

    fn none() -> BTreeSet<HostPort> {
        BTreeSet::new()
    }

    #[test]
    fn a_pods_port_of_the_node_leads_to_it_and_is_closed_with_it() {
        let ports = json!([{ "containerPort": 80, "hostPort": 8080 },
            { "containerPort": 81, "hostPort": 8080, "protocol": "UDP", "hostIP": "192.0.2.1" }]);
        let held = super::super::host_ports::of(&[super::super::host_ports::tests::pod("n", ports, "Running")], "n");
        let (open, closed) = (rules(&[], &[], &[], &held, own()), rules(&[], &[], &[], &none(), own()));
        let script = change(&closed, &open);
        for line in [
            "add rule ip raftsman hp-tcp-8080 meta l4proto tcp dnat ip to 10.244.1.9:80",
            "add rule ip raftsman hp-udp-8080 ip daddr 192.0.2.1 meta l4proto udp dnat ip to 10.244.1.9:81",
            "add element ip raftsman node-ports { tcp . 8080 : goto hp-tcp-8080 }",
        ] {
            assert!(script.lines().any(|held| held == line), "{line}\n{script}");
        }
        let script = change(&open, &closed);
        assert!(script.contains("delete element ip raftsman node-ports { tcp . 8080 }"), "{script}");
        assert_eq!(script.matches("delete chain").count(), 2, "{script}");
    }

    #[test]
    fn only_ready_endpoints_are_chosen_and_changes_are_small() {
        let one = rules(&[service(80)], &[slice(&[("10.244.1.2", true), ("10.244.2.2", false)])], &[], &none(), own());
        let first = change(&Rules::default(), &one);
        assert!(first.contains("mod 1 map { 0 : 10.244.1.2 . 8080 }"), "{first}");
        assert!(first.contains("node-ports { tcp . 30080 : goto np-") && !first.contains("10.244.2.2"), "{first}");
        let two = rules(&[service(80)], &[slice(&[("10.244.1.2", true), ("10.244.2.2", true)])], &[], &none(), own());
        let next = change(&one, &two);
        assert_eq!(
            next.lines().filter(|line| line.contains("element")).collect::<Vec<_>>(),
            ["add element ip raftsman hairpin { 10.244.2.2 . 10.244.2.2 }"],
            "{next}"
        );
        assert!(change(&two, &two).is_empty());
    }

    #[test]
    fn a_service_without_endpoints_is_closed_and_one_that_is_gone_leaves_nothing() {
        let open = rules(&[service(80)], &[slice(&[("10.244.1.2", true)])], &[], &none(), own());
        let closed = rules(&[service(80)], &[slice(&[("10.244.1.2", false)])], &[], &none(), own());
        let script = change(&open, &closed);
        assert!(script.contains("add element ip raftsman closed { 10.96.0.7 . tcp . 80 }"), "{script}");
        assert!(script.contains("delete element ip raftsman services { 10.96.0.7 . tcp . 80 }"), "{script}");
        assert_eq!(script.matches("delete chain").count(), 2, "{script}");
        let nothing = rules(&[], &[], &[], &none(), own());
        assert_eq!(change(&closed, &nothing), "delete element ip raftsman closed { 10.96.0.7 . tcp . 80 }\n");
    }
}
