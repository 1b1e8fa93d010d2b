//! Putting a store together, and taking it down.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::SnapshotPolicy;
use openraft::errors::{InitializeError, RaftError};
use parking_lot::Mutex;
use prost::Message;
use proto::peer;
use proto::peer::peer_server::PeerServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::Error;
use crate::api::{Leadership, MemberId};
use crate::archive::Board;
use crate::config::{Bootstrap, Config, Transport, Url};
use crate::durations::Durations;
use crate::edge;
use crate::edge::planted::Planted;
use crate::group::datagrams::Datagrams;
use crate::group::lessor::Lessor;
use crate::group::queue::{READERS, WRITERS};
use crate::group::quota::Quota;
use crate::group::space::Space;
use crate::group::{Group, leadership, members, parse_failure};
use crate::lanes::Lanes;
use crate::listener::{Door, Ends, Limits, serve, serve_simulated};
use crate::lock::Lock;
use crate::log::disk::Folder;
use crate::log::{Log, Options};
use crate::machine::Machine;
use crate::raft::apply::StateMachine;
use crate::raft::checkpoint::Checkpoints;
use crate::raft::journal::Journal;
use crate::raft::network::Network;
use crate::raft::peers::{Doorkeeper, MESSAGE_BYTES_MAX, Peers};
use crate::raft::service::Service;
use crate::raft::tls::server_tls;
use crate::raft::trim;
use crate::raft::types::Raft;
use crate::seal::Sealer;
use crate::seal::vault::Vault;
use crate::store::identity::{self, Identity};
use crate::store::returning;
use crate::store::rotation::{Keys, Rotation};
use crate::store::survivor;
use crate::store::{Inner, Store};
use crate::store::{founding, history};

/// Connections of other members at most: each has a handful.
const CONNECTIONS_MAX: usize = 256;
/// In a simulation segments are small, and few entries are held in memory: a short run meets what a long one does.
const SIMULATED: Options = Options { segment_bytes: 64 << 10, resident_bytes: 16 << 10 };
/// Between attempts to join.
const JOIN_AGAIN: Duration = Duration::from_millis(500);

/// The end of a store, with what its operator does about it where the words tell.
pub(super) fn stopped(error: impl std::fmt::Display) -> Error {
    let why = error.to_string();
    let advice = [
        ("No space left on device", "; free some space on the disk and start it again"),
        (
            "Input/output error",
            "; the disk failed: start it again once the disk is sound, or remove this server from the \
          cluster and join again with an empty data directory",
        ),
    ];
    let told = advice.iter().find(|(cause, _)| why.contains(cause)).map_or("", |(_, advice)| advice);
    Error::Stopped(format!("{why}{told}"))
}

fn open_log(config: &Config, layout: Options, lock: &Lock, sealer: Option<Arc<Sealer>>) -> Result<Log, Error> {
    if let Some(world) = edge::world() {
        return Log::open_simulated(&world.drive(&config.data_dir), SIMULATED, sealer).map_err(stopped);
    }
    let folder = Folder::open(config.data_dir.join("log")).map_err(stopped)?.owned(lock.clone());
    Log::open_sealed(folder, layout, sealer).map_err(stopped)
}

fn advised(error: Error) -> Error {
    if let Error::Stopped(why) = error { stopped(why) } else { error }
}

