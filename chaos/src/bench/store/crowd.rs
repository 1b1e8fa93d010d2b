//! Ten clients that read 200 MB at once, each all of it, and one that writes meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bench::figures::Latencies;
use crate::bench::probe;
use crate::bench::store::members::Members;
use crate::bench::store::puts::Work;
use crate::bench::store::wire::Connection;
use crate::bench::store::{Column, Pair, ranges};

const READERS: usize = 10;
/// What is read: so many keys, with so much in each. Units: bytes.
const KEYS: usize = 20_000;
const VALUE: usize = 10_000;
const PREFIX: &str = "/bench/crowd/";
/// Puts under way while the keys are written.
const WRITERS: usize = 64;
/// Of writing alone.
const ALONE: Duration = Duration::from_secs(2);

struct Measured {
    alone_ms: f64,
    crowded_ms: f64,
    peak_mib: f64,
    seconds: f64,
}

const COLUMNS: &[Column<Measured>] = &[
    ("all have read, s", |measured| measured.seconds),
    ("memory at its peak, MiB", |measured| measured.peak_mib),
    ("a writer's p99 ms alone", |measured| measured.alone_ms),
    ("a writer's p99 ms beside them", |measured| measured.crowded_ms),
];

/// Reads everything; how many bytes came.
fn reader(address: &str) -> anyhow::Result<usize> {
    let mut connection = Connection::open(address, "/etcdserverpb.KV/Range")?;
    let mut came = 0;
    ranges::call(&mut connection, &ranges::everything(PREFIX)?, |bytes| came += bytes.len())?;
    Ok(came)
}

/// One writer, which waits for each of its puts; its p99. Units: milliseconds.
fn writer(address: &str, more: impl Fn() -> bool) -> anyhow::Result<f64> {
    let taken = Work { keys: 100, ..Work::new("/bench/beside", 1) }.write(address, |_| more())?;
    Ok(Latencies::new(taken).percentile(99))
}

fn measure(members: &Members) -> anyhow::Result<Measured> {
    let (pids, address) = (members.pids(), members.addresses()[0].clone());
    let calm = Instant::now() + ALONE;
    let alone_ms = writer(&address, || Instant::now() < calm)?;
    probe::forget_peak(&pids)?;
    let (reading, began) = (AtomicBool::new(true), Instant::now());
    let (came, seconds, crowded_ms) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| writer(&address, || reading.load(Ordering::Relaxed)));
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(|| reader(&address))).collect();
        let came: Vec<_> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let seconds = began.elapsed().as_secs_f64();
        reading.store(false, Ordering::Relaxed);
        (came, seconds, writer.join())
    });
    for came in came {
        let came = came.map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        ensure!(came > KEYS * VALUE, "{came} bytes came");
    }
    let crowded_ms = crowded_ms.map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    Ok(Measured { alone_ms, crowded_ms, peak_mib: probe::peak(&pids), seconds })
}

/// The rounds.
pub(super) fn run(pair: &mut Pair) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(1)?;
    let prefix = PREFIX.trim_end_matches('/');
    for members in [&ours, &etcd] {
        let work = Work { value: VALUE, ..Work::new(prefix, WRITERS) };
        work.write(&members.addresses()[0], |sent| sent < KEYS)?;
    }
    let (mut of_ours, mut of_etcd) = (Vec::new(), Vec::new());
    for round in 0..pair.rounds() {
        pair.note(round);
        of_ours.push(measure(&ours)?);
        of_etcd.push(measure(&etcd).context("etcd")?);
    }
    pair.rows("10 clients read 200 MB", COLUMNS, &of_ours, &of_etcd);
    Ok(())
}
