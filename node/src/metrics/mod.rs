//! What the node, its pods and their containers use: measured every few seconds, sent to a server, shown on loopback.
//!
//! `cgroup`, `host`, `rate` and `page` are PURE; `read` reads the kernel's files, `sampler` asks for all of it in turn,
//! `serve` shows the newest at 127.0.0.1.

pub(crate) mod cgroup;
pub(crate) mod host;
mod page;
mod rate;
pub(crate) mod read;
pub(crate) mod sampler;
pub(crate) mod serve;

use std::sync::Arc;

use proto::agent::UsageReport;
use tokio::sync::watch;

/// The newest report, for all who want it.
pub(crate) type Newest = watch::Sender<Option<Arc<UsageReport>>>;
