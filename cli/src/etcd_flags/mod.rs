//! PURE: what `raftsman store` is told, in etcd's own words.
//!
//! `table` lists every flag, `parse` reads them from arguments, variables and a file, `settings` makes sense of them.

pub(crate) mod help;
pub(crate) mod parse;
pub(crate) mod security;
pub(crate) mod settings;
pub(crate) mod table;
mod time;
pub(crate) mod urls;
mod yaml;
