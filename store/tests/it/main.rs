//! Real members over real sockets and disks.

mod backup;
mod cluster;
mod crash;
mod etcd;
mod members;
mod single;
