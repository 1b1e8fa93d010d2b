//! Keeps the node's bridge, its routes to other nodes and the service proxy as the objects that the node knows say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio_util::sync::CancellationToken;

use super::bridge::{BRIDGE, BridgeNetwork};
use super::choice::Host;
use super::host_ports::HostPort;
use super::ipam::Range;
use super::proxy::{self, Rules};
use super::{host_ports, kernel};
use crate::mirror::{Changes, Key, Mirror};

/// After a failure, all is made anew.
const AGAIN: Duration = Duration::from_secs(2);

/// What has been done.
#[derive(Default)]
struct Done {
    range: Option<Range>,
    rules: Rules,
    /// Ports of this node that are pods'.
    host_ports: BTreeSet<HostPort>,
    /// Next hops by range.
    routes: BTreeMap<String, String>,
}

/// Follows the objects until told to stop. What it made stays: pods go on without the agent.
pub(crate) async fn run(
    network: Arc<BridgeNetwork>,
    mirror: Arc<Mirror>,
    node: String,
    wired: bool,
    stop: CancellationToken,
) {
    let mut changes = mirror.subscribe();
    let mut done = Done::default();
    loop {
        let made = follow(&network, &mirror, &node, wired, &mut done).await;
        if let Err(error) = &made {
            tracing::warn!(error, "the node's network is not as it should be; trying again");
            done = Done::default();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            more = changed(&mut changes, &mirror, &node, wired, &done) => if !more { return },
            () = tokio::time::sleep(AGAIN), if made.is_err() => {}
        }
    }
}

/// Waits for a change that concerns the network; false when there will be none.
async fn changed(changes: &mut Changes, mirror: &Mirror, node: &str, wired: bool, done: &Done) -> bool {
    while let Some(changed) = changes.next().await {
        // Of pods only their ports of the node: else each word about any of them would be looked into.
        let ports = || wired && changed.concerns(|(resource, _, _)| resource == "pods");
        if changed.concerns(|key| concerns(key, node, wired)) || (ports() && opened(mirror, node) != done.host_ports) {
            return true;
        }
    }
    false
}

fn opened(mirror: &Mirror, node: &str) -> BTreeSet<HostPort> {
    host_ports::of(&mirror.list::<Pod>("pods", None), node)
}

/// Without a network of its own a node needs its range alone: of what becomes of a thousand others it would only tire.
fn concerns((resource, _, name): &Key, node: &str, wired: bool) -> bool {
    match resource.as_str() {
        "nodes" => wired || name == node,
        "services" | "endpointslices" => wired,
        _ => false,
    }
}

async fn follow(
    network: &BridgeNetwork,
    mirror: &Mirror,
    node: &str,
    wired: bool,
    done: &mut Done,
) -> Result<(), String> {
    let own: Option<Node> = mirror.get("nodes", "", node);
    let range = own.and_then(|own| own.spec?.pod_cidr?.parse::<Range>().ok());
    let Some(range) = range else { return Ok(()) };
    if wired {
        let nodes: Vec<Node> = mirror.list("nodes", None);
        if done.range != Some(range) {
            bridge(range).await?;
            kernel::nft(&proxy::create(range)).await?;
            (done.range, done.rules) = (Some(range), Rules::default());
        }
        routes(&nodes, node, done).await;
        let services: Vec<Service> = mirror.list("services", None);
        let slices: Vec<EndpointSlice> = mirror.list("endpointslices", None);
        let host_ports = opened(mirror, node);
        let wanted = proxy::rules(&services, &slices, &nodes, &host_ports, range);
        done.host_ports = host_ports;
        let script = proxy::change(&done.rules, &wanted);
        if !script.is_empty() {
            kernel::nft(&script).await?;
            done.rules = wanted;
        }
    }
    network.range.send_if_modified(|held| held.replace(range) != Some(range));
    Ok(())
}

/// The bridge with the node's own address, and packets that may pass.
async fn bridge(range: Range) -> Result<(), String> {
    let gateway = range.gateway();
    if !kernel::has_link(BRIDGE).await {
        let [a, b, c, d] = gateway.octets();
        // An address of its own: else it changes with the pods, and neighbours remember the old one.
        let mac = format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        kernel::ip(&format!("link add name {BRIDGE} address {mac} type bridge\n")).await?;
    }
    kernel::ip(&format!(
        "addr flush dev {BRIDGE}\naddr add {gateway}/{} dev {BRIDGE}\nlink set {BRIDGE} up\n",
        range.bits
    ))
    .await?;
    kernel::sysctl("ipv4/ip_forward", "1")?;
    // Pods are told to send everything here, also what a neighbour could take.
    kernel::sysctl("ipv4/conf/all/send_redirects", "0")?;
    kernel::sysctl(&format!("ipv4/conf/{BRIDGE}/send_redirects"), "0")?;
    kernel::pass_engine_filter(BRIDGE).await;
    Ok(())
}

/// Each other node's pods by that node's address. One that cannot be reached must not keep the others away.
async fn routes(nodes: &[Node], own: &str, done: &mut Done) {
    let mut wanted = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.metadata.name.as_deref() != Some(own)) {
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let address =
            addresses.clone().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone());
        if let (Some(range), Some(address)) = (node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone()), address) {
            wanted.insert(range, address);
        }
    }
    for (range, _) in done.routes.iter().filter(|(range, _)| !wanted.contains_key(*range)) {
        let _ = kernel::ip(&format!("route del {range}\n")).await;
    }
    for (range, address) in wanted.iter().filter(|(range, address)| done.routes.get(*range) != Some(address)) {
        if let Err(error) = kernel::ip(&format!("route replace {range} via {address}\n")).await {
            tracing::warn!(
                range,
                address,
                error,
                "no route to the pods of a node: it must share a segment with this one"
            );
        }
    }
    done.routes = wanted;
}

/// What this machine lets the agent do, tried.
pub(crate) async fn host() -> Host {
    if !nix::unistd::geteuid().is_root() {
        let why = || Err("the agent does not run as root".to_owned());
        return Host { links: why(), nftables: why(), addresses: why() };
    }
    let (links, nftables) = (kernel::links().await, kernel::nftables().await);
    Host { links, nftables, addresses: kernel::addresses().await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_network_of_its_own_looks_at_itself_alone() {
        let key = |resource: &str, name: &str| (resource.to_owned(), String::new(), name.to_owned());
        assert!(concerns(&key("nodes", "n"), "n", false) && !concerns(&key("nodes", "m"), "n", false));
        assert!(concerns(&key("nodes", "m"), "n", true) && concerns(&key("services", "s"), "n", true));
        assert!(!concerns(&key("services", "s"), "n", false) && !concerns(&key("pods", "p"), "n", true));
    }
}
