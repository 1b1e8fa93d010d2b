//! The etcd v3 API over the store: what etcdctl and etcd's clients speak.
//!
//! Source: etcd `server/etcdserver/api/v3rpc`. Error texts are etcd's own: clients match them.

mod answers;
mod api;
mod arriving;
mod auth;
mod budget;
mod caller;
mod calls;
mod check;
mod cluster;
pub mod compactor;
mod downgrade;
mod election;
mod entry;
mod fragment;
mod health;
mod held;
mod history;
mod http;
mod kv;
mod large;
mod lease;
mod lock;
mod maintenance;
mod snapshot;
mod standing;
mod token;
mod txn;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::command::refusal::Reason;
use proto::etcdserverpb::auth_server::AuthServer;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::lease_server::LeaseServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::etcdserverpb::watch_server::WatchServer;
use proto::health::health_server::HealthServer;
use proto::history::history_server::HistoryServer;
use proto::v3electionpb::election_server::ElectionServer;
use proto::v3lockpb::lock_server::LockServer;
use tonic::Status;
use tonic::service::Routes;

pub use crate::etcd::api::{Api, Serves};
use crate::etcd::budget::Budget;
use crate::etcd::caller::Guarded;
use crate::etcd::calls::Calls;
use crate::etcd::compactor::AutoCompaction;
use crate::etcd::entry::Entry;
use crate::listener::Limits;
use crate::{Error, Store};

pub(crate) use snapshot::Contents;
pub use token::{AuthOptions, Tokens};

/// The version of etcd whose API this is.
pub const VERSION: &str = "3.7.3";
/// As etcd shortens it.
pub(crate) const STORAGE_VERSION: &str = "3.7.0";
/// What etcd takes of a message above a request, bytes.
const OVERHEAD_BYTES: usize = 512 << 10;

/// How the API is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keys with this prefix are not written here; empty: no such keys.
    pub protected: Bytes,
    /// Operations in one branch of a transaction at most (`--max-txn-ops`).
    pub txn_ops_max: usize,
    /// A request at most, bytes (`--max-request-bytes`).
    pub request_bytes_max: usize,
    /// Size of the state beyond which writes are refused, bytes (`--quota-backend-bytes`); 0: as long as there is room.
    pub quota_bytes: u64,
    /// What is kept of history (`--auto-compaction-mode`, `--auto-compaction-retention`); none: all of it.
    pub auto_compaction: Option<AutoCompaction>,
    /// Watches at most, over all streams: beyond them only streams with few get further ones.
    pub watches_max: usize,
    /// Leases at most.
    pub leases_max: usize,
    /// Learners at most (`--max-learners`).
    pub learners_max: u32,
    /// A watch that asked for it is told of progress so often when nothing happens.
    pub progress: Duration,
    /// How users are known, once auth is on.
    pub auth: AuthOptions,
    /// Users are told by the names in their certificates (`--client-cert-auth`).
    pub client_names: bool,
    /// Hosts that HTTP requests without TLS may be for (`--host-whitelist`); none, or `*`: all.
    pub hosts: Vec<String>,
    /// Origins of browsers' pages that may read answers (`--cors`); none, or `*`: all.
    pub origins: Vec<String>,
    /// JSON requests below `/v3/` are served (`--enable-grpc-gateway`).
    pub gateway: bool,
    /// What connections may take.
    pub limits: Limits,
}

impl Default for Options {
    /// etcd's limits; progress as often as Kubernetes expects it.
    fn default() -> Self {
        Options {
            protected: Bytes::new(),
            txn_ops_max: 128,
            request_bytes_max: 1536 << 10,
            quota_bytes: 0,
            auto_compaction: None,
            watches_max: 200_000,
            leases_max: 1_000_000,
            learners_max: 1,
            progress: Duration::from_secs(5),
            auth: AuthOptions::default(),
            client_names: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            gateway: true,
            limits: Limits { connections_max: 16_384, ..Limits::default() },
        }
    }
}

