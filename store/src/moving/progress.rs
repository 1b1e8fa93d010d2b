//! What is said while something takes long, and whether it is to end.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::archive::Pace;
use crate::moving::Problem;

/// Between two lines about the same work.
const EVERY: Duration = Duration::from_secs(2);

/// See the module; clones share everything.
#[derive(Clone)]
pub struct Progress {
    tell: Arc<dyn Fn(&str) + Send + Sync>,
    told: Arc<Mutex<Instant>>,
    pace: Arc<Pace>,
    /// Cancelled, all work ends and leaves nothing behind.
    pub stop: CancellationToken,
}

impl Progress {
    /// Lines go to `tell`.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let (told, pace) = (Arc::new(Mutex::new(Instant::now())), Arc::new(Pace::new(None)));
        Progress { tell: Arc::new(tell), told, pace, stop: CancellationToken::new() }
    }

    /// What is fetched comes with so many bytes a second at most.
    #[must_use]
    pub fn paced(self, bytes_a_second: Option<u64>) -> Self {
        Progress { pace: Arc::new(Pace::new(bytes_a_second)), ..self }
    }

    pub(super) async fn took(&self, bytes: usize) {
        self.pace.took(bytes).await;
    }

    pub(crate) fn say(&self, text: &str) {
        *self.told.lock() = Instant::now();
        (self.tell)(text);
    }

    /// Some of the work is done: told now and then.
    ///
    /// # Errors
    /// When the work is to end.
    pub fn at(&self, what: &str, done: u64, all: u64) -> Result<(), Problem> {
        if self.stop.is_cancelled() {
            return Err(stopped());
        }
        let mut told = self.told.lock();
        if told.elapsed() >= EVERY {
            *told = Instant::now();
            (self.tell)(&format!("{what}: {done} of {all}"));
        }
        Ok(())
    }

    /// A source that fails once the work is to end.
    pub fn stoppable<R: Read>(&self, source: R) -> Stoppable<R> {
        Stoppable { source, stop: self.stop.clone() }
    }

    /// Does something that waits for others, or ends.
    ///
    /// # Errors
    /// When the work is to end.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        self.stop.run_until_cancelled(work).await.unwrap_or_else(|| Err(stopped()))
    }
}

/// What is read until the work is to end.
pub struct Stoppable<R> {
    source: R,
    stop: CancellationToken,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other(STOPPED));
        }
        self.source.read(into)
    }
}

const STOPPED: &str = "stopped on request; nothing was changed";

fn stopped() -> Problem {
    Problem::Failed(STOPPED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_more_is_read_once_the_work_is_to_end() {
        let progress = Progress::new(|_| {});
        let mut source = progress.stoppable(&b"ab"[..]);
        let mut one = [0];
        assert_eq!((source.read(&mut one).expect("read"), one), (1, *b"a"));
        progress.stop.cancel();
        assert!(source.read(&mut one).is_err_and(|error| error.to_string().contains("on request")));
        assert!(progress.at("work", 1, 2).is_err());
    }
}
