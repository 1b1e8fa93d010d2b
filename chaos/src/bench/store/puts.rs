//! Puts of 1 KiB under way at all times: from one connection per client, up to eight that the clients share.

use std::time::{Duration, Instant};

use anyhow::Context;
use prost::Message;
use proto::etcdserverpb as pb;

use crate::bench::figures::Latencies;
use crate::bench::probe;
use crate::bench::store::members::Members;
use crate::bench::store::wire::Connection;
use crate::bench::store::{Column, Pair, calls};

/// Connections at most: clients share them, as the goroutines of a client library do.
const CONNECTIONS: usize = 8;
/// A value. Units: bytes.
const VALUE: usize = 1024;
/// What a request has beside prefix and value at most. Units: bytes.
const ENVELOPE: usize = 64;

/// What was measured of puts.
struct Measured {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
    generator_us: f64,
    syncs: f64,
    memory_mib: f64,
    /// One fdatasync of the disk itself, just before. Units: milliseconds.
    disk_ms: f64,
}

const COLUMNS: &[Column<Measured>] = &[
    ("puts/s", |measured| measured.rate),
    ("p50 ms", |measured| measured.p50_ms),
    ("p99 ms", |measured| measured.p99_ms),
    ("server cpu us/put", |measured| measured.cpu_us),
    ("generator cpu us/put", |measured| measured.generator_us),
    ("fdatasyncs/put", |measured| measured.syncs),
    ("memory MiB, each", |measured| measured.memory_mib),
];

/// What says more of one client that waits for each of its puts: how far from the disk's own time it is.
const ALONE: &[Column<Measured>] = &[
    ("the disk's own fdatasync, ms", |measured| measured.disk_ms),
    ("p50, fdatasyncs of the disk's own", |measured| measured.p50_ms / measured.disk_ms),
];

/// Bytes that do not compress.
pub(super) fn value(mut seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // xorshift64: any sequence without a pattern does.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.to_be_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// What is written.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) prefix: &'a str,
    /// Puts under way.
    pub(super) clients: usize,
    /// Different keys; they are written again and again.
    pub(super) keys: usize,
    /// A value's size. Units: bytes.
    pub(super) value: usize,
}

impl<'a> Work<'a> {
    /// Every put a key of its own.
    pub(super) fn new(prefix: &'a str, clients: usize) -> Self {
        Work { prefix, clients, keys: usize::MAX, value: VALUE }
    }

    /// Writes on one connection for as long as more is wanted, by the number of puts that were sent; how long each took.
    ///
    /// # Errors
    /// When a put fails.
    pub(super) fn write(&self, address: &str, more: impl Fn(usize) -> bool) -> anyhow::Result<Vec<Duration>> {
        let mut connection = Connection::open(address, "/etcdserverpb.KV/Put")?;
        let value: bytes::Bytes = value(0x9E37_79B9_7F4A_7C15, self.value).into();
        let put = |sent: usize| {
            let key = format!("{}/{:08}", self.prefix, sent % self.keys).into();
            pb::PutRequest { key, value: value.clone(), ..Default::default() }.encode_to_vec()
        };
        let bytes = self.value + self.prefix.len() + ENVELOPE;
        calls::keep(&mut connection, (self.clients, bytes), put, more).with_context(|| format!("a put on {address}"))
    }
}

/// Puts to all members at once, until the time is over.
///
/// # Errors
/// When one fails.
pub(super) fn load(members: &Members, work: &Work<'_>, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let (addresses, clients) = (members.addresses(), work.clients);
    let connections = clients.min(CONNECTIONS.next_multiple_of(addresses.len()));
    std::thread::scope(|scope| {
        let begin = |at: usize| {
            let share = clients / connections + usize::from(at < clients % connections);
            let address = &addresses[at % addresses.len()];
            let prefix = format!("{}/{at}", work.prefix);
            scope.spawn(move || {
                Work { prefix: &prefix, clients: share, ..*work }.write(address, |_| Instant::now() < until)
            })
        };
        let writers: Vec<_> = (0..connections).map(begin).collect();
        let mut taken = Vec::new();
        for writer in writers {
            taken.extend(writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??);
        }
        Ok(taken)
    })
}

/// One round.
fn measure(pair: &Pair, members: &Members, clients: usize, round: u32) -> anyhow::Result<Measured> {
    let disk_ms = pair.disk_ms()?;
    let (pids, own) = (members.pids(), [i32::try_from(std::process::id())?]);
    let syncs = members.syncs().unwrap_or(f64::NAN);
    let (cpu, generator, began) = (probe::cpu(&pids), probe::cpu(&own), Instant::now());
    let prefix = format!("/bench/{round}/{clients}");
    let taken = load(members, &Work::new(&prefix, clients), began + pair.length())?;
    let (elapsed, cpu, generator) = (began.elapsed(), probe::cpu(&pids) - cpu, probe::cpu(&own) - generator);
    let taken = Latencies::new(taken);
    let count = taken.len().max(1) as f64;
    Ok(Measured {
        rate: taken.len() as f64 / elapsed.as_secs_f64(),
        p50_ms: taken.percentile(50),
        p99_ms: taken.percentile(99),
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
        generator_us: generator.as_secs_f64() * 1e6 / count,
        syncs: (members.syncs().unwrap_or(f64::NAN) - syncs) / count,
        memory_mib: probe::memory(&pids) / pids.len() as f64,
        disk_ms,
    })
}

/// The rounds for so many members and clients.
pub(super) fn run(pair: &mut Pair, members: usize, clients: &[usize]) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(members)?;
    for count in clients {
        let (mut of_ours, mut of_etcd) = (Vec::new(), Vec::new());
        for round in 0..pair.rounds() {
            pair.note(round);
            of_ours.push(measure(pair, &ours, *count, round)?);
            of_etcd.push(measure(pair, &etcd, *count, round).context("etcd")?);
        }
        let case = format!("put, {members} members, {count} clients");
        pair.rows(&case, COLUMNS, &of_ours, &of_etcd);
        if *count == 1 {
            pair.rows(&case, ALONE, &of_ours, &of_etcd);
        }
    }
    Ok(())
}
