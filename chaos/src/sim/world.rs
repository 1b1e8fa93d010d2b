//! The simulated world that members and clients meet: connections over turmoil, disks, clocks, and a trace of all that is
//! said.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use store::edge::drive::Drive;
use store::edge::{self, Port, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Handle, Id};
use turmoil::net::{TcpListener, TcpStream};

use crate::sim::interposed;

/// See the module; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Inner>);

#[derive(Default)]
struct Inner {
    drives: Mutex<BTreeMap<PathBuf, Drive>>,
    /// How wrong the clock of a member is, milliseconds, and which runtime is which member's.
    skews: Mutex<BTreeMap<usize, i64>>,
    /// How much faster than time a member's clocks go, millionths.
    drifts: Mutex<BTreeMap<usize, i64>>,
    /// The monotonic clock is the wall clock.
    wall: AtomicBool,
    runtimes: Mutex<Vec<(Id, usize)>>,
    trace: Arc<Mutex<Trace>>,
}

/// Everything that was said on any connection, as one number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    messages: u64,
}

impl Hasher for Trace {
    /// FNV-1a.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

impl World {
    pub(crate) fn add_drive(&self, dir: &Path, drive: Drive) {
        self.0.drives.lock().insert(dir.to_owned(), drive);
    }

    /// Says that the runtime of now is a member's.
    pub(crate) fn runs(&self, member: usize) {
        self.0.runtimes.lock().push((Handle::current().id(), member));
    }

    pub(crate) fn skew(&self, member: usize, ms: i64) {
        self.0.skews.lock().insert(member, ms);
    }

    pub(crate) fn drift(&self, member: usize, ppm: i64) {
        self.0.drifts.lock().insert(member, ppm);
    }

    /// From now on a monotonic clock jumps with the wall clock.
    pub(crate) fn confuse_clocks(&self) {
        self.0.wall.store(true, Ordering::Relaxed);
    }

    /// The member whose runtime this is.
    fn here(&self) -> Option<usize> {
        let here = Handle::try_current().ok()?.id();
        let runtimes = self.0.runtimes.lock();
        runtimes.iter().rev().find(|(id, _)| *id == here).map(|(_, member)| *member)
    }

    /// How far the clocks of the member that runs have gone away from time, nanoseconds: by going faster, and with a jump.
    fn wrong(&self) -> (i64, i64) {
        let Some(member) = self.here() else { return (0, 0) };
        let told = |of: &Mutex<BTreeMap<usize, i64>>| of.lock().get(&member).copied().unwrap_or(0);
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let elapsed_us = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        (elapsed_us.saturating_mul(told(&self.0.drifts)) / 1000, told(&self.0.skews).saturating_mul(1_000_000))
    }

    /// What was said so far, as one number, and in how many pieces.
    pub(crate) fn trace(&self) -> (u64, u64) {
        let trace = self.0.trace.lock();
        (trace.finish(), trace.messages)
    }

    /// Notes something else that must be the same each time.
    pub(crate) fn note(&self, bytes: &[u8]) {
        self.0.trace.lock().write(bytes);
    }

    fn traced(&self, stream: TcpStream) -> Box<dyn Wire> {
        Box::new(Traced { stream, trace: self.0.trace.clone() })
    }
}

impl edge::World for World {
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        let (this, authority) = (self.clone(), authority.to_owned());
        Box::pin(async move { Ok(this.traced(TcpStream::connect(authority.as_str()).await?)) })
    }

    fn listen(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Port>>> {
        let (this, authority) = (self.clone(), authority.to_owned());
        Box::pin(async move {
            let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
            let listener = TcpListener::bind(format!("0.0.0.0:{port}").as_str()).await?;
            Ok(Box::new(Listening { listener, world: this }) as Box<dyn Port>)
        })
    }

    fn fill(&self, bytes: &mut [u8]) {
        interposed::fill(bytes);
    }

    fn since_epoch(&self) -> Duration {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let now = Duration::from_secs(interposed::EPOCH_SECONDS) + elapsed;
        let (drift, jump) = self.wrong();
        let wrong = Duration::from_nanos((drift + jump).unsigned_abs());
        if drift + jump < 0 { now - wrong } else { now + wrong }
    }

    fn clock(&self, now: Instant) -> Instant {
        let (drift, jump) = self.wrong();
        let wrong = if self.0.wall.load(Ordering::Relaxed) { drift + jump } else { drift };
        let by = Duration::from_nanos(wrong.unsigned_abs());
        if wrong < 0 { now.checked_sub(by).unwrap_or(now) } else { now + by }
    }

    fn drive(&self, dir: &Path) -> Drive {
        let drives = self.0.drives.lock();
        let found = dir.ancestors().find_map(|above| drives.get(above));
        found.unwrap_or_else(|| panic!("{}: no simulated disk", dir.display())).clone()
    }
}

struct Listening {
    listener: TcpListener,
    world: World,
}

impl Port for Listening {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Wire>>> {
        Box::pin(async move { Ok(self.world.traced(self.listener.accept().await?.0)) })
    }
}

/// A connection whose bytes are part of the trace.
struct Traced {
    stream: TcpStream,
    trace: Arc<Mutex<Trace>>,
}

impl AsyncRead for Traced {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Traced {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            let mut trace = self.trace.lock();
            trace.messages += 1;
            trace.write(&bytes[..*count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
