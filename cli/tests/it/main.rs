//! The real binary, real certificates, real clients.

mod api;
mod members;
mod node;
mod process;
mod workloads;
