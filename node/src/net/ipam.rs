//! PURE: which sandbox has which address of the node's range.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A node's range of pod addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    base: u32,
    pub(crate) bits: u8,
}

impl std::str::FromStr for Range {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (base, bits) = text.split_once('/').ok_or(())?;
        let (base, bits) = (base.parse::<Ipv4Addr>().map_err(|_| ())?, bits.parse::<u8>().map_err(|_| ())?);
        if (8..=30).contains(&bits) { Ok(Range { base: base.into(), bits }) } else { Err(()) }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

impl Range {
    fn size(self) -> u32 {
        1 << (32 - self.bits)
    }

    /// The node's own address in it: pods' way out.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    fn holds(self, address: Ipv4Addr) -> bool {
        u32::from(address).wrapping_sub(self.base) < self.size()
    }
}

/// Addresses by sandbox; kept on disk as lines of `SANDBOX ADDRESS`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Leases {
    held: BTreeMap<String, Ipv4Addr>,
    /// Where to look next: an address that was just freed is used last.
    next: u32,
}

impl Leases {
    pub(crate) fn parse(text: &str) -> Leases {
        let line = |line: &str| {
            let (sandbox, address) = line.split_once(' ')?;
            Some((sandbox.to_owned(), address.parse().ok()?))
        };
        Leases { held: text.lines().filter_map(line).collect(), next: 0 }
    }

    pub(crate) fn text(&self) -> String {
        self.held.iter().map(|(sandbox, address)| format!("{sandbox} {address}\n")).collect()
    }

    /// The sandbox's address: the one it has, or a free one; none when the range is full.
    pub(crate) fn take(&mut self, range: Range, sandbox: &str) -> Option<Ipv4Addr> {
        if let Some(held) = self.held.get(sandbox).filter(|held| range.holds(**held)) {
            return Some(*held);
        }
        // The first is the network's, the second the node's, the last the broadcast's.
        let places = range.size() - 3;
        let taken: std::collections::BTreeSet<Ipv4Addr> = self.held.values().copied().collect();
        let free = (0..places)
            .map(|step| (self.next + step) % places)
            .find(|place| !taken.contains(&Ipv4Addr::from(range.base + 2 + place)))?;
        self.next = free + 1;
        let address = Ipv4Addr::from(range.base + 2 + free);
        self.held.insert(sandbox.to_owned(), address);
        Some(address)
    }

    /// Frees what a sandbox held; whether it held anything.
    pub(crate) fn free(&mut self, sandbox: &str) -> bool {
        self.held.remove(sandbox).is_some()
    }

    /// Forgets all sandboxes but these.
    pub(crate) fn keep(&mut self, sandboxes: &std::collections::BTreeSet<String>) {
        self.held.retain(|sandbox, _| sandboxes.contains(sandbox));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_and_freed_ones_come_last() {
        let range: Range = "10.244.1.0/30".parse().expect("a range");
        let mut leases = Leases::default();
        assert_eq!(leases.take(range, "a"), Some(Ipv4Addr::new(10, 244, 1, 2)));
        assert_eq!(leases.take(range, "b"), None, "one address is all there is");
        let range: Range = "10.244.1.0/24".parse().expect("a range");
        assert_eq!(leases.take(range, "b"), Some(Ipv4Addr::new(10, 244, 1, 3)));
        assert!(leases.free("a") && !leases.free("a"));
        assert_eq!(leases.take(range, "c"), Some(Ipv4Addr::new(10, 244, 1, 4)));
        let mut again = Leases::parse(&leases.text());
        assert_eq!(again.take(range, "b"), Some(Ipv4Addr::new(10, 244, 1, 3)));
        again.keep(&["c".to_owned()].into());
        assert_eq!(again.text(), "c 10.244.1.4\n");
        let moved: Range = "10.244.9.0/24".parse().expect("a range");
        assert_eq!(
            again.take(moved, "c"),
            Some(Ipv4Addr::new(10, 244, 9, 2)),
            "an address of another range is no good"
        );
    }
}
