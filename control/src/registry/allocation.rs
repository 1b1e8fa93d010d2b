//! PURE: what objects have that nobody else may have: cluster IPs and node ports of Services, nodes' parts of the pods'
//! range.
//!
//! Each is claimed by a key of its own, written in the same transaction as the object and only if absent: two servers
//! that choose the same one at the same time cannot both win. Source: k8s.io/kubernetes
//! `pkg/registry/core/service/storage/alloc.go`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::kind::Kind;
use crate::registry::prepare::meta_str;
use crate::registry::service::{self, invalid};
use crate::status::Status;

/// Claims lie below it.
const CLAIMS: &str = "/raftsman/claims/";
/// Node ports, as kube-apiserver's default.
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;
/// How often another value is drawn before the range counts as full.
const DRAWS: usize = 1024;

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Its first address.
    pub base: Ipv4Addr,
    /// Bits of the prefix.
    pub bits: u8,
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl std::str::FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no IPv4 range such as 10.96.0.0/16");
        let (base, bits) = text.split_once('/').ok_or_else(wrong)?;
        let (base, bits) = (base.parse::<Ipv4Addr>().map_err(|_| wrong())?, bits.parse::<u8>().map_err(|_| wrong())?);
        if !(8..=30).contains(&bits) {
            return Err(format!("{text:?}: the prefix must have 8 to 30 bits"));
        }
        let cidr = Cidr { base, bits };
        if u32::from(base) % cidr.size() != 0 {
            return Err(format!("{text:?}: the address has bits beyond the prefix"));
        }
        Ok(cidr)
    }
}

impl Cidr {
    /// How many addresses it holds.
    pub fn size(self) -> u32 {
        1 << (32 - self.bits)
    }

    /// The address at a place.
    pub fn at(self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + place)
    }

    /// Whether an address lies in it.
    pub fn holds(self, address: Ipv4Addr) -> bool {
        u32::from(address).checked_sub(u32::from(self.base)).is_some_and(|place| place < self.size())
    }
}

/// What addresses are drawn from.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// Of Services.
    pub services: Cidr,
    /// Of pods; each node has a part of it.
    pub pods: Cidr,
}

/// Whether objects of a kind hold a part of the pods' range.
pub(super) fn is_node(kind: &Kind) -> bool {
    (kind.group, kind.resource) == ("", "nodes")
}

fn is_service(kind: &Kind) -> bool {
    (kind.group, kind.resource) == ("", "services")
}

fn of_address(address: &str) -> String {
    format!("{CLAIMS}service-ip/{address}")
}

fn of_port(port: u64) -> String {
    format!("{CLAIMS}node-port/{port}")
}

/// The keys that an object holds besides its own.
pub fn claims(kind: &Kind, object: Option<&Value>) -> BTreeSet<String> {
    let Some(object) = object else { return BTreeSet::new() };
    if is_node(kind) {
        let part = object["spec"]["podCIDR"].as_str().filter(|part| !part.is_empty());
        return part.map(|part| format!("{CLAIMS}pod-cidr/{}", part.replace('/', "-"))).into_iter().collect();
    }
    if !is_service(kind) {
        return BTreeSet::new();
    }
    let address = object["spec"]["clusterIP"].as_str().filter(|address| !address.is_empty() && *address != "None");
    let ports = object["spec"]["ports"].as_array().into_iter().flatten();
    let ports = ports.map(|port| &port["nodePort"]).chain([&object["spec"]["healthCheckNodePort"]]);
    let ports = ports.filter_map(|port| port.as_u64().filter(|port| *port > 0)).map(of_port);
    address.map(of_address).into_iter().chain(ports).collect()
}

/// Gives a Service what it lacks, and takes what its type no longer has.
///
/// # Errors
/// 422 when what it asks for by itself is taken or outside the range; 500 when the range is full.
pub fn fill(
    ranges: &Ranges,
    taken: &dyn Fn(&str) -> bool,
    kind: &'static Kind,
    old: Option<&Value>,
    object: &mut Value,
    draw: &mut dyn FnMut() -> u64,
) -> Result<(), Status> {
    if !is_service(kind) {
        return Ok(());
    }
    let held = claims(kind, old);
    let name = meta_str(object, "name").to_owned();
    let spec = &mut object["spec"];
    if !spec.is_object() || spec["type"] == "ExternalName" {
        return Ok(());
    }
    service::families(&name, spec)?;
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        let place = pick(ranges.services.size(), taken, |at| of_address(&ranges.services.at(at).to_string()), draw);
        spec["clusterIP"] = ranges.services.at(place.ok_or_else(full)?).to_string().into();
    }
    let address = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    if address != "None" {
        let claim = of_address(&address);
        let fits = address.parse().is_ok_and(|address| ranges.services.holds(address));
        if !held.contains(&claim) && (!fits || taken(&claim)) {
            let why = if fits {
                "provided IP is already allocated"
            } else {
                "the provided network does not match the current range"
            };
            let why = format!("failed to allocate IP {address}: {why}");
            return Err(invalid(&name, "spec.clusterIPs", &json!([address]), &why));
        }
    }
    if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) || spec["clusterIPs"][0] != address {
        spec["clusterIPs"] = json!([address]);
    }
    node_ports(&name, &held, taken, spec, draw)
}

