//! Pods on a bridge of their own: a veth pair each, an address of the node's range, routes to the other nodes.
//!
//! Pods have /32 addresses and send everything to the node, also what is for a neighbour on the bridge: so answers of
//! Services pass where the request was translated.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::ipam::{Leases, Range};
use super::{PodNetwork, kernel};
use crate::plan::observed::Sandbox;

/// The pods' bridge.
pub(super) const BRIDGE: &str = "raftsman0";
/// A pod waits so long for the node's range before its start fails, to be tried again.
const RANGE_WAIT: Duration = Duration::from_secs(10);

/// The network of one node.
pub(crate) struct BridgeNetwork {
    /// The node's range, once it is known and the bridge is there.
    pub(super) range: watch::Sender<Option<Range>>,
    leases: Mutex<Leases>,
    file: PathBuf,
    /// Simulated sandboxes have addresses and no interfaces.
    wired: bool,
}

impl BridgeNetwork {
    /// With the addresses that were given before; those of sandboxes that are gone are free.
    pub(crate) fn new(dir: &std::path::Path, wired: bool, sandboxes: &std::collections::BTreeSet<String>) -> Self {
        let file = dir.join("addresses");
        let mut leases = Leases::parse(&std::fs::read_to_string(&file).unwrap_or_default());
        leases.keep(sandboxes);
        BridgeNetwork { range: watch::Sender::new(None), leases: Mutex::new(leases), file, wired }
    }

    async fn range(&self) -> Result<Range, String> {
        let mut known = self.range.subscribe();
        let found = tokio::time::timeout(RANGE_WAIT, known.wait_for(Option::is_some)).await;
        let found = found.map_err(|_| "the node has no spec.podCIDR yet".to_owned())?;
        found.ok().and_then(|range| *range).ok_or_else(|| "the pod network has ended".to_owned())
    }

    /// On disk before anybody uses it.
    fn take(&self, range: Range, sandbox: &str) -> Result<Ipv4Addr, String> {
        let mut leases = self.leases.lock();
        let address = leases.take(range, sandbox).ok_or_else(|| format!("no address is free in {range}"))?;
        self.keep(&leases)?;
        Ok(address)
    }

    fn keep(&self, leases: &Leases) -> Result<(), String> {
        let draft = self.file.with_extension("new");
        let written = std::fs::write(&draft, leases.text()).and_then(|()| std::fs::rename(&draft, &self.file));
        written.map_err(|error| format!("{}: {error}", self.file.display()))
    }

    async fn wire(&self, sandbox: &Sandbox, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), String> {
        let outside = interface(&sandbox.id);
        if !kernel::has_link(&outside).await {
            let pid = sandbox.pid;
            kernel::ip(&format!("link add name {outside} type veth peer name eth0 netns {pid}\n")).await?;
        }
        kernel::ip(&format!("link set {outside} master {BRIDGE} up\n")).await?;
        let inside = format!(
            "link set lo up\naddr replace {address}/32 dev eth0\nlink set eth0 up\n\
             route replace {gateway} dev eth0 scope link\nroute replace default via {gateway} dev eth0\n"
        );
        kernel::ip_inside(sandbox.pid, &inside).await
    }
}

/// The node's end of a sandbox's pair: 15 characters at most.
fn interface(sandbox: &str) -> String {
    format!("rm{}", sandbox.chars().take(12).collect::<String>())
}

impl PodNetwork for BridgeNetwork {
    fn sandbox_mode(&self) -> &str {
        "none"
    }

    fn attach<'a>(&'a self, _: &'a str, sandbox: &'a Sandbox) -> BoxFuture<'a, Result<Vec<IpAddr>, String>> {
        Box::pin(async move {
            let range = self.range().await?;
            let address = self.take(range, &sandbox.id)?;
            if self.wired {
                self.wire(sandbox, address, range.gateway()).await?;
            }
            Ok(vec![address.into()])
        })
    }

    fn detach<'a>(&'a self, _: &'a str, sandbox: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if self.wired {
                // It may be gone with its namespace.
                let _ = kernel::ip(&format!("link del {}\n", interface(sandbox))).await;
            }
            let mut leases = self.leases.lock();
            if leases.free(sandbox)
                && let Err(error) = self.keep(&leases)
            {
                tracing::warn!(error, "a freed address cannot be noted; it is free after the next start");
            }
        })
    }
}
