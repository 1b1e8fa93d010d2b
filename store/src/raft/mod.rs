//! Everything that names openraft: the store's log and state machine as it wants them, and its words on the wire.
//!
//! Its traps are handled where they lie; each such place says so.

pub(crate) mod apply;
pub(crate) mod checkpoint;
pub(crate) mod heal;
pub(crate) mod journal;
pub(crate) mod network;
pub(crate) mod peers;
mod planted;
pub(crate) mod receive;
pub(crate) mod service;
pub(crate) mod tls;
pub(crate) mod transfer;
pub(crate) mod trim;
pub(crate) mod types;
pub(crate) mod wire;
