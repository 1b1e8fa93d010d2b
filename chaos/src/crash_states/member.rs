//! The store that is recorded, and opened again in every state: one member, with everything so small that segments, tables
//! and snapshots follow each other quickly.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use store::config::{Bootstrap, Config, Founder, Retention, Transport, Url};
use store::log::Options;
use store::{Error, Store, View};

use crate::crash_states::history::{Contents, Held, Keys};

const LOG: Options = Options { segment_bytes: 512 << 10, resident_bytes: 64 << 10 };
/// It has no peers: nobody listens there.
const PEERS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
/// A start that takes longer has failed.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a disk may stall before a member gives up its lead: the one that is recorded has to answer all calls on a busy
/// machine too, the others have to start quickly.
pub(crate) const RECORDED: Duration = Duration::from_secs(2);
pub(crate) const REOPENED: Duration = Duration::from_millis(40);

fn config(dir: &Path, election_timeout: Duration) -> Config {
    let founder = Founder { name: "crash".to_owned(), peer_urls: vec![Url::http(PEERS)] };
    Config {
        name: founder.name.clone(),
        data_dir: dir.to_owned(),
        peer_listen: Vec::new(),
        peer_advertise: founder.peer_urls.clone(),
        client_advertise: Vec::new(),
        transport: Transport::Urls { tls: None },
        bootstrap: Bootstrap::Static { members: vec![founder], token: "crash".to_owned() },
        force_new: false,
        remove_dead_after: None,
        encryption: None,
        heartbeat_interval: Duration::from_millis(10),
        election_timeout,
        snapshot_entries: 200,
        snapshot_bytes: 64 << 20,
        retention: Retention { time: Duration::ZERO, bytes_max: None },
        memory_bytes: 1 << 20,
    }
}

/// Starts it, and waits until it leads.
///
/// # Errors
/// As the store's.
pub(crate) async fn open(dir: &Path, election_timeout: Duration) -> Result<Store, Error> {
    let opened = tokio::time::timeout(START_LIMIT, Store::open_laid_out(config(dir, election_timeout), LOG)).await;
    opened.map_err(|_| Error::Stopped(format!("it did not start within {START_LIMIT:?}")))?
}

/// Everything that it shows, and at one revision of the past; `chance` says at which.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn contents(store: &Store, chance: u64) -> Result<Contents, Error> {
    let revision = store.barrier().await?;
    let keys = keys(&store.view());
    let earlier = i64::try_from(chance % revision.unsigned_abs().max(1)).unwrap_or(0) + 1;
    let past = store.view_at(earlier).ok().map(|view| self::keys(&view));
    let leases: BTreeSet<i64> = store.leases().into_iter().collect();
    Ok(Contents { revision, keys, leases, past: Some((earlier, past)) })
}

fn keys(view: &View) -> Keys {
    let held = view.range(&[0], &[0]).map(|pair| {
        let held = Held {
            value: pair.value.to_vec(),
            created: pair.create_revision,
            modified: pair.mod_revision,
            version: pair.version,
            lease: pair.lease,
        };
        (pair.key.to_vec(), held)
    });
    held.collect()
}
