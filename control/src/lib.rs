//! The control plane: Kubernetes API server, admission, scheduler, controllers, agent gateway, dashboard.
//!
//! A request goes `api` (TLS, authentication, authorization, decoding) to `registry` (admission, validation, one
//! transaction) to the store; a decision goes from `cache` through a pure planner back into `registry`.

pub mod api;
pub mod authz;
pub mod cache;
pub mod identity;
pub mod kind;
pub mod registry;
pub mod status;
