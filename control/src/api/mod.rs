//! The HTTP front: one fallback service for all kinds. Paths, parameters and media types become values here; the
//! registry does the rest.

pub mod negotiate;
pub mod options;
pub mod path;