/// What every service works with.
#[derive(Clone)]
struct Front {
    store: Store,
    options: Arc<Options>,
    budget: Budget,
    /// Of answers of which JSON is made.
    gateway: Budget,
    calls: Arc<Calls>,
    watching: watch::Watching,
    unread: answers::Together,
}

impl Front {
    /// A service whose calls are looked at by their names first.
    fn guard<S>(&self, inner: S) -> Guarded<S> {
        Guarded { inner, front: self.clone() }
    }

    /// Whether there is room for a write of such a cost below the quota.
    async fn room(&self, cost: u64) -> Result<(), Status> {
        let fits = self.store.fits(cost).await;
        if fits { Ok(()) } else { Err(Status::resource_exhausted(NO_SPACE)) }
    }
}

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

/// All services.
fn routes(front: &Front) -> Routes {
    front.store.tokens().last(front.options.auth.token_ttl);
    let bytes_max = front.options.request_bytes_max + OVERHEAD_BYTES;
    let kv = kv::Kv { front: front.clone() };
    let (lock, election) = (lock::Lock { kv: kv.clone() }, election::Election { kv: kv.clone() });
    // All of them take messages of the same size at most, as etcd's do.
    macro_rules! of {
        ($server:ident, $service:expr) => {
            $server::new($service).max_decoding_message_size(bytes_max)
        };
    }
    let routes = Routes::new(front.guard(of!(KvServer, kv)))
        .add_service(front.guard(of!(WatchServer, watch::Watch { front: front.clone() })))
        .add_service(front.guard(of!(LeaseServer, lease::Lease { front: front.clone() })))
        .add_service(front.guard(of!(LockServer, lock)))
        .add_service(front.guard(of!(ElectionServer, election)))
        .add_service(front.guard(of!(ClusterServer, cluster::Cluster { front: front.clone() })))
        .add_service(front.guard(of!(MaintenanceServer, maintenance::Maintenance { front: front.clone() })))
        .add_service(front.guard(of!(AuthServer, auth::Auth { front: front.clone() })))
        .add_service(front.guard(of!(HistoryServer, history::History { front: front.clone() })))
        .add_service(of!(HealthServer, health::Health { front: front.clone() }));
    let (led, patience) = (front.store.led(), 3 * front.store.election_timeout());
    let calls = front.calls.clone();
    let around = move |inner| Entry { inner, led: led.clone(), patience, calls: calls.clone() };
    let around = tower::layer::layer_fn(around);
    Routes::from(routes.into_axum_router().layer(around)).prepare()
}

/// An error with etcd's code and text.
fn status(error: Error) -> Status {
    match error {
        Error::Refused(refusal) => {
            let reason = refusal.reason();
            let text = refusal.message;
            match reason {
                Reason::Compacted | Reason::FutureRevision | Reason::LeaseTtlTooLarge => Status::out_of_range(text),
                Reason::LeaseNotFound => Status::not_found(text),
                Reason::LeaseExists | Reason::StaleEpoch => Status::failed_precondition(text),
                // Clients know this error by these words and no others; ours are for the Kubernetes API.
                Reason::NoSpace => Status::resource_exhausted(NO_SPACE),
                Reason::AnswerTooLarge => Status::resource_exhausted(text),
                Reason::Corrupt => Status::data_loss(text),
                Reason::PermissionDenied => Status::permission_denied(text),
                Reason::AuthPrecondition => Status::failed_precondition(text),
                Reason::AuthUnknown => Status::unknown(text),
                Reason::KeyNotFound | Reason::Invalid | Reason::Unspecified => Status::invalid_argument(text),
            }
        }
        Error::NoLeader => Status::unavailable("etcdserver: no leader"),
        Error::Unknown => Status::unavailable("etcdserver: request timed out"),
        Error::Overloaded => Status::resource_exhausted("etcdserver: too many requests"),
        Error::Corrupt => standing::corrupt(),
        Error::Invalid(text) => Status::invalid_argument(text),
        Error::Stopped(_) => Status::unavailable("etcdserver: server stopped"),
    }
}
