//! Real members over real sockets and disks.

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
mod members;
mod membership;
mod moving;
mod ranges;
mod replacement;
mod single;
mod snapshots;
