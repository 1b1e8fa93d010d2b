//! What to do next for a pod, and what to say about it: values in, values out.
//!
//! Nothing here waits, reads a clock, does I/O or logs. `sync` gathers the arguments and carries the results out.

pub mod backoff;
pub mod condition;
pub mod config;
pub mod container;
pub mod container_status;
pub mod downward;
pub mod env;
pub mod event;
pub mod expand;
pub mod hosts;
pub mod memory;
pub mod node_condition;
pub mod observed;
pub mod pod;
pub mod probe;
pub mod pull_secret;
pub mod quantity;
pub mod spec;
mod start;
pub mod status;
mod stop;
pub mod termination;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
