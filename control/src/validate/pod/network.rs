//! What a pod's spec says of names, addresses and ports of its network.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::read::{flag, held, list, number, text, texts};

/// The most name servers that a resolver asks.
const NAMESERVERS: usize = 3;
/// The most domains that it searches.
const SEARCHES: usize = 32;
/// The longest list of them. Units: bytes.
const SEARCH_LENGTH: usize = 2048;
/// The longest name of a host on Linux. Units: bytes.
const HOST_NAME: usize = 64;

/// On the node's network a container's ports are the node's.
pub(super) fn host_ports(spec: &Value, is_pod: bool, path: &Path, errors: &mut Errors) {
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (port_at, port) in list(container, "ports").iter().enumerate() {
            let (host, own) = (number(port, "hostPort").unwrap_or(0), number(port, "containerPort").unwrap_or(0));
            if host != own && (is_pod || host != 0) {
                let place = path.index(at).child("ports").index(port_at).child("hostPort");
                errors.invalid(&place, &host, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

/// `dnsConfig`, and what `dnsPolicy` asks of it.
pub(super) fn dns(spec: &Value, path: &Path, errors: &mut Errors) {
    let config = held(spec, "dnsConfig");
    if text(spec, "dnsPolicy") == "None" {
        match config {
            None => return errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None"),
            Some(config) if list(config, "nameservers").is_empty() => {
                let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                return errors.required(&path.child("nameservers"), why);
            }
            Some(_) => {}
        }
    }
    let Some(config) = config else { return };
    let servers = path.child("nameservers");
    if list(config, "nameservers").len() > NAMESERVERS {
        let why = format!("must not have more than {NAMESERVERS} nameservers");
        errors.invalid(&servers, &config["nameservers"], &why);
    }
    for (at, server) in texts(config, "nameservers").enumerate() {
        errors.malformed(&servers.index(at), server, &names::ip(server));
    }
    searches(config, &path.child("searches"), errors);
    for (at, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(&path.child("options").index(at), "must not be empty");
        }
    }
}

fn searches(config: &Value, path: &Path, errors: &mut Errors) {
    let count = list(config, "searches").len();
    if count > SEARCHES {
        let why = format!("must not have more than {SEARCHES} search paths");
        errors.invalid(path, &config["searches"], &why);
    }
    // With the spaces between them.
    let length = texts(config, "searches").map(str::len).sum::<usize>() + count.saturating_sub(1);
    if length > SEARCH_LENGTH {
        let why = format!("must not have more than {SEARCH_LENGTH} characters (including spaces) in the search list");
        errors.invalid(path, &config["searches"], &why);
    }
    for (at, search) in texts(config, "searches").enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.malformed(&path.index(at), search, &names::dns1123_subdomain_with_underscore(search));
    }
}

/// `hostnameOverride`
pub(super) fn host_name_override(spec: &Value, path: &Path, errors: &mut Errors) {
    if held(spec, "hostnameOverride").is_none() {
        return;
    }
    let (name, path) = (text(spec, "hostnameOverride"), path.child("hostnameOverride"));
    for field in ["setHostnameAsFQDN", "hostNetwork"].into_iter().filter(|field| flag(spec, field)) {
        errors.forbidden(&path, &format!("may not be specified when {field} is true"));
    }
    if name.len() > HOST_NAME {
        errors.too_long(&path, HOST_NAME);
    }
    errors.malformed(&path, name, &names::dns1123_subdomain(name));
}

/// `hostname`, `subdomain`.
pub(super) fn host_name(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["hostname", "subdomain"] {
        let name = text(spec, field);
        if !name.is_empty() {
            errors.malformed(&path.child(field), name, &names::dns1123_label(name));
        }
    }
}

/// `hostAliases`
pub(super) fn host_aliases(aliases: &[Value], path: &Path, errors: &mut Errors) {
    for (at, alias) in aliases.iter().enumerate() {
        let (path, ip) = (path.index(at), text(alias, "ip"));
        errors.malformed(&path.child("ip"), ip, &names::ip(ip));
        for (name_at, name) in texts(alias, "hostnames").enumerate() {
            let place = path.child("hostnames").index(name_at);
            errors.malformed(&place, name, &names::dns1123_subdomain(name));
        }
    }
}
