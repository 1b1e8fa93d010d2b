//! Moving in and out: an etcd's data becomes a data directory of this store, and a store's data goes to an etcd.
//!
//! What moves is the database that both sides give as a snapshot: every change that can still be read, leases, users and
//! roles. Nothing counts as moved before it was compared.

mod backup;
mod client;
mod compare;
pub(crate) mod database;
mod draft;
mod export;
mod file;
mod import;
mod keeper;
mod plan;
mod progress;
mod replay;
mod users;

pub use backup::backup;
pub(crate) use draft::Draft;
pub use export::{Export, export};
pub use file::check;
pub(crate) use import::blocking;
pub use import::{Import, Origin, import};
pub use progress::{Progress, Stoppable};

use crate::bbolt::Damaged;
use crate::tls::TlsFiles;

/// How an etcd is reached, in etcdctl's words.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `--endpoints`: the first that answers is asked.
    pub endpoints: Vec<String>,
    /// `--cacert`, `--cert`, `--key`, `--insecure-skip-tls-verify`; endpoints without a scheme speak TLS where there is
    /// any of them.
    pub tls: Option<TlsFiles>,
    /// `--user` and `--password`.
    pub user: Option<User>,
}

/// Who asks.
#[derive(Clone)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.name)
    }
}

/// Why nothing was moved. The text says what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Problem {
    /// What is there is not what it must be.
    #[error("{0}")]
    Refused(String),
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
    /// A disk, or a connection on the way.
    #[error("{0}")]
    Failed(String),
}

impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        Problem::Failed(error.to_string())
    }
}

impl From<Damaged> for Problem {
    fn from(error: Damaged) -> Self {
        Problem::Refused(format!("the database is damaged: {error}; take the snapshot again, from another member"))
    }
}

/// What was moved, for people.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// A line each.
    pub lines: Vec<String>,
}
