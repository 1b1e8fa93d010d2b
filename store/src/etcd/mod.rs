//! The etcd v3 API over the store: what etcdctl and etcd's clients speak.
//!
//! Source: etcd `server/etcdserver/api/v3rpc`. Error texts are etcd's own: clients match them.

mod check;
mod kv;
mod lease;
mod maintenance;
mod watch;

use bytes::Bytes;
use proto::command::refusal::Reason;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::lease_server::LeaseServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::etcdserverpb::watch_server::WatchServer;
use tonic::Status;
use tonic::service::Routes;

use crate::{Error, Store};

/// The version of etcd whose API this is.
pub const VERSION: &str = "3.6.0";
/// As etcd shortens it.
pub(crate) const STORAGE_VERSION: &str = "3.6.0";

/// All services.
pub(crate) fn routes(store: &Store, protected: Bytes) -> Routes {
    Routes::new(KvServer::new(kv::Kv { store: store.clone(), protected }))
        .add_service(WatchServer::new(watch::Watch { store: store.clone() }))
        .add_service(LeaseServer::new(lease::Lease { store: store.clone() }))
        .add_service(ClusterServer::new(maintenance::Cluster { store: store.clone() }))
        .add_service(MaintenanceServer::new(maintenance::Maintenance { store: store.clone() }))
        .prepare()
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
                Reason::NoSpace => Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
                Reason::KeyNotFound | Reason::Invalid | Reason::Unspecified => Status::invalid_argument(text),
            }
        }
        Error::NoLeader => Status::unavailable("etcdserver: no leader"),
        Error::Unknown => Status::unavailable("etcdserver: request timed out"),
        Error::Overloaded => Status::resource_exhausted("etcdserver: too many requests"),
        Error::Invalid(text) => Status::invalid_argument(text),
        Error::Stopped(_) => Status::unavailable("etcdserver: server stopped"),
    }
}
