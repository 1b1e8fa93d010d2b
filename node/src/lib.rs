//! The node agent: runs the pods it is told to on Docker Engine, with their volumes and probes, and tells how they do.
//!
//! `plan` decides, `sync` carries out, `runtime`, `volume`, `probe` and `net` touch the machine, `link` talks to a
//! server. `link` and `sync` meet in [`mirror`] (objects in) and [`sync::outbox`] (statuses out).

pub mod checkpoint;
pub mod config;
mod health;
mod link;
mod logs;
mod metrics;
pub mod mirror;
pub mod net;
pub mod plan;
pub mod register;
pub mod run;
pub mod runtime;
pub mod sync;
pub mod tokens;
pub mod volume;
