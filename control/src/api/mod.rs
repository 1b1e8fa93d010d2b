//! The HTTP front: one fallback service for all kinds. Paths, parameters and media types become values here; the
//! registry does the rest.

pub mod answer;
mod compress;
pub mod discovery;
mod health;
mod issuer;
mod list;
mod log;
mod metrics;
pub mod negotiate;
mod openapi;
pub mod options;
mod patch;
pub mod path;
pub mod peers;
mod read;
mod review;
mod selection;
pub mod serve;
mod splice;
mod subresource;
mod token;
mod watch;
mod write;
pub mod write_options;
mod yaml;
