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

fn is_node(kind: &Kind) -> bool {
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
    let ports = ports.filter_map(|port| port["nodePort"].as_u64().filter(|port| *port > 0)).map(of_port);
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
    let kept = old.map(|old| old["spec"]["clusterIP"].clone());
    let spec = &mut object["spec"];
    if !spec.is_object() {
        return Ok(());
    }
    let typed = spec["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if typed == "ExternalName" {
        spec.as_object_mut().expect("checked above").retain(|field, _| field != "clusterIP" && field != "clusterIPs");
        return Ok(());
    }
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        let mut drawn =
            || pick(ranges.services.size(), taken, |at| of_address(&ranges.services.at(at).to_string()), draw);
        spec["clusterIP"] = match kept.filter(|kept| kept.as_str().is_some_and(|kept| !kept.is_empty())) {
            Some(kept) => kept,
            None => ranges.services.at(drawn().ok_or_else(full)?).to_string().into(),
        };
    }
    let address = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    if address != "None" {
        let claim = of_address(&address);
        let fits = address.parse().is_ok_and(|address| ranges.services.holds(address));
        if !held.contains(&claim) && (!fits || taken(&claim)) {
            let why = if fits {
                "failed to allocate IP: provided IP is already allocated".to_owned()
            } else {
                format!(
                    "failed to allocate IP: the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                    ranges.services
                )
            };
            return Err(invalid(&name, "spec.clusterIPs", &json!([address]), &why));
        }
    }
    if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) || spec["clusterIPs"][0] != address {
        spec["clusterIPs"] = json!([address]);
    }
    node_ports(&typed, &name, &held, taken, spec, draw)
}

fn node_ports(
    typed: &str,
    name: &str,
    held: &BTreeSet<String>,
    taken: &dyn Fn(&str) -> bool,
    spec: &mut Value,
    draw: &mut dyn FnMut() -> u64,
) -> Result<(), Status> {
    let wants = matches!(typed, "NodePort" | "LoadBalancer");
    let mut given = BTreeSet::new();
    for (at, port) in spec["ports"].as_array_mut().into_iter().flatten().enumerate() {
        let Some(port) = port.as_object_mut() else { continue };
        if !wants {
            port.remove("nodePort");
            continue;
        }
        let asked = port.get("nodePort").and_then(Value::as_u64).filter(|asked| *asked > 0);
        let claim = asked.map(of_port).unwrap_or_default();
        match asked {
            Some(asked) if !NODE_PORTS.contains(&asked) => {
                let (low, high) = (NODE_PORTS.start(), NODE_PORTS.end());
                let why = format!("provided port is not in the valid range. The range of valid ports is {low}-{high}");
                return Err(invalid(name, &format!("spec.ports[{at}].nodePort"), &asked.into(), &why));
            }
            Some(asked) if !held.contains(&claim) && taken(&claim) => {
                let why = "provided port is already allocated";
                return Err(invalid(name, &format!("spec.ports[{at}].nodePort"), &asked.into(), why));
            }
            Some(asked) => {
                given.insert(asked);
            }
            None => {
                let size = u32::try_from(NODE_PORTS.end() - NODE_PORTS.start() + 1).expect("a few thousand");
                let key = |place: u32| of_port(NODE_PORTS.start() + u64::from(place));
                let free = |key: &str| taken(key) || given.iter().any(|given| of_port(*given) == key);
                let place = pick(size, &free, key, draw).ok_or_else(full)?;
                let chosen = NODE_PORTS.start() + u64::from(place);
                given.insert(chosen);
                port.insert("nodePort".into(), chosen.into());
            }
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

fn invalid(name: &str, field: &str, value: &Value, why: &str) -> Status {
    let text = format!("Invalid value: {value}: {why}");
    let mut status = Status::new(422, "Invalid", format!("Service \"{name}\" is invalid: {field}: {text}"));
    let cause = json!({ "reason": "FieldValueInvalid", "message": text, "field": field });
    status.details = json!({ "name": name, "kind": "Service", "causes": [cause] });
    status
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
        let again = assigned(json!({ "spec": { "ports": [{ "port": 80, "nodePort": 30009 }] } }), Some(&made), &[]);
        let again = again.expect("keeps its address");
        assert_eq!(
            (&again["spec"]["clusterIP"], &again["spec"]["ports"]),
            (&json!("10.96.0.9"), &json!([{ "port": 80 }]))
        );
    }

    #[test]
    fn what_is_taken_or_outside_is_refused() {
        let taken = ["/raftsman/claims/service-ip/10.96.0.5", "/raftsman/claims/node-port/30001"];
        for (spec, wanted) in [
            (json!({ "clusterIP": "10.96.0.5" }), "already allocated"),
            (json!({ "clusterIP": "10.97.0.5" }), "not in the valid range"),
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
