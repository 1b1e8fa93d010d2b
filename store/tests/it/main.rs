//! Real members over real sockets and disks.

mod cluster;
mod crash;
mod etcd;
mod members;
mod single;
