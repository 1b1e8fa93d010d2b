//! The edge of the process: connections, the wall clock, randomness, disks, work aside. A simulation takes their place.
//!
//! A simulation runs all of its members on one thread and enters it; whatever runs there meets the simulated world.
//! Everywhere else these are the system's own, for the price of a look at a thread's variable.

pub mod drive;
pub(crate) mod files;
pub(crate) mod planted;

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinError;

use crate::Error;
use crate::edge::drive::Drive;

/// A simulated connection.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A simulated port that somebody listens on.
pub trait Port: Send {
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Wire>>>;
}

/// What a simulation puts in the place of the system.
pub trait World: Send + Sync {
    /// Connects the member that runs to a `host:port`.
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>>;
    /// Listens on a `host:port` of the member that runs.
    fn listen(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Port>>>;
    /// The next random bytes.
    fn fill(&self, bytes: &mut [u8]);
    /// The wall clock of the member that runs, since 1970.
    fn since_epoch(&self) -> Duration;
    /// What the monotonic clock of the member that runs says when the runtime's says `now`: it may go faster or slower.
    fn clock(&self, now: Instant) -> Instant {
        now
    }
    /// The disk that a directory lies on, or the nearest one above it.
    fn drive(&self, dir: &Path) -> Drive;
}

thread_local! {
    static WORLD: RefCell<Option<Arc<dyn World>>> = const { RefCell::new(None) };
}

/// From now on, whatever runs on this thread meets a simulated world.
pub fn enter(world: Arc<dyn World>) {
    WORLD.with(|entered| *entered.borrow_mut() = Some(world));
}

/// The simulated world of this thread, if it is in one.
pub(crate) fn world() -> Option<Arc<dyn World>> {
    WORLD.with(|entered| entered.borrow().clone())
}

/// Runs work that blocks off the runtime's threads; at once in a simulation, which has no other thread.
///
/// # Errors
/// When the work panicked, or its runtime ends.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if world().is_some() { Ok(work()) } else { tokio::task::spawn_blocking(work).await }
}

/// Fills with randomness that nobody can guess.
///
/// # Errors
/// When the system has none.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    match world() {
        Some(world) => world.fill(bytes),
        None => {
            aws_lc_rs::rand::fill(bytes).map_err(|_| Error::Stopped("the system gives no random numbers".to_owned()))?
        }
    }
    Ok(())
}

/// This machine's monotonic clock, when the runtime's says `now`: in simulations each goes at a rate of its own.
pub(crate) fn clock(now: Instant) -> Instant {
    match world() {
        Some(world) => world.clock(now),
        None => now,
    }
}

/// The wall clock, since 1970.
pub(crate) fn since_epoch() -> Duration {
    match world() {
        Some(world) => world.since_epoch(),
        None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}