fn node_ports(
    name: &str,
    held: &BTreeSet<String>,
    taken: &dyn Fn(&str) -> bool,
    spec: &mut Value,
    draw: &mut dyn FnMut() -> u64,
) -> Result<(), Status> {
    let (allocates, health) = (service::allocates_node_ports(spec), service::needs_health_port(spec));
    let count = spec["ports"].as_array().map_or(0, Vec::len);
    let mut places: Vec<(String, String, bool)> =
        (0..count).map(|at| (format!("/ports/{at}"), format!("spec.ports[{at}].nodePort"), allocates)).collect();
    places.push((String::new(), "spec.healthCheckNodePort".to_owned(), health));
    let mut given = BTreeSet::new();
    for (at, field, wanted) in places {
        let key = field.rsplit('.').next().unwrap_or_default().to_owned();
        let Some(holder) = spec.pointer_mut(&at).and_then(Value::as_object_mut) else { continue };
        let asked = holder.get(&key).and_then(Value::as_u64).filter(|asked| *asked > 0);
        let refuse = |asked: u64, why: &str| Err(invalid(name, &field, &asked.into(), why));
        match asked {
            Some(asked) if !NODE_PORTS.contains(&asked) => {
                let (low, high) = (NODE_PORTS.start(), NODE_PORTS.end());
                let why = format!("provided port is not in the valid range. The range of valid ports is {low}-{high}");
                return refuse(asked, &why);
            }
            Some(asked) if !held.contains(&of_port(asked)) && taken(&of_port(asked)) => {
                return refuse(asked, "provided port is already allocated");
            }
            Some(asked) => {
                given.insert(asked);
            }
            None if wanted => {
                let size = u32::try_from(NODE_PORTS.end() - NODE_PORTS.start() + 1).expect("a few thousand");
                let claim = |place: u32| of_port(NODE_PORTS.start() + u64::from(place));
                let busy = |claim: &str| taken(claim) || given.iter().any(|given| of_port(*given) == claim);
                let place = pick(size, &busy, claim, draw).ok_or_else(full)?;
                let chosen = NODE_PORTS.start() + u64::from(place);
                given.insert(chosen);
                holder.insert(key, chosen.into());
            }
            None => {}
        }
    }
    Ok(())
}

/// A free place; the first and last address of a range are nobody's.
fn pick(
    size: u32,
    taken: &dyn Fn(&str) -> bool,
    key: impl Fn(u32) -> String,
    draw: &mut dyn FnMut() -> u64,
) -> Option<u32> {
    let inner = u64::from(size.saturating_sub(2).max(1));
    (0..DRAWS).map(|_| 1 + u32::try_from(draw() % inner).expect("below u32")).find(|place| !taken(&key(*place)))
}

fn full() -> Status {
    Status::internal("failed to allocate: the range is full")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn assigned(mut object: Value, old: Option<&Value>, taken: &[&str]) -> Result<Value, String> {
        let range = |text: &str| text.parse().expect("a range");
        let ranges = Ranges { services: range("10.96.0.0/16"), pods: range("10.244.0.0/16") };
        let mut next = 6;
        let mut draw = || {
            next += 1;
            next
        };
        let is_taken = |key: &str| taken.contains(&key);
        fill(&ranges, &is_taken, kind::core("services"), old, &mut object, &mut draw).map_err(|s| s.message)?;
        Ok(object)
    }

    #[test]
    fn services_get_addresses_and_ports_that_nobody_has() {
        let made = assigned(
            json!({ "spec": { "type": "NodePort", "ports": [{ "port": 80 }, { "port": 81 }] } }),
            None,
            &["/raftsman/claims/service-ip/10.96.0.8"],
        )
        .expect("free");
        assert_eq!(made["spec"]["clusterIP"], "10.96.0.9");
        assert_eq!(made["spec"]["clusterIPs"], json!(["10.96.0.9"]));
        let keys = claims(kind::core("services"), Some(&made));
        assert_eq!(keys.len(), 3, "{keys:?}");
        let headless = assigned(json!({ "spec": { "clusterIP": "None" } }), None, &[]).expect("needs nothing");
        assert!(claims(kind::core("services"), Some(&headless)).is_empty());
        let again = assigned(made.clone(), Some(&made), &["/raftsman/claims/service-ip/10.96.0.9"]);
        assert_eq!(again.expect("keeps what it has"), made);
        let local = json!({ "spec": { "type": "LoadBalancer", "externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": false, "ports": [{ "port": 80 }] } });
        let local = assigned(local, None, &[]).expect("free");
        assert_eq!(
            (&local["spec"]["healthCheckNodePort"], local["spec"]["ports"][0].get("nodePort")),
            (&json!(30009), None)
        );
    }

    #[test]
    fn what_is_taken_or_outside_is_refused() {
        let taken = ["/raftsman/claims/service-ip/10.96.0.5", "/raftsman/claims/node-port/30001"];
        for (spec, wanted) in [
            (json!({ "clusterIP": "10.96.0.5" }), "already allocated"),
            (json!({ "clusterIP": "10.97.0.5" }), "does not match the current range"),
            (json!({ "type": "NodePort", "ports": [{ "nodePort": 30001 }] }), "already allocated"),
            (json!({ "type": "NodePort", "ports": [{ "nodePort": 80 }] }), "30000-32767"),
        ] {
            let why =
                assigned(json!({ "metadata": { "name": "s" }, "spec": spec }), None, &taken).expect_err("refused");
            assert!(why.contains(wanted), "{why}");
        }
    }

    #[test]
    fn ranges_are_read() {
        for wrong in ["10.96.0.0", "10.96.0.1/16", "x/16", "10.0.0.0/31"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        let cidr: Cidr = "10.244.0.0/16".parse().expect("a range");
        assert!(cidr.holds(Ipv4Addr::new(10, 244, 255, 255)) && !cidr.holds(Ipv4Addr::new(10, 245, 0, 0)));
    }
}
