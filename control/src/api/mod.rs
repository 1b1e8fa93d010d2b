//! The HTTP front: one fallback service for all kinds. Paths, parameters and media types become values here; the
//! registry does the rest.

pub mod answer;
pub mod discovery;
mod health;
mod issuer;
mod log;
mod metrics;
pub mod negotiate;
mod openapi;
pub mod options;
pub mod path;
pub mod peers;
mod read;
mod review;
pub mod serve;
mod subresource;
mod token;
mod watch;
mod write;
pub mod write_options;
