//! `raftsman store`: one member of a store that speaks etcd's API, until it is told to end.

mod log;
mod moving;
mod past;
mod ready;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use store::Store;
use store::config::{Bootstrap, Config, Transport, Url};
use store::etcd::{AuthOptions, Options, Serves};
use store::listener::Limits;
use store::tls::{TlsFiles, self_signed};
use tokio::net::TcpListener;

use crate::etcd_flags::help;
use crate::etcd_flags::parse::{Asked, parse};
use crate::etcd_flags::security::Tls;
use crate::etcd_flags::settings::{Settings, settings};
use crate::etcd_flags::urls;
use crate::exit::{Failure, say};
use crate::signals::{Ends, Hangups};

/// Bytes of the log between snapshots, where entries are large.
const SNAPSHOT_BYTES: u64 = 256 << 20;

/// Open files that any system allows.
const FILES: u64 = 1024;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(error.to_string())
}

/// Runs what the arguments, variables and the configuration file ask for.
pub(crate) async fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    if let Some(done) = moving::run(&arguments).await {
        return done;
    }
    if let Some(done) = past::run(&arguments).await {
        return done;
    }
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
    serve(&settings, allow_files()).await
}

/// As many open files as the system lets this process have: each connection is one. Go's programs do the same. Answers
/// how many that is.
fn allow_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of open files stays as low as it is");
    }
    getrlimit(Resource::RLIMIT_NOFILE).map_or(FILES, |(soft, _)| soft)
}

/// Connections at most for each of so many listeners. Half of the files that may be open are the store's own, for its log,
/// its state and its peers: no flood of clients takes those.
fn connections(files: u64, listeners: usize) -> usize {
    let share = usize::try_from(files / 2).unwrap_or(usize::MAX) / listeners.max(1);
    share.clamp(1, Options::default().limits.connections_max)
}

/// PURE but for the words of others: why a member did not start, and what to do.
fn unopened(why: &str, settings: &Settings) -> Failure {
    // etcd's words for a member that is known to others and has nothing itself.
    if !why.ends_with("has already been bootstrapped") {
        return Failure::failed(why);
    }
    let (name, dir) = (&settings.name, settings.data_dir.display());
    let url = settings.peers_advertised.first().map(ToString::to_string).unwrap_or_default();
    Failure::refused(format!(
        "{why}: the others know it, but {dir} is empty. If the directory is lost, `raftsman member replace {name} \
         {name}={url} --endpoints URLS` (clients' URLs of the others) takes a new member in for it, and says how it is started"
    ))
}

async fn serve(settings: &Settings, files: u64) -> Result<(), Failure> {
    foreign(&settings.data_dir)?;
    let mut ends = Ends::new()?;
    let mut hangups = settings.encryption.as_ref().map(|_| Hangups::new()).transpose()?;
    let config = config(settings)?;
    let options = options(settings, files)?;
    let tls = tls(&settings.clients_tls, settings, "client")?;
    let tls = tls.map(|files| store::tls::acceptor(&files)).transpose().map_err(failed)?;
    // Before the member is anybody's: a port in use is found out while nothing has happened yet.
    let mut listeners = Vec::new();
    for (url, serves) in listening(settings) {
        let address = urls::bind(url).map_err(Failure::usage)?;
        let bound = TcpListener::bind(address).await.map_err(|error| failed(format!("{url}: {error}")))?;
        listeners.push((bound, tls.clone().filter(|_| url.tls), serves));
    }
    let store = tokio::select! {
        store = Store::open(config) => store.map_err(|error| unopened(&error.to_string(), settings))?,
        () = ends.asked() => return Ok(()),
    };
    if let Some(archive) = &settings.archive {
        let extra = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") });
        let begun = store.archive(archive.with(extra).map_err(Failure::usage)?);
        begun.map_err(|error| failed(format!("--archive-to {error}")))?;
    }
    let api = store.etcd(options);
    for (listener, tls, serves) in listeners {
        api.serve(listener, tls, serves);
    }
    let urls: Vec<String> = settings.clients.iter().map(ToString::to_string).collect();
    say(&format!("ready: {} serves clients at {}", settings.name, urls.join(",")))?;
    ready::tell();
    let failure = loop {
        tokio::select! {
            () = ends.asked() => break None,
            error = store.failed() => break Some(error),
            () = hung_up(&mut hangups) => {
                store.rotate_data_key();
            }
        }
    };
    if let Some(error) = failure {
        // What is on disk is no longer known: nothing may be acknowledged from here on.
        return Err(failed(error));
    }
    store.shutdown().await;
    Ok(())
}