pub(super) async fn open(config: Config, layout: Options) -> Result<Store, Error> {
    let lock = Lock::take(&config.data_dir)?;
    let vault = Vault::open(&config.data_dir, config.encryption.as_ref())?;
    let sealer = vault.as_ref().map(|vault| vault.sealer().clone());
    let cluster = Arc::new(OnceLock::new());
    let peers = Arc::new(Peers::new(&config.transport, cluster.clone()).map_err(stopped)?);
    let identity = founding::identity(&config, &peers).await?;
    let id = identity.member_id;
    let log = open_log(&config, layout, &lock, sealer.clone())?;
    let syncs = log.syncs();
    let state = config.data_dir.join("state");
    let machine = Machine::open_sealed(&state, Some(lock), config.memory_bytes, sealer).map_err(advised)?;
    let checkpoints = Checkpoints::open(config.data_dir.join("snapshots"), vault.clone()).map_err(stopped)?;
    let checkpoints = Arc::new(checkpoints);
    adopt(&config, &identity, &machine)?;
    returning::ensure_fit(&log, &machine, &checkpoints)?;
    returning::ensure_whole(&config, id, &log, &machine, &peers).await?;
    let identity = if config.force_new { survivor::alone(&config, identity, &log, &machine).await? } else { identity };
    let _ = identity.cluster_id.map(|known| cluster.set(known));
    checkpoints.reach(&machine, log.range().map(|(_, last)| last)).map_err(stopped)?;
    let state = StateMachine { machine: machine.clone(), checkpoints: checkpoints.clone() };
    let (patience, shortly) = (15 * config.election_timeout, 2 * config.election_timeout);
    let planted = Planted::of(&config.data_dir);
    let network = Network { peers: peers.clone(), patience: shortly, vault: vault.clone(), planted: planted.clone() };
    let (journal, settings) = (Journal::new(log, planted.clone()), Arc::new(raft_config(&config)?));
    let raft = Raft::new(id, settings, network, journal.clone(), state).await.map_err(stopped)?;
    let space = Space::new(config.name.clone(), config.data_dir.clone());
    let group = Arc::new(Group::new(id, raft.clone(), peers, patience, space, planted));
    let lessor = Arc::new(Lessor::new(group.clone(), machine.clone()));

    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let datagrams = Arc::new(Datagrams::new(group.clone()));
    let held = checkpoints.clone();
    let (ours, counts, heard) = (group.clone(), lessor.clone(), datagrams.clone());
    let service = Service { group: ours, machine: machine.clone(), checkpoints, lessor: counts, datagrams: heard };
    listen(&config, id, cluster, service, &tasks, &cancel).await?;

    let trimming = trim::tend(raft, journal.clone(), config.snapshot_bytes);
    tasks.spawn(cancel.clone().run_until_cancelled_owned(trimming));
    let (leadership, removal) = take_part(&group, &machine, &lessor, &tasks, &cancel);
    attend(&group, &machine, &syncs, &config, &tasks, &cancel);
    tasks.spawn(datagrams.clone().run(cancel.clone()));
    let keys = vault.map(|vault| exchange_keys(vault, (&machine, &journal), held, &tasks, &cancel));
    let lanes = Arc::new(Lanes::new().map_err(stopped)?);
    let (calls, ends) = (TaskTracker::new(), Ends { leaving: CancellationToken::new(), cancel });
    let (quota, tidying) = (Quota::default(), Arc::new(Semaphore::new(1)));
    let inner = Inner {
        group,
        machine,
        journal,
        lessor,
        datagrams,
        leadership,
        removal,
        syncs,
        quota,
        tidying,
        compacts: AtomicBool::new(false),
        keys,
        board: Mutex::new(Board::none()),
        lanes,
        tasks,
        calls,
        ends,
    };
    let store = Store { inner: Arc::new(inner) };
    if let Err(error) = enter(&store, &config, identity).await {
        store.shutdown().await;
        return Err(error);
    }
    Ok(store)
}

