//! `up` and `join`: one server, in the foreground, until it is told to end.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use control::cluster::backup::Keys;
use control::cluster::join::{self, Admitted, NodeIdentity};
use control::cluster::token::Token;
use control::pki::files::{Folder, Shared, kubeconfig, write};
use control::pki::{Subject, issue};
use control::run;
use control::server::{Clients, tls};
use store::Store;
use store::config::{Bootstrap, Config, PEER_NAME, PeerTls, Retention, Transport, Url};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::exit::{Failure, say};
use crate::flags::{ServerFlags, Settings};
use crate::signals::Ends;

/// Leader heartbeats. Writes stop for at most three election timeouts when a leader dies.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// See `HEARTBEAT`.
const ELECTION: Duration = Duration::from_millis(175);
/// Log entries between snapshots.
const SNAPSHOT_ENTRIES: u64 = 20_000;
/// Bytes of the log between them, where entries are large.
const SNAPSHOT_BYTES: u64 = 256 << 20;
/// Memory for the state, bytes.
const MEMORY_BYTES: usize = 64 << 20;
/// Keys that only the Kubernetes API writes.
const OBJECTS: &str = "/registry/";

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(error.to_string())
}

/// Starts the first server of a new cluster, or any server again.
pub(crate) async fn up(flags: ServerFlags) -> Result<(), Failure> {
    let settings = flags.resolve()?;
    let folder = Folder::open(&settings.data_dir).map_err(failed)?;
    if let Some(identity) = folder.load_node().map_err(failed)? {
        return be_node(settings, identity).await;
    }
    if folder.joining() {
        let dir = settings.data_dir.display();
        let text =
            format!("{dir}: this machine was joining a cluster and has not got in; run `raftsman join TOKEN` again");
        return Err(Failure::refused(text));
    }
    if settings.server == Some(false) {
        return Err(Failure::usage(
            "--roles: a cluster begins with a server; a node gets in with `raftsman join TOKEN`",
        ));
    }
    let known = folder.load().map_err(failed)?;
    let first = known.is_none();
    let shared = match known {
        Some(shared) => shared,
        None => {
            let shared = Shared::new().map_err(failed)?;
            folder.save(&shared).map_err(failed)?;
            shared
        }
    };
    serve(settings, &folder, shared, Bootstrap::New, first).await
}

/// A machine that is only a node: its agent, until it is told to end.
async fn be_node(settings: Settings, identity: NodeIdentity) -> Result<(), Failure> {
    log();
    let mut ends = Ends::new()?;
    let engine = settings.engine.clone().ok_or_else(|| Failure::usage("--roles: this machine is a node"))?;
    let cancel = CancellationToken::new();
    let NodeIdentity { authority_cert, cert, key, servers } = identity;
    let identity = node::config::Identity { ca_pem: authority_cert, cert_pem: cert, key_pem: key };
    let running = node::run::run(agent_config(&settings, identity, servers, engine), cancel.clone());
    tokio::pin!(running);
    say(&format!("node {} runs; its server is the first that answers", settings.name))?;
    tokio::select! {
        ended = &mut running => return ended.map_err(failed),
        () = ends.asked() => cancel.cancel(),
    }
    running.await.map_err(failed)
}

/// Starts a server that joins a cluster, or has joined it before.
pub(crate) async fn join(token: &str, flags: ServerFlags) -> Result<(), Failure> {
    let token: Token = token.parse().map_err(Failure::usage)?;
    let settings = flags.resolve()?;
    let folder = Folder::open(&settings.data_dir).map_err(failed)?;
    if let Some(identity) = folder.load_node().map_err(failed)? {
        return be_node(settings, identity).await;
    }
    // Asked again while it has not joined for good: the peers may have changed.
    let admitted = join::ask(&token, &settings.name).await;
    let (shared, peers) = match (folder.load().map_err(failed)?, admitted) {
        (_, Ok(Admitted::Node(identity))) => {
            if settings.server == Some(true) {
                return Err(Failure::usage(
                    "--roles: this token makes a node; `raftsman token create` makes one for servers",
                ));
            }
            folder.save_node(&identity).map_err(failed)?;
            return be_node(settings, identity).await;
        }
        (_, Ok(Admitted::Server { .. })) if settings.server == Some(false) => {
            let text = "--roles: this token makes a server; `raftsman token create --role node` makes one for nodes";
            return Err(Failure::usage(text));
        }
        (_, Ok(Admitted::Server { authority_cert, authority_key, at_rest, signing, peers })) => {
            let shared = join::shared(&authority_cert, &authority_key, &at_rest, &signing);
            let shared = shared.ok_or_else(|| Failure::failed("the cluster's answer is damaged; try again"))?;
            folder.set_joining(true).map_err(failed)?;
            folder.save(&shared).map_err(failed)?;
            (shared, peers)
        }
        // It belongs to the cluster already: the token may be long gone.
        (Some(shared), Err(_)) => (shared, Vec::new()),
        (None, Err(why)) => return Err(Failure::refused(why)),
    };
    serve(settings, &folder, shared, Bootstrap::Join { peers }, false).await
}

