//! PURE: which process gets which name, address and folder.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Servers at most, those that come in the place of others included: a Raft group beyond seven is slower without being safer.
pub(crate) const SERVERS_MAX: u8 = 9;
/// Nodes at most, each with an engine of its own.
pub(crate) const NODES_MAX: u8 = 16;

/// Where the processes of a cluster live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    /// Four hexadecimal digits that tell this cluster's interfaces from another's.
    pub(crate) tag: String,
    /// Set when each process has a network namespace of its own on this /24; none: everything on loopback.
    pub(crate) subnet: Option<Ipv4Addr>,
    /// First of the ports on loopback.
    pub(crate) port: u16,
}

/// One process's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// Network namespace, if it has its own.
    pub(crate) namespace: Option<String>,
    /// What lies on a disk of its own, where it has one.
    pub(crate) disk: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) api_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) etcd_port: u16,
}

impl Layout {
    /// The same directory always gives the same addresses, so that `down` finds what `up` made.
    pub(crate) fn new(dir: &Path, isolated: bool) -> Self {
        let hash = fnv1a(dir.as_os_str().as_encoded_bytes());
        let subnet = isolated.then(|| Ipv4Addr::new(10, 200 + (hash >> 8) as u8 % 50, hash as u8, 0));
        let port = 20_000 + (hash % 1_000) as u16 * 10;
        Layout { dir: dir.to_owned(), tag: format!("{:04x}", hash as u16), subnet, port }
    }

    /// The network namespace that holds the bridge.
    pub(crate) fn switch(&self) -> String {
        format!("rm{}sw", self.tag)
    }

    /// The machine's own end of the network.
    pub(crate) fn uplink(&self) -> String {
        format!("rm{}up", self.tag)
    }

    /// The machine's own address there.
    pub(crate) fn gateway(&self) -> Option<Ipv4Addr> {
        self.subnet.map(|subnet| host(subnet, 1))
    }

    /// Server `index`, from 1.
    pub(crate) fn server(&self, index: u8) -> Place {
        assert!((1..=SERVERS_MAX).contains(&index), "server {index} is out of range");
        self.place("server", 's', index, 10)
    }

    /// The server of that name.
    pub(crate) fn server_named(&self, name: &str) -> Option<Place> {
        (1..=SERVERS_MAX).map(|index| self.server(index)).find(|place| place.name == name)
    }

    /// Node `index`, from 1.
    pub(crate) fn node(&self, index: u8) -> Place {
        assert!((1..=NODES_MAX).contains(&index), "node {index} is out of range");
        self.place("node", 'n', index, 20)
    }

    fn place(&self, role: &str, letter: char, index: u8, first_host: u8) -> Place {
        let name = format!("{role}-{index}");
        let spread = |default: u16, offset: u16| match self.subnet {
            Some(_) => default,
            None => self.port + offset + 3 * u16::from(index - 1),
        };
        Place {
            address: self.subnet.map_or(Ipv4Addr::LOCALHOST, |subnet| host(subnet, first_host + index)),
            namespace: self.subnet.map(|_| format!("rm{}{letter}{index}", self.tag)),
            disk: self.dir.join(&name),
            // A file system has a folder of its own beside it.
            data_dir: self.dir.join(&name).join("data"),
            api_port: spread(6443, 0),
            peer_port: spread(2380, 1),
            etcd_port: spread(2379, 2),
            name,
        }
    }
}

fn host(subnet: Ipv4Addr, last: u8) -> Ipv4Addr {
    let [a, b, c, _] = subnet.octets();
    Ipv4Addr::new(a, b, c, last)
}

/// Source: Fowler, Noll, Vo, "FNV hash", 32-bit variant 1a.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn isolated_places_have_their_own_address_and_namespace() {
        let layout = Layout::new(Path::new("/tmp/a"), true);
        let places: Vec<_> =
            (1..=SERVERS_MAX).map(|i| layout.server(i)).chain((1..=NODES_MAX).map(|i| layout.node(i))).collect();
        let addresses: BTreeSet<_> = places.iter().map(|place| place.address).collect();
        let namespaces: BTreeSet<_> = places.iter().map(|place| place.namespace.clone()).collect();
        assert_eq!((addresses.len(), namespaces.len()), (places.len(), places.len()));
        assert!(places.iter().all(|place| place.namespace.as_ref().unwrap().len() <= 15), "interface names are short");
        assert_eq!(layout.server(2).api_port, 6443);
    }

    #[test]
    fn loopback_places_have_their_own_ports() {
        let layout = Layout::new(Path::new("/tmp/a"), false);
        let ports: BTreeSet<_> = (1..=3)
            .map(|index| layout.server(index))
            .flat_map(|place| [place.api_port, place.peer_port, place.etcd_port])
            .collect();
        assert_eq!(ports.len(), 9);
        assert!(layout.server(1).address.is_loopback());
    }

    #[test]
    fn a_directory_always_has_the_same_layout() {
        assert_eq!(Layout::new(Path::new("/tmp/a"), true), Layout::new(Path::new("/tmp/a"), true));
        assert_ne!(Layout::new(Path::new("/tmp/a"), true).tag, Layout::new(Path::new("/tmp/b"), true).tag);
    }
}
