//! The real binary, real certificates, real clients.

mod access;
mod api;
mod backup;
mod browser;
mod dashboard;
mod disk;
mod kubectl;
mod members;
mod node;
mod objects;
mod process;
mod reads;
mod sessions;
mod usage;
mod workloads;