/// `first`: the cluster begins with this start, and its operator is told how others join.
async fn serve(
    settings: Settings,
    folder: &Folder,
    shared: Shared,
    bootstrap: Bootstrap,
    first: bool,
) -> Result<(), Failure> {
    log();
    let mut ends = Ends::new()?;
    let peer = Subject {
        common_name: settings.name.clone(),
        names: vec![PEER_NAME.to_owned()],
        server: true,
        client: true,
        ..Subject::default()
    };
    let peer = issue(&shared.authority, &peer).map_err(failed)?;
    let tls = PeerTls { ca_pem: shared.authority.cert_pem.clone(), cert_pem: peer.cert_pem, key_pem: peer.key_pem };
    let config = Config {
        name: settings.name.clone(),
        data_dir: settings.data_dir.clone(),
        peer_listen: vec![Url::https(settings.peer)],
        peer_advertise: vec![Url::https(settings.peer_advertise)],
        client_advertise: vec![Url::https(settings.etcd)],
        transport: Transport::Members(tls),
        bootstrap,
        force_new: false,
        remove_dead_after: None,
        encryption: settings.encryption.clone(),
        heartbeat_interval: HEARTBEAT,
        election_timeout: ELECTION,
        snapshot_entries: SNAPSHOT_ENTRIES,
        snapshot_bytes: SNAPSHOT_BYTES,
        retention: Retention::default(),
        memory_bytes: MEMORY_BYTES,
    };
    let store = tokio::select! {
        store = Store::open(config) => store.map_err(failed)?,
        () = ends.asked() => return Ok(()),
    };
    folder.set_joining(false).map_err(failed)?;
    let done = run_until_told(&settings, folder, shared, &store, &mut ends, first).await;
    store.shutdown().await;
    done
}

fn log() {
    let filter = EnvFilter::try_from_env("RAFTSMAN_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

async fn run_until_told(
    settings: &Settings,
    folder: &Folder,
    shared: Shared,
    store: &Store,
    ends: &mut Ends,
    first: bool,
) -> Result<(), Failure> {
    let config = run::Config {
        name: settings.name.clone(),
        listen: settings.api,
        advertise: settings.api_advertise.to_string(),
        shared: shared.clone(),
        ranges: settings.ranges.clone(),
        controllers: settings.controllers.clone(),
        failover: settings.failover,
    };
    serve_etcd(settings, &config, store).await?;
    if let Some(archive) = &settings.archive {
        let extra = Keys::words(&shared).map_err(failed)?;
        store.archive(archive.with(extra).map_err(Failure::usage)?).map_err(failed)?;
    }
    let listening = run::start(&config, store.clone()).await.map_err(failed)?;
    let admin = folder.admin(&shared.authority).map_err(failed)?;
    let path = settings.data_dir.join("admin.kubeconfig");
    let servers = [(settings.name.clone(), settings.api_advertise.to_string())];
    write(&path, &kubeconfig(&shared.authority, &admin, &servers)).map_err(failed)?;
    let joining = join_lines(&listening, &path, first).await?;
    let cancel = CancellationToken::new();
    let both = async { tokio::join!(listening.serve(cancel.clone()), agent(settings, &shared, cancel.clone())) };
    tokio::pin!(both);
    for line in joining {
        say(&line)?;
    }
    say(&format!("ready: https://{}  kubeconfig: {}", settings.api_advertise, path.display()))?;
    let failure = tokio::select! {
        _ = &mut both => None,
        () = ends.asked() => None,
        error = store.failed() => Some(error),
    };
    if let Some(error) = failure {
        // What is on disk is no longer known: nothing may be acknowledged from here on.
        return Err(failed(error));
    }
    cancel.cancel();
    both.await;
    Ok(())
}

/// How other machines join: with tokens of a day when the cluster begins, later with those that are asked for.
async fn join_lines(listening: &run::Listening, kubeconfig: &Path, first: bool) -> Result<Vec<String>, Failure> {
    if !first {
        return Ok(vec![format!("to add a machine: raftsman token create --kubeconfig {}", kubeconfig.display())]);
    }
    let mut lines = vec!["to add a machine, run on it within a day (secret, like a password):".to_owned()];
    for (role, about) in [("server", "a server"), ("node", "only a node")] {
        let token = listening.join_token(role).await.map_err(failed)?;
        lines.push(format!("  raftsman join {token}    # {about}"));
    }
    Ok(lines)
}

/// The node of this machine, if it is one. A node that fails takes no server with it.
async fn agent(settings: &Settings, shared: &Shared, cancel: CancellationToken) {
    let Some(engine) = settings.engine.clone() else { return };
    let pair = match issue(&shared.authority, &Subject::node(&settings.name)) {
        Ok(pair) => pair,
        Err(error) => return tracing::error!(%error, "this machine is no node"),
    };
    let (ca_pem, cert_pem, key_pem) = (shared.authority.cert_pem.clone(), pair.cert_pem, pair.key_pem);
    let identity = node::config::Identity { ca_pem, cert_pem, key_pem };
    let servers = vec![settings.api_advertise.to_string()];
    if let Err(error) = node::run::run(agent_config(settings, identity, servers, engine), cancel).await {
        tracing::error!(%error, "this machine is no node");
    }
}

fn agent_config(
    settings: &Settings,
    identity: node::config::Identity,
    servers: Vec<String>,
    engine: node::config::Engine,
) -> node::config::Config {
    node::config::Config {
        name: settings.name.clone(),
        data_dir: settings.data_dir.join("node"),
        servers,
        identity,
        engine,
        address: settings.api_advertise.ip(),
        labels: std::collections::BTreeMap::new(),
    }
}

async fn serve_etcd(settings: &Settings, config: &run::Config, store: &Store) -> Result<(), Failure> {
    let listener =
        TcpListener::bind(settings.etcd).await.map_err(|error| failed(format!("{}: {error}", settings.etcd)))?;
    let pair = run::serving_pair(config).map_err(failed)?;
    let mut tls = tls(&config.shared.authority.cert_pem, &pair, Clients::Certified).map_err(failed)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let options = store::etcd::Options { protected: OBJECTS.into(), ..Default::default() };
    store.serve_etcd(listener, Some(TlsAcceptor::from(std::sync::Arc::new(tls))), options);
    Ok(())
}
