//! Real members over real sockets and disks.

mod cluster;
mod members;
mod single;