/// Lets keys be exchanged while it runs; answers who is asked for it.
fn exchange_keys(
    vault: Arc<Vault>,
    (machine, journal): (&Machine, &Journal),
    checkpoints: Arc<Checkpoints>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Keys {
    let keys = Keys { vault: vault.clone(), asked: Arc::new(Notify::new()) };
    let (machine, journal, asked) = (machine.clone(), journal.clone(), keys.asked.clone());
    let rotation = Rotation { vault, machine, checkpoints, journal, asked };
    tasks.spawn(cancel.clone().run_until_cancelled_owned(rotation.tend()));
    keys
}

/// What makes it a member of its group: who leads, who belongs to it, leases while it leads. Answers the news of who leads,
/// and whether it was removed.
fn take_part(
    group: &Arc<Group>,
    machine: &Machine,
    lessor: &Arc<Lessor>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> (watch::Receiver<Leadership>, watch::Receiver<Option<String>>) {
    let (told, leadership) = watch::channel(Leadership::default());
    let base = machine.clone();
    let epoch_base = move || base.view().header().epoch_base;
    tasks.spawn(leadership::follow(group.raft.clone(), epoch_base, told, cancel.clone()));
    let (tended, until) = (group.clone(), cancel.clone());
    tasks.spawn(async move { members::tend(&tended, until).await });
    let (counted, news, until) = (lessor.clone(), leadership.clone(), cancel.clone());
    tasks.spawn(async move { counted.run(news, until).await });
    let removed = watch::Sender::new(None);
    let (staying, removal) = (group.clone(), removed.subscribe());
    let leaving = async move { removed.send_replace(Some(staying.until_removed().await)) };
    tasks.spawn(cancel.clone().run_until_cancelled_owned(leaving));
    (leadership, removal)
}

/// What a member sees to as long as it runs: its disk, the other members, its state, and calls that wait.
fn attend(
    group: &Arc<Group>,
    machine: &Machine,
    syncs: &Arc<Durations>,
    config: &Config,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let spacious = group.clone();
    let minds = async move {
        tokio::join!(spacious.mind_space(), spacious.mind_leader());
    };
    tasks.spawn(cancel.clone().run_until_cancelled_owned(minds));
    let (watching, dead_after) = (group.clone(), config.remove_dead_after);
    tasks.spawn(cancel.clone().run_until_cancelled_owned(async move { watching.mind_dead(dead_after).await }));
    let (minding, writes) = (group.clone(), syncs.clone());
    tasks.spawn(cancel.clone().run_until_cancelled_owned(async move { minding.mind_stalls(&writes).await }));
    let (looking, held) = (group.clone(), machine.clone());
    tasks.spawn(cancel.clone().run_until_cancelled_owned(async move { looking.compare(&held).await }));
    tasks.spawn(history::tend(machine.clone(), config.retention, config.data_dir.clone(), cancel.clone()));
    for _ in 0..WRITERS {
        let writing = group.clone();
        tasks.spawn(cancel.clone().run_until_cancelled_owned(async move { writing.propose_groups().await }));
    }
    for _ in 0..READERS {
        let reading = group.clone();
        tasks.spawn(cancel.clone().run_until_cancelled_owned(async move { reading.confirm_groups().await }));
    }
    let placed = group.clone();
    tasks.spawn(cancel.clone().run_until_cancelled_owned(async move { placed.follow_membership().await }));
    let (known, said) = (group.clone(), own_node(config));
    tasks.spawn(cancel.clone().run_until_cancelled_owned(async move { known.introduce(said).await }));
}

/// A state that no group wrote, from a backup, becomes that of a new group of this one member.
fn adopt(config: &Config, identity: &Identity, machine: &Machine) -> Result<(), Error> {
    if !machine.loaded() {
        return Ok(());
    }
    let nodes = match &config.bootstrap {
        Bootstrap::New if identity.cluster_id.is_none() => BTreeMap::from([(identity.member_id, own_node(config))]),
        // Others would begin with nothing, and be the majority.
        Bootstrap::Static { members, token } if members.len() == 1 => founding::nodes(members, token),
        _ => {
            let text = "the data directory holds a state that was restored or imported: it can only begin a cluster of its \
                        own, with `raftsman up`, or with `--initial-cluster-state new` and itself alone in \
                        `--initial-cluster`; others join that cluster afterwards, with empty data directories";
            return Err(Error::Invalid(text.to_owned()));
        }
    };
    let first = peer::LogId { term: 1, index: 1 };
    let membership = peer::Membership {
        configs: vec![peer::Voters { ids: nodes.keys().copied().collect() }],
        nodes: nodes.into_iter().collect(),
        log_id: Some(first),
    };
    machine.adopt(first.encode_to_vec().into(), membership.encode_to_vec().into())
}

pub(super) fn own_node(config: &Config) -> peer::Node {
    let texts = |urls: &[Url]| urls.iter().map(ToString::to_string).collect();
    peer::Node {
        name: config.name.clone(),
        peer_urls: texts(&config.peer_advertise),
        client_urls: texts(&config.client_advertise),
        learner: false,
    }
}

fn raft_config(config: &Config) -> Result<openraft::Config, Error> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let election = millis(config.election_timeout);
    let raft = openraft::Config {
        cluster_name: "raftsman".to_owned(),
        heartbeat_interval: millis(config.heartbeat_interval),
        election_timeout_min: election,
        election_timeout_max: election * 3 / 2,
        enable_pre_vote: Some(true),
        quorum_loss_probe_interval: Some(4 * election),
        // True would resume a leadership without an election.
        enable_leader_restore: Some(false),
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        max_in_snapshot_log_to_keep: config.snapshot_entries / 2,
        // Covers a whole transfer and its installation; a dead transfer is noticed by its connection.
        install_snapshot_timeout: 3_600_000,
        backoff: "20ms 40ms 80ms 160ms 320ms 640ms 1s".to_owned(),
        ..openraft::Config::default()
    };
    raft.validate().map_err(|error| Error::Invalid(format!("timeouts: {error}")))
}

/// Begins a new group, enters one, or waits until an old member has caught up with what it knew to be committed.
async fn enter(store: &Store, config: &Config, identity: Identity) -> Result<(), Error> {
    let group = &store.inner.group;
    let node = own_node(config);
    let begun = group.raft.is_initialized().await.map_err(stopped)?;
    let belong = |cluster_id: u64| {
        identity::save(&config.data_dir, &Identity { cluster_id: Some(cluster_id), ..identity.clone() })?;
        let _ = group.peers.cluster.set(cluster_id);
        Ok::<_, Error>(())
    };
    match &config.bootstrap {
        Bootstrap::New if !begun => {
            belong(identity.cluster_id.map_or_else(identity::random, Ok)?)?;
            group.raft.initialize(BTreeMap::from([(group.id, node)])).await.map_err(stopped)?;
            group.barrier().await
        }
        Bootstrap::Join { peers } if identity.cluster_id.is_none() => {
            belong(join(store, peers, node).await?)?;
            group.barrier().await
        }
        Bootstrap::New if identity.cluster_id.is_none() => {
            // Restored from a backup: it has members, and no name yet.
            belong(identity::random()?)?;
            group.barrier().await
        }
        Bootstrap::Static { members, token } if !begun => {
            match group.raft.initialize(founding::nodes(members, token)).await {
                // Another member was faster: it has this one's vote already, and brings the membership.
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => led(group).await,
                Err(error) => Err(stopped(error)),
            }
        }
        Bootstrap::Existing { .. } if !begun => led(group).await,
        _ => {
            tracing::info!("waiting until what was known to be committed is applied again");
            // Nobody leads one that was removed while it was away.
            tokio::select! {
                recovered = group.raft.wait_for_recovery(None) => recovered.map(|_| ()).map_err(stopped),
                why = group.until_removed() => Err(Error::Stopped(why)),
            }
        }
    }
}

/// Waits until somebody leads, however long it takes until enough members have started, and has told this member all.
async fn led(group: &Group) -> Result<(), Error> {
    let led = async {
        loop {
            match group.barrier().await {
                Ok(()) => return Ok(()),
                Err(stopped @ Error::Stopped(_)) => return Err(stopped),
                Err(error) => tracing::info!(%error, "waiting for the other members"),
            }
        }
    };
    tokio::select! {
        led = led => led,
        why = group.until_removed() => Err(Error::Stopped(why)),
    }
}

/// Asks peers in turn, until one takes this member in or says that none ever will.
async fn join(store: &Store, addresses: &[String], node: peer::Node) -> Result<u64, Error> {
    let group = &store.inner.group;
    let mut again = tokio::time::interval(JOIN_AGAIN);
    loop {
        again.tick().await;
        for address in addresses {
            let client = group.peers.client(None, &[format!("https://{address}")], crate::raft::peers::Purpose::Call);
            let mut client = client.map_err(|error| Error::Invalid(error.to_string()))?;
            let request = peer::JoinRequest { id: group.id, node: Some(node.clone()), returning: false };
            match client.join(request).await.map(tonic::Response::into_inner) {
                Ok(answer) => match answer.failure.as_ref().map(parse_failure) {
                    None => return Ok(answer.cluster_id),
                    Some(never @ Error::Invalid(_)) => return Err(never),
                    Some(failure) => tracing::warn!(address, %failure, "not taken in yet"),
                },
                Err(status) => tracing::warn!(address, %status, "cannot reach a member of the cluster"),
            }
        }
        if group.raft.is_initialized().await.is_err() {
            return Err(Error::Stopped("the store has failed".to_owned()));
        }
    }
}

async fn listen(
    config: &Config,
    id: MemberId,
    cluster: Arc<OnceLock<u64>>,
    service: Service,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let tls = match &config.transport {
        Transport::Members(tls) => Some(TlsAcceptor::from(Arc::new(server_tls(tls).map_err(stopped)?))),
        Transport::Urls { tls } => tls.as_ref().map(crate::tls::acceptor).transpose().map_err(stopped)?,
    };
    let server = PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = tonic::service::interceptor::InterceptedService::new(server, Doorkeeper { id, cluster });
    let routes = Routes::new(server).prepare();
    for url in &config.peer_listen {
        if url.tls && tls.is_none() {
            let text = format!("cannot listen on TLS for {url}: KeyFile and CertFile are not presented");
            return Err(Error::Invalid(text));
        }
        let failed = |error| stopped(format!("{url}: {error}"));
        let (tls, service) = (tls.clone().filter(|_| url.tls), routes.clone());
        let limits = Limits { connections_max: CONNECTIONS_MAX, ..Limits::default() };
        let door = Door { tls, names: false, http1: false, limits, lanes: None, service };
        // Members are served until the very end.
        let ends = Ends { leaving: cancel.clone(), cancel: cancel.clone() };
        match edge::world() {
            None => serve(TcpListener::bind(&url.authority).await.map_err(failed)?, door, tasks, &ends),
            Some(world) => {
                serve_simulated(world.listen(&url.authority).await.map_err(failed)?, door, tasks, &ends);
            }
        }
    }
    Ok(())
}
