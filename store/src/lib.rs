//! The replicated, revisioned key/value store: etcd's data model over openraft and RocksDB.
//!
//! Its vocabulary is etcd's own (`proto::etcdserverpb`): the same messages are called in process, forwarded to the
//! leader, written to the log and served to etcd's clients. It holds bytes under keys and never knows what they mean.

pub mod api;
pub mod archive;
pub mod backup;
pub mod bbolt;
pub mod config;
pub mod durations;
pub mod edge;
mod engine;
pub mod error;
pub mod etcd;
#[cfg(test)]
mod fuzz;
mod group;
mod lanes;
pub mod listener;
mod lock;
pub mod log;
mod machine;
pub mod metrics;
pub mod moving;
pub mod pem;
mod raft;
mod seal;
mod store;
pub mod tls;
mod watch;

pub use error::Error;
pub use machine::view::View;
pub use store::Store;
pub use watch::Watcher;
