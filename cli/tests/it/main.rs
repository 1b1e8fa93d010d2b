//! The real binary, real certificates, real clients.

mod access;
mod api;
mod archive_bucket;
mod archive_cluster;
mod backup;
mod browser;
mod dashboard;
mod disk;
mod encryption;
mod kubectl;
mod member;
mod members;
mod mistakes;
mod node;
mod objects;
#[path = "../../../store/tests/it/ports.rs"]
mod ports;
mod process;
mod reads;
mod s3;
mod sessions;
mod store_archive;
mod store_clock;
mod store_encryption;
mod store_flags;
mod store_hostile;
mod store_http;
mod store_moving;
mod store_past;
mod store_peers;
mod store_replace;
mod store_tls;
mod usage;
mod versitygw;
mod workloads;
