//! The control plane: what requests name, who may make them, and what they do to objects.
//!
//! A request goes through `api` (its path and options become values), `authz` and `registry` (what it makes of the
//! object); errors leave as a `status`.

pub mod admission;
pub mod api;
pub mod authz;
pub mod cluster;
pub mod controllers;
pub mod dashboard;
pub mod decode;
pub mod defaults;
pub mod fields;
pub mod gateway;
pub mod identity;
pub mod kind;
pub mod metrics;
pub mod patch;
pub mod pki;
pub mod quantity;
pub mod reconcile;
pub mod registry;
pub mod run;
pub mod scheduler;
pub mod schema;
pub mod selector;
pub mod server;
pub mod status;
pub mod table;
pub mod validate;
