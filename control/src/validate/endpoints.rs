//! Endpoints and their slices: addresses of one sort that other machines can mean, ports with names of their own.
//!
//! Source: k8s.io/kubernetes `pkg/apis/core/validation/validation.go`, `pkg/apis/discovery/validation/validation.go`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::metadata::labels;
use crate::validate::read::{entries, held, list, number, text, texts};
use crate::validate::{LENIENT, Rules, names, root};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_MAX: usize = 16;
const HINTS_MAX: usize = 8;

/// Of Endpoints.
pub const ENDPOINTS: Rules = Rules { create: subsets, update: |_, new, errors| subsets(new, errors), ..LENIENT };
/// Of EndpointSlices.
pub const SLICE: Rules = Rules { create: slice, update: slice_update, ..LENIENT };

fn subsets(endpoints: &Value, errors: &mut Errors) {
    for (at, subset) in list(endpoints, "subsets").iter().enumerate() {
        let (path, ports) = (root().child("subsets").index(at), list(subset, "ports"));
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for field in ["addresses", "notReadyAddresses"] {
            for (at, address) in list(subset, field).iter().enumerate() {
                subset_address(address, &path.child(field).index(at), errors);
            }
        }
        for (at, port) in ports.iter().enumerate() {
            let (path, name) = (path.child("ports").index(at), text(port, "name"));
            if !name.is_empty() {
                errors.malformed(&path.child("name"), name, &names::dns1123_label(name));
            } else if ports.len() > 1 {
                errors.required(&path.child("name"), "");
            }
            let given = number(port, "port").unwrap_or(0);
            errors.malformed(&path.child("port"), &given, &names::port_number(given));
            protocol(port, &path, errors);
        }
    }
}

fn subset_address(address: &Value, path: &Path, errors: &mut Errors) {
    let (ip, host) = (text(address, "ip"), text(address, "hostname"));
    errors.malformed(&path.child("ip"), ip, &names::ip(ip));
    if !host.is_empty() {
        errors.malformed(&path.child("hostname"), host, &names::dns1123_label(host));
    }
    if held(address, "nodeName").is_some() {
        let node = text(address, "nodeName");
        errors.malformed(&path.child("nodeName"), node, &names::dns1123_subdomain(node));
    }
    errors.malformed(&path.child("ip"), ip, &names::endpoint_ip(ip));
}

/// The protocol of a port, and the one spoken over it.
pub(crate) fn protocol(port: &Value, path: &Path, errors: &mut Errors) {
    let protocol = text(port, "protocol");
    if !protocol.is_empty() && !PROTOCOLS.contains(&protocol) {
        errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS);
    }
    if held(port, "appProtocol").is_some() {
        let spoken = text(port, "appProtocol");
        errors.malformed(&path.child("appProtocol"), spoken, &names::qualified_name(spoken));
    }
}

fn slice(slice: &Value, errors: &mut Errors) {
    let kind = text(slice, "addressType");
    if kind.is_empty() {
        errors.required(&root().child("addressType"), "");
    } else if !ADDRESS_TYPES.contains(&kind) {
        errors.not_supported(&root().child("addressType"), kind, &ADDRESS_TYPES);
    }
    let (endpoints, path) = (list(slice, "endpoints"), root().child("endpoints"));
    if endpoints.len() > ENDPOINTS_MAX {
        errors.too_many(&path, endpoints.len(), ENDPOINTS_MAX);
    } else {
        for (at, one) in endpoints.iter().enumerate() {
            endpoint(one, kind, &path.index(at), errors);
        }
    }
    slice_ports(slice, errors);
}

fn slice_update(old: &Value, new: &Value, errors: &mut Errors) {
    slice(new, errors);
    if text(old, "addressType") != text(new, "addressType") {
        errors.invalid(&root().child("addressType"), text(new, "addressType"), "field is immutable");
    }
}

