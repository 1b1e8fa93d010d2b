//! Ports for servers that bind them a moment later.
//!
//! A port that the kernel chose is given to somebody's outgoing connection as soon as it is let go; those that are given
//! out here lie below all that the kernel chooses from, and none is given out twice by one process.

use std::net::{SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
/// The kernel's own begin at 32768, those of Services that are reached through nodes at 30000.
const COUNT: u16 = 18_000;

/// An address of loopback that nobody listens at.
pub(crate) fn free() -> SocketAddr {
    // Processes that test at the same time begin at different ones.
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        let noise = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        AtomicU16::new(u16::try_from(noise % u64::from(COUNT)).expect("small"))
    });
    let tried = (0..COUNT).map(|_| {
        let at = next.fetch_add(1, Ordering::Relaxed) % COUNT;
        SocketAddr::from(([127, 0, 0, 1], FIRST + at))
    });
    tried.into_iter().find(|address| TcpListener::bind(address).is_ok()).expect("a port is free")
}