/// A signal that asks for another data key; never, where nothing is encrypted.
async fn hung_up(hangups: &mut Option<Hangups>) {
    match hangups {
        Some(hangups) => hangups.next().await,
        None => std::future::pending().await,
    }
}

/// Where what is served.
fn listening(settings: &Settings) -> impl Iterator<Item = (&Url, Serves)> {
    let clients = if settings.clients_http.is_empty() { Serves::All } else { Serves::Grpc };
    let all =
        [(&settings.clients, clients), (&settings.clients_http, Serves::Http), (&settings.metrics, Serves::Metrics)];
    all.into_iter().flat_map(|(urls, serves)| urls.iter().map(move |url| (url, serves)))
}

/// The files of TLS, made first where they are to be.
fn tls(tls: &Tls, settings: &Settings, kind: &str) -> Result<Option<TlsFiles>, Failure> {
    match tls {
        Tls::None => Ok(None),
        Tls::Files(files) => Ok(Some(TlsFiles::clone(files))),
        Tls::Made(common) => {
            let urls = if kind == "peer" { &settings.peers } else { &settings.clients };
            let hosts: Vec<String> =
                urls.iter().chain(&settings.clients_http).map(|url| url.host().to_owned()).collect();
            let days = u32::try_from(settings.validity_years.saturating_mul(365)).unwrap_or(u32::MAX);
            let made = self_signed(&settings.data_dir.join("fixtures").join(kind), &hosts, DAY.saturating_mul(days));
            let TlsFiles { cert, key, unverified, .. } = made.map_err(failed)?;
            Ok(Some(TlsFiles { cert, key, unverified, ..TlsFiles::clone(common) }))
        }
    }
}

fn options(settings: &Settings, files: u64) -> Result<Options, Failure> {
    let auth = AuthOptions::parse(&settings.tokens, settings.token_ttl, settings.bcrypt_cost);
    Ok(Options {
        txn_ops_max: settings.txn_ops_max,
        learners_max: settings.learners_max,
        request_bytes_max: settings.request_bytes_max,
        quota_bytes: settings.quota_bytes,
        auto_compaction: settings.auto_compaction,
        progress: settings.progress,
        auth: auth.map_err(Failure::usage)?,
        client_names: matches!(&settings.clients_tls, Tls::Files(files) if files.client_cert_auth),
        hosts: settings.hosts.clone(),
        origins: settings.origins.clone(),
        gateway: settings.gateway,
        limits: Limits {
            streams_max: settings.streams_max,
            ask_every: settings.ask_every,
            answer_within: settings.answer_within,
            connections_max: connections(files, listening(settings).count()),
        },
        ..Options::default()
    })
}

/// An etcd's own directory is left alone.
fn foreign(dir: &Path) -> Result<(), Failure> {
    if !dir.join("member/snap/db").exists() {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{0}: this is the data of an etcd; `raftsman store import --snapshot-file {0}/member/snap/db --data-dir NEW` makes a \
         directory of it that can be started here (--endpoints, while the etcd runs)",
        dir.display()
    )))
}

fn config(settings: &Settings) -> Result<Config, Failure> {
    let listening = |url: &Url| {
        let address = urls::bind(url).map_err(Failure::usage)?;
        Ok(if url.tls { Url::https(address) } else { Url::http(address) })
    };
    let members = settings.cluster.clone();
    Ok(Config {
        name: settings.name.clone(),
        data_dir: settings.data_dir.clone(),
        peer_listen: settings.peers.iter().map(listening).collect::<Result<_, Failure>>()?,
        peer_advertise: settings.peers_advertised.clone(),
        client_advertise: settings.clients_advertised.clone(),
        transport: Transport::Urls { tls: tls(&settings.peers_tls, settings, "peer")? },
        bootstrap: if settings.existing {
            Bootstrap::Existing { members }
        } else {
            Bootstrap::Static { members, token: settings.token.clone() }
        },
        force_new: settings.force_new,
        remove_dead_after: settings.remove_dead_after,
        encryption: settings.encryption.clone(),
        heartbeat_interval: settings.heartbeat,
        // Ours waits for 2.5 to 3 of its timeouts, etcd for 1 to 2: the same flag makes for the same pause.
        election_timeout: settings.election * 2 / 3,
        snapshot_entries: settings.snapshot_entries,
        snapshot_bytes: SNAPSHOT_BYTES,
        retention: settings.retention,
        memory_bytes: settings.memory_bytes,
    })
}
