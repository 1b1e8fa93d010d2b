//! Puts of 1 KiB under way at all times: from one connection per client, up to eight that the clients share.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use prost::Message;
use proto::etcdserverpb as pb;

use crate::bench::figures::Latencies;
use crate::bench::probe;
use crate::bench::store::Pair;
use crate::bench::store::members::Members;
use crate::bench::store::wire::{Connection, News};

/// Connections at most: clients share them, as the goroutines of a client library do.
const CONNECTIONS: usize = 8;
/// A value. Units: bytes.
const VALUE: usize = 1024;

/// What was measured of puts.
pub(super) struct Measured {
    pub(super) rate: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    cpu_us: f64,
    generator_us: f64,
    syncs: f64,
    memory_mib: f64,
}

/// A column of a measurement: what it is called, and where it lies.
type Column = (&'static str, fn(&Measured) -> f64);

const COLUMNS: &[Column] = &[
    ("puts/s", |measured| measured.rate),
    ("p50 ms", |measured| measured.p50_ms),
    ("p99 ms", |measured| measured.p99_ms),
    ("server cpu us/put", |measured| measured.cpu_us),
    ("generator cpu us/put", |measured| measured.generator_us),
    ("fdatasyncs/put", |measured| measured.syncs),
    ("memory MiB, each", |measured| measured.memory_mib),
];

/// Bytes that do not compress.
pub(super) fn value(mut seed: u64) -> Vec<u8> {
    let mut next = || {
        // xorshift64: any sequence without a pattern does.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        u8::try_from(seed & 0xff).expect("masked")
    };
    (0..VALUE).map(|_| next()).collect()
}

/// Keeps `clients` puts under way on one connection until the time is over; how long each took.
///
/// # Errors
/// When a put fails.
pub(super) fn writer(address: &str, prefix: &str, clients: usize, until: Instant) -> anyhow::Result<Vec<Duration>> {
    write(address, prefix, clients, |_| Instant::now() < until)
}

/// The same, until there were so many.
///
/// # Errors
/// When a put fails.
pub(super) fn writer_of(address: &str, prefix: &str, clients: usize, puts: usize) -> anyhow::Result<Vec<Duration>> {
    write(address, prefix, clients, |sent| sent < puts)
}

fn write(address: &str, prefix: &str, clients: usize, more: impl Fn(usize) -> bool) -> anyhow::Result<Vec<Duration>> {
    let mut connection = Connection::open(address, "/etcdserverpb.KV/Put")?;
    let value: bytes::Bytes = value(0x9E37_79B9_7F4A_7C15).into();
    let (mut under_way, mut taken, mut sent) = (HashMap::new(), Vec::new(), 0);
    loop {
        while under_way.len() < clients && connection.has_room(VALUE + 64) && more(sent) {
            let key = format!("{prefix}/{sent:08}").into();
            let put = pb::PutRequest { key, value: value.clone(), ..Default::default() };
            under_way.insert(connection.call(&put.encode_to_vec()), (Instant::now(), false));
            sent += 1;
        }
        connection.flush()?;
        if under_way.is_empty() {
            return Ok(taken);
        }
        let mut failed = None;
        connection.read(|call, news| match news {
            News::Part(_) => {
                if let Some((_, answered)) = under_way.get_mut(&call) {
                    *answered = true;
                }
            }
            News::End => match under_way.remove(&call) {
                Some((began, true)) => taken.push(began.elapsed()),
                // gRPC answers an error without a message.
                _ => failed = Some(call),
            },
        })?;
        anyhow::ensure!(failed.is_none(), "a put failed on {address}");
    }
}

/// Puts to all members at once.
///
/// # Errors
/// When one fails.
pub(super) fn load(members: &Members, prefix: &str, clients: usize, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let addresses = members.addresses();
    let connections = clients.min(CONNECTIONS.next_multiple_of(addresses.len()));
    std::thread::scope(|scope| {
        let begin = |at: usize| {
            let share = clients / connections + usize::from(at < clients % connections);
            let address = &addresses[at % addresses.len()];
            scope.spawn(move || writer(address, &format!("{prefix}/{at}"), share, until))
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
///
/// # Errors
/// When a put fails.
pub(super) fn measure(members: &Members, clients: usize, round: &str, length: Duration) -> anyhow::Result<Measured> {
    let (pids, own) = (members.pids(), [i32::try_from(std::process::id())?]);
    let syncs = members.syncs().unwrap_or(f64::NAN);
    let (cpu, generator, began) = (probe::cpu(&pids), probe::cpu(&own), Instant::now());
    let taken = load(members, &format!("/bench/{round}/{clients}"), clients, began + length)?;
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
    })
}

/// The rounds for so many members and clients.
pub(super) fn run(pair: &mut Pair<'_>, members: usize, clients: &[usize]) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(members)?;
    for count in clients {
        let (mut of_ours, mut of_etcd) = (Vec::new(), Vec::new());
        for round in 0..pair.rounds() {
            pair.note(round);
            let (name, length) = (round.to_string(), pair.length());
            of_ours.push(measure(&ours, *count, &name, length)?);
            of_etcd.push(measure(&etcd, *count, &name, length).context("etcd")?);
        }
        for (what, figure) in COLUMNS {
            let case = format!("put, {members} members, {count} clients");
            pair.row(&case, what, of_ours.iter().map(figure).collect(), of_etcd.iter().map(figure).collect());
        }
    }
    Ok(())
}
