//! The HTTP front: one fallback service for all kinds. Paths, parameters and media types become values here; the
//! registry does the rest.

pub mod answer;
pub mod discovery;
mod health;
pub mod negotiate;
mod openapi;
pub mod options;
pub mod path;
mod read;
mod review;
pub mod serve;
mod subresource;
mod watch;
mod write;
