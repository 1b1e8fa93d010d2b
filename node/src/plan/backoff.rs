//! How long to wait before trying again.
//!
//! Source: kubelet's crash-loop and image back-off (10 s doubled to 5 min, forgotten after 10 min of running), and
//! its pod-operation back-off (0.5 s doubled to about 2 min).

use jiff::{SignedDuration, Timestamp};

use super::memory::Failure;
use super::observed::Container;

/// First crash-loop delay. Units: seconds.
pub const CRASH_FIRST_S: u32 = 10;
/// Longest crash-loop delay. Units: seconds.
pub const CRASH_MAX_S: u32 = 300;
/// An instance that ran this long starts the count anew. Units: seconds.
pub const CRASH_FORGET_S: i64 = 600;

/// When an exited container may start again, and the delay its next instance is to carry.
///
/// The delay travels with the instance (a label), so that an agent that restarts goes on counting where it was.
pub fn restart(instance: &Container) -> (Timestamp, u32) {
    let Some(exit) = instance.exit() else {
        return (instance.created_at, CRASH_FIRST_S);
    };
    let ran = exit.started_at.map_or(SignedDuration::ZERO, |from| exit.finished_at.duration_since(from));
    if ran >= SignedDuration::from_secs(CRASH_FORGET_S) {
        return (exit.finished_at, CRASH_FIRST_S);
    }
    let next = (instance.backoff_s * 2).clamp(CRASH_FIRST_S, CRASH_MAX_S);
    let wait = SignedDuration::from_secs(i64::from(instance.backoff_s));
    (exit.finished_at + wait, next)
}

/// When an image is tried again.
pub fn image(failure: &Failure) -> Timestamp {
    failure.at + doubled(SignedDuration::from_secs(10), failure.failures, 300)
}

/// When volumes, sandbox, network or a start are tried again.
pub fn operation(failure: &Failure) -> Timestamp {
    failure.at + doubled(SignedDuration::from_millis(500), failure.failures, 120)
}

fn doubled(first: SignedDuration, failures: u32, max_s: i64) -> SignedDuration {
    let doublings = failures.saturating_sub(1).min(16);
    (first * (1 << doublings)).min(SignedDuration::from_secs(max_s))
}
