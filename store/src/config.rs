//! What a store needs to start. Parsed once, by the binary; no defaults hide here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a member needs to open its store.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name, unique in the cluster.
    pub name: String,
    /// Where the log, the state machine and the identity lie. Locked while open.
    pub data_dir: PathBuf,
    /// Where peers reach this member.
    pub peer_listen: SocketAddr,
    /// `host:port` that other members dial.
    pub peer_advertise: String,
    /// `host:port` of this member's etcd API, as member lists show it; empty when not served.
    pub client_advertise: String,
    /// Mutual TLS between members.
    pub tls: PeerTls,
    /// What to do when the data directory has no identity yet; ignored otherwise.
    pub bootstrap: Bootstrap,
    /// Leader heartbeats. A leader that was heard of keeps its votes for 1.5 election timeouts; then others wait for 1 to
    /// 1.5 more before they stand: writes stop for at most three when a leader dies.
    pub heartbeat_interval: Duration,
    /// See `heartbeat_interval`.
    pub election_timeout: Duration,
    /// Log entries between snapshots; half of them are kept behind one, for followers that were away shortly.
    pub snapshot_entries: u64,
    /// Bytes of the log's entries, about: with more of them a snapshot is taken early, and a quarter is kept behind it.
    pub snapshot_bytes: u64,
}

/// The DNS name that every member's certificate carries: members are told apart by their ids, not by addresses.
pub const PEER_NAME: &str = "peer.raftsman";

/// PEM texts; both sides verify. Certificates name `PEER_NAME` and serve for both sides of a connection.
#[derive(Clone)]
pub struct PeerTls {
    /// Certificates of the authority that signed every member's certificate.
    pub ca_pem: String,
    /// This member's chain.
    pub cert_pem: String,
    /// This member's key.
    pub key_pem: String,
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerTls")
    }
}

/// How a member without an identity gets one.
#[derive(Clone, Debug)]
pub enum Bootstrap {
    /// First member of a new cluster.
    New,
    /// Ask these `host:port` peers to be added as a learner, then be promoted when caught up.
    Join {
        /// Peers of the cluster; any of them forwards to its leader.
        peers: Vec<String>,
    },
}
