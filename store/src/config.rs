//! What a store needs to start. Parsed once, by the binary; no defaults hide here.

mod url;

pub use url::{Url, parse_all};

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::tls::TlsFiles;

/// Everything a member needs to open its store.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name, unique in the cluster.
    pub name: String,
    /// Where the log, the state machine and the identity lie. Locked while open.
    pub data_dir: PathBuf,
    /// Where this member listens for peers.
    pub peer_listen: Vec<Url>,
    /// Where other members reach it.
    pub peer_advertise: Vec<Url>,
    /// Where clients reach its etcd API, as member lists show it; none when it is not served.
    pub client_advertise: Vec<Url>,
    /// How members speak to each other.
    pub transport: Transport,
    /// What to do when the data directory has no identity yet; ignored otherwise.
    pub bootstrap: Bootstrap,
    /// etcd's `--force-new-cluster`: this member is all that is left of its group, and begins a new one with what it has.
    /// Only for one start: members that join later would be forgotten again.
    pub force_new: bool,
    /// The leader removes members that have been silent for so long, where the others have a quorum; never, if absent.
    pub remove_dead_after: Option<Duration>,
    /// Leader heartbeats. A leader that was heard of keeps its votes for 1.5 election timeouts; then others wait for 1 to
    /// 1.5 more before they stand: writes stop for at most three when a leader dies.
    pub heartbeat_interval: Duration,
    /// See `heartbeat_interval`.
    pub election_timeout: Duration,
    /// Log entries between snapshots; half of them are kept behind one, for followers that were away shortly.
    pub snapshot_entries: u64,
    /// Bytes of the log's entries, about: with more of them a snapshot is taken early, and a quarter is kept behind it.
    pub snapshot_bytes: u64,
    /// What the log, the tables and snapshots are encrypted under; not at all, if absent.
    pub encryption: Option<KeySource>,
    /// How long what compaction took from clients can still be looked back at.
    pub retention: Retention,
    /// Memory for the state's writes that are not flushed and for its blocks that were read, bytes, whatever its size.
    pub memory_bytes: usize,
}

/// What is kept of compacted history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For so long, by the clock of whoever took the writes; zero: not at all.
    pub time: Duration,
    /// Bytes of it at most, about; if absent, a tenth of the disk. The oldest goes first, and where the disk is nearly full
    /// all of it does.
    pub bytes_max: Option<u64>,
}

impl Default for Retention {
    /// A day, in a tenth of the disk.
    fn default() -> Self {
        Retention { time: Duration::from_secs(24 * 3600), bytes_max: None }
    }
}

/// Where the operator's key of what lies on disk comes from. The first key of the file encrypts, all of them decrypt; the
/// file is read again when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// 32 bytes, or lines of 256 bits in base64 or hexadecimal each.
    KeyFile(PathBuf),
    /// A passphrase a line.
    PassphraseFile(PathBuf),
}

impl KeySource {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            KeySource::KeyFile(path) | KeySource::PassphraseFile(path) => path,
        }
    }

    /// What it is called.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            KeySource::KeyFile(_) => "key file",
            KeySource::PassphraseFile(_) => "passphrase file",
        }
    }
}

/// The DNS name that every member's certificate carries: members are told apart by their ids, not by addresses.
pub const PEER_NAME: &str = "peer.raftsman";

/// How members speak to each other.
#[derive(Clone, Debug)]
pub enum Transport {
    /// As the servers of one cluster, with certificates of its own authority. All URLs are `https`.
    Members(PeerTls),
    /// As etcd's members: each URL says by its scheme whether TLS is spoken, which takes `tls`. Who is dialled must have a
    /// certificate for the host that was dialled.
    Urls {
        /// The files that etcd's flags `--peer-…` name.
        tls: Option<TlsFiles>,
    },
}

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
    /// etcd's `--initial-cluster-state new`: every member of the list starts the same group, each on its own.
    Static {
        /// `--initial-cluster`.
        members: Vec<Founder>,
        /// `--initial-cluster-token`: tells groups apart that are begun with the same URLs.
        token: String,
    },
    /// etcd's `--initial-cluster-state existing`: this member was announced by its peer URLs (`MemberAdd`), and learns from
    /// the others in the list which id it was given.
    Existing {
        /// `--initial-cluster`, with the members as they are now.
        members: Vec<Founder>,
    },
}

/// A member in `--initial-cluster`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<Url>,
}
