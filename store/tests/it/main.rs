//! Real members over real sockets and disks.

mod cluster;
mod etcd;
mod members;
mod single;
