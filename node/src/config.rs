//! What an agent is told when it starts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// What runs the containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Docker Engine, e.g. at `unix:///var/run/docker.sock`.
    Docker {
        /// Where it listens.
        host: String,
    },
    /// Simulated containers.
    Sim,
}

/// Who the agent is, and whom it trusts; PEM.
#[derive(Clone)]
pub struct Identity {
    /// The cluster's authority.
    pub ca_pem: String,
    /// Certificate of `system:node:NAME` in the group `system:nodes`.
    pub cert_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// An agent's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub name: String,
    /// Where the agent keeps assignments and volumes.
    pub data_dir: PathBuf,
    /// `host:port` of servers; more are learnt from them.
    pub servers: Vec<String>,
    /// Who the agent is.
    pub identity: Identity,
    /// What runs the containers.
    pub engine: Engine,
    /// The node's address.
    pub address: IpAddr,
    /// Labels of the node besides those of every node.
    pub labels: BTreeMap<String, String>,
}
