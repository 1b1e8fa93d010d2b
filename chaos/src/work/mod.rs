//! Clients that put load on a cluster and record every call.

pub(crate) mod client;
pub(crate) mod containers;
pub(crate) mod deployment;
pub(crate) mod endpoints;
pub(crate) mod follow;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod roles;
