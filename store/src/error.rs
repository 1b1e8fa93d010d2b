//! One variant per thing a caller does next.

use proto::command::Refusal;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The state machine said no; nothing changed. The reason says what to do.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// No leader is known or reachable; safe to try again, nothing was proposed.
    #[error("no leader")]
    NoLeader,
    /// It may or may not have been applied: look before trying again.
    #[error("request timed out; it may have been applied")]
    Unknown,
    /// Too much is in flight; try again later, nothing was proposed.
    #[error("too many requests")]
    Overloaded,
    /// The request breaks a rule of the API.
    #[error("{0}")]
    Invalid(String),
    /// This member's state is not what the others hold: ask another one. It gets its state anew where most agree.
    #[error("corrupt cluster: this server's state differs from that of the others")]
    Corrupt,
    /// The store is shutting down or has failed for good.
    #[error("store stopped: {0}")]
    Stopped(String),
}