fn endpoint(endpoint: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let (addresses, place) = (list(endpoint, "addresses"), path.child("addresses"));
    if addresses.is_empty() {
        errors.required(&place, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        errors.too_many(&place, addresses.len(), ADDRESSES_MAX);
    }
    for (at, address) in texts(endpoint, "addresses").enumerate() {
        slice_address(address, kind, &place, at, errors);
    }
    if held(endpoint, "nodeName").is_some() {
        let node = text(endpoint, "nodeName");
        errors.malformed(&path.child("nodeName"), node, &names::dns1123_subdomain(node));
    }
    let (topology, place) = (entries(endpoint, "deprecatedTopology").count(), path.child("deprecatedTopology"));
    if topology > TOPOLOGY_MAX {
        errors.too_many(&place, topology, TOPOLOGY_MAX);
    }
    labels(&endpoint["deprecatedTopology"], &place, errors);
    if held(endpoint, "hostname").is_some() {
        let host = text(endpoint, "hostname");
        errors.malformed(&path.child("hostname"), host, &names::dns1123_label(host));
    }
    hints(&endpoint["hints"], &path.child("hints"), errors);
}

fn slice_address(address: &str, kind: &str, path: &Path, at: usize, errors: &mut Errors) {
    match kind {
        "IPv4" | "IPv6" => {
            let wrong = names::ip(address);
            if !wrong.is_empty() {
                return errors.malformed(&path.index(at), address, &wrong);
            }
            let article = if kind == "IPv4" { "an IPv4" } else { "an IPv6" };
            if (kind == "IPv6") != address.contains(':') {
                errors.invalid(path, address, &format!("must be {article} address"));
            }
            errors.malformed(&path.index(at), address, &names::endpoint_ip(address));
        }
        "FQDN" => domain_name(address, &path.index(at), errors),
        _ => {}
    }
}

/// A name of at least two labels; it may end with a dot.
fn domain_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        return errors.invalid(path, name, &wrong.join(","));
    }
    if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        return errors.invalid(path, name, why);
    }
    if let Some((label, wrong)) =
        name.split('.').map(|label| (label, names::dns1123_label(label))).find(|(_, wrong)| !wrong.is_empty())
    {
        errors.invalid(path, label, &wrong.join(","));
    }
}

fn hints(hints: &Value, path: &Path, errors: &mut Errors) {
    let checks: [(&str, names::Check); 2] = [("forZones", names::label_value), ("forNodes", names::dns1123_subdomain)];
    for (field, check) in checks {
        let (given, path) = (list(hints, field), path.child(field));
        if given.len() > HINTS_MAX {
            errors.too_many(&path, given.len(), HINTS_MAX);
            continue;
        }
        let mut seen = BTreeSet::new();
        for (at, hint) in given.iter().enumerate() {
            let (path, name) = (path.index(at).child("name"), text(hint, "name"));
            if !seen.insert(name) {
                errors.duplicate(&path, name);
            }
            errors.malformed(&path, name, &check(name));
        }
    }
}

fn slice_ports(slice: &Value, errors: &mut Errors) {
    let (ports, path) = (list(slice, "ports"), root().child("ports"));
    if ports.len() > PORTS_MAX {
        return errors.too_many(&path, ports.len(), PORTS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(at), text(port, "name"));
        if !name.is_empty() {
            errors.malformed(&path.child("name"), name, &names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        protocol(port, &path, errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(check: fn(&Value, &mut Errors), object: &Value) -> Vec<String> {
        let mut errors = Errors::default();
        check(object, &mut errors);
        errors.into_list().into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn a_slice_holds_addresses_of_its_sort() {
        for (kind, address, wanted) in [
            ("IPv4", "192.0.2.1", ""),
            ("IPv4", "2001:db8::1", "endpoints[0].addresses: Invalid value: \"2001:db8::1\": must be an IPv4 address"),
            ("IPv6", "192.0.2.1", "endpoints[0].addresses: Invalid value: \"192.0.2.1\": must be an IPv6 address"),
            ("FQDN", "a.example.com.", ""),
            (
                "FQDN",
                "a",
                "endpoints[0].addresses[0]: Invalid value: \"a\": should be a domain with at least two segments separated \
                 by dots",
            ),
        ] {
            let object = json!({ "addressType": kind, "endpoints": [{ "addresses": [address] }] });
            assert_eq!(said(slice, &object).join("|"), wanted);
        }
    }

    #[test]
    fn names_of_ports_are_unique() {
        let ports = json!([{ "name": "a", "protocol": "TCP" }, { "name": "a", "protocol": "x" }, {}]);
        let said = said(slice, &json!({ "addressType": "IPv4", "ports": ports }));
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(said[0], "ports[1].name: Duplicate value: \"a\"");
    }

    #[test]
    fn subsets_have_addresses_and_ports_have_names() {
        let object = json!({ "subsets": [{ "ports": [{ "port": 1, "protocol": "TCP" }, { "name": "b", "port": 0, "protocol": "TCP" }] }] });
        assert_eq!(
            said(subsets, &object),
            [
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ]
        );
        assert_eq!(
            said(subsets, &json!({ "subsets": [{ "addresses": [{ "ip": "127.0.0.1" }, { "ip": "" }] }] })).len(),
            3
        );
    }
}
