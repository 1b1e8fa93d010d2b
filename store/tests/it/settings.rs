//! What members of tests run with.

use std::path::Path;
use std::time::Duration;

use super::config::{Bootstrap, Config, Retention, Transport, Url};

/// A member that others reach at one URL, with small times and sizes.
pub(crate) fn settings(name: &str, dir: &Path, url: &Url, transport: Transport, bootstrap: Bootstrap) -> Config {
    Config {
        name: name.to_owned(),
        data_dir: dir.to_owned(),
        peer_listen: vec![url.clone()],
        peer_advertise: vec![url.clone()],
        client_advertise: Vec::new(),
        transport,
        bootstrap,
        force_new: false,
        remove_dead_after: None,
        encryption: None,
        heartbeat_interval: Duration::from_millis(100),
        election_timeout: Duration::from_millis(500),
        snapshot_entries: 10_000,
        snapshot_bytes: 64 << 20,
        retention: Retention::default(),
        memory_bytes: 64 << 20,
    }
}
