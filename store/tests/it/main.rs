//! Real members over real sockets and disks.

mod archive;
mod auth;
mod backup;
mod bounds;
mod cluster;
mod cluster_api;
mod crash;
mod etcd;
mod founding;
mod gate;
mod gateway;
mod golden;
mod leaderless;
mod leases;
mod members;
mod membership;
mod moving;
mod peers;
mod ports;
mod quota;
mod ranges;
mod replacement;
mod settings;
mod single;
mod snapshots;

use store::config;
