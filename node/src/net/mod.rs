//! The pod network, as the pods' workers need it.

pub(crate) mod bridge;
pub(crate) mod choice;
mod forward;
mod host_ports;
mod ipam;
pub(crate) mod keeper;
mod kernel;
mod proxy;
pub(crate) mod userspace;

use std::net::IpAddr;

use futures_util::future::BoxFuture;

use crate::plan::observed::Sandbox;

/// Gives sandboxes their addresses. Every call is safe to repeat: the same sandbox keeps its addresses.
pub trait PodNetwork: Send + Sync + 'static {
    /// Docker's network mode for sandboxes with a network of their own: `none` when this network attaches them.
    fn sandbox_mode(&self) -> &str;
    /// Attaches a sandbox; its addresses, or what to tell the user.
    fn attach<'a>(&'a self, uid: &'a str, sandbox: &'a Sandbox) -> BoxFuture<'a, Result<Vec<IpAddr>, String>>;
    /// Frees what a sandbox held.
    fn detach<'a>(&'a self, uid: &'a str, sandbox: &'a str) -> BoxFuture<'a, ()>;
}

/// The engine's own network: whatever addresses the engine gave (`bridge`), or none but loopback (`none`).
#[derive(Debug)]
pub struct EngineNetwork {
    /// Docker's network mode.
    pub mode: String,
}

impl PodNetwork for EngineNetwork {
    fn sandbox_mode(&self) -> &str {
        &self.mode
    }

    fn attach<'a>(&'a self, _: &'a str, sandbox: &'a Sandbox) -> BoxFuture<'a, Result<Vec<IpAddr>, String>> {
        Box::pin(async { Ok(sandbox.engine_ips.clone()) })
    }

    fn detach<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}
