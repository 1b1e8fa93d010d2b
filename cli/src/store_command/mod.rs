//! `raftsman store`: one member of a store that speaks etcd's API, until it is told to end.

mod log;
mod ready;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use store::Store;
use store::config::{Bootstrap, Config, Founder, Transport, Url};
use tokio::net::TcpListener;

use crate::etcd_flags::help;
use crate::etcd_flags::parse::{Asked, parse};
use crate::etcd_flags::settings::{Settings, settings};
use crate::etcd_flags::url::Url as Named;
use crate::exit::{Failure, say};
use crate::signals::Ends;

/// Bytes of the log between snapshots, where entries are large.
const SNAPSHOT_BYTES: u64 = 256 << 20;

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(error.to_string())
}

/// Runs what the arguments, variables and the configuration file ask for.
pub(crate) async fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let text =
        |text: OsString| text.into_string().map_err(|text| Failure::usage(format!("{}: no text", text.display())));
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let environment: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("--config-file {path}: {error}"));
    let given = match parse(&arguments, &environment, &read).map_err(Failure::usage)? {
        Asked::Help => return say(help::text().trim_end()),
        Asked::Version => {
            return say(&format!("etcd Version: {}\nraftsman {}", store::etcd::VERSION, env!("CARGO_PKG_VERSION")));
        }
        Asked::Run(given) => given,
    };
    let settings = settings(&given).map_err(Failure::usage)?;
    for notice in &given.notices {
        let _ = writeln!(std::io::stderr(), "note: {notice}");
    }
    log::begin(&settings)?;
    serve(&settings).await
}

async fn serve(settings: &Settings) -> Result<(), Failure> {
    foreign(&settings.data_dir)?;
    let mut ends = Ends::new()?;
    let config = config(settings)?;
    // Before the member is anybody's: a port in use is found out while nothing has happened yet.
    let mut listeners = Vec::new();
    for url in &settings.clients {
        let address = url.bind().map_err(Failure::usage)?;
        let bound = TcpListener::bind(address).await;
        listeners.push(bound.map_err(|error| failed(format!("--listen-client-urls {url}: {error}")))?);
    }
    let store = tokio::select! {
        store = Store::open(config) => store.map_err(failed)?,
        () = ends.asked() => return Ok(()),
    };
    for listener in listeners {
        let options = store::etcd::Options {
            txn_ops_max: settings.txn_ops_max,
            request_bytes_max: settings.request_bytes_max,
            quota_bytes: settings.quota_bytes,
            progress: settings.progress,
            ..store::etcd::Options::default()
        };
        store.serve_etcd(listener, None, options);
    }
    let urls: Vec<String> = settings.clients.iter().map(ToString::to_string).collect();
    say(&format!("ready: {} serves clients at {}", settings.name, urls.join(",")))?;
    ready::tell();
    let failure = tokio::select! {
        () = ends.asked() => None,
        error = store.failed() => Some(error),
    };
    if let Some(error) = failure {
        // What is on disk is no longer known: nothing may be acknowledged from here on.
        return Err(failed(error));
    }
    store.shutdown().await;
    Ok(())
}

/// An etcd's own directory is left alone.
fn foreign(dir: &Path) -> Result<(), Failure> {
    if !dir.join("member/snap/db").exists() {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{}: this is the data of an etcd; choose an empty --data-dir, and move the data with `raftsman store import`",
        dir.display()
    )))
}

fn config(settings: &Settings) -> Result<Config, Failure> {
    let urls = |urls: &[Named]| {
        urls.iter().map(|url| url.to_string().parse()).collect::<Result<Vec<Url>, String>>().map_err(Failure::usage)
    };
    let listening = |url: &Named| {
        let address = url.bind().map_err(Failure::usage)?;
        Ok(if url.tls { Url::https(address) } else { Url::http(address) })
    };
    let founder = |(name, peers): &(String, Vec<_>)| Ok(Founder { name: name.clone(), peer_urls: urls(peers)? });
    let members = settings.cluster.iter().map(founder).collect::<Result<Vec<_>, Failure>>()?;
    Ok(Config {
        name: settings.name.clone(),
        data_dir: settings.data_dir.clone(),
        peer_listen: settings.peers.iter().map(listening).collect::<Result<_, Failure>>()?,
        peer_advertise: urls(&settings.peers_advertised)?,
        client_advertise: urls(&settings.clients_advertised)?,
        transport: Transport::Urls { tls: None },
        bootstrap: if settings.existing {
            Bootstrap::Existing { members }
        } else {
            Bootstrap::Static { members, token: settings.token.clone() }
        },
        heartbeat_interval: settings.heartbeat,
        election_timeout: settings.election,
        snapshot_entries: settings.snapshot_entries,
        snapshot_bytes: SNAPSHOT_BYTES,
    })
}
