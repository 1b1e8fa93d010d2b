//! The real binary, real certificates, real clients.

mod api;
mod backup;
mod members;
mod node;
mod process;
mod workloads;
