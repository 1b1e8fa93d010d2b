//! Threads that serve connections, each with a runtime of its own.
//!
//! A group of writes is answered all at once. On one thread, every call of a connection has put its answer down before the
//! connection's own task runs, and all leave in one system call; on a runtime of several threads that task runs at the
//! first answer, on another core, and sends each alone.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Lanes at most: beyond them the state machine is what everyone waits for.
const LANES_MAX: usize = 8;

/// See the module. Dropping it ends and joins the threads; what still runs on them is dropped.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    next: AtomicUsize,
    end: CancellationToken,
}

struct Lane {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Lanes {
    /// One per processor; none in a simulation, which has one thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn new() -> io::Result<Self> {
        let end = CancellationToken::new();
        let none = crate::edge::world().is_some();
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(if none { 0 } else { LANES_MAX });
        let lanes = (0..count).map(|_| Lane::start(end.clone())).collect::<io::Result<_>>()?;
        Ok(Lanes { lanes, next: AtomicUsize::new(0), end })
    }

    /// The lane of the next connection.
    pub(crate) fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.lanes[turn % self.lanes.len()].handle
    }
}

impl Lane {
    fn start(end: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("connections".to_owned());
        let thread = thread.spawn(move || runtime.block_on(end.cancelled()))?;
        Ok(Lane { handle, thread: Some(thread) })
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.end.cancel();
        let here = std::thread::current().id();
        for thread in self.lanes.iter_mut().filter_map(|lane| lane.thread.take()) {
            // The last owner may be a task of a lane, dropped with its runtime.
            if thread.thread().id() != here {
                let _ = thread.join();
            }
        }
    }
}
