//! Ranges of everything there is, in one answer.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use prost::Message;
use proto::etcdserverpb as pb;

use crate::bench::figures::Latencies;
use crate::bench::probe;
use crate::bench::store::members::Members;
use crate::bench::store::puts::Work;
use crate::bench::store::wire::{Connection, News};
use crate::bench::store::{Column, Pair};

/// How many keys, and how often they are read in a round.
const SIZES: [(usize, usize); 2] = [(10_000, 10), (100_000, 3)];
/// Puts under way while the keys are written.
const WRITERS: usize = 64;

struct Measured {
    p50_ms: f64,
    cpu_ms: f64,
    memory_mib: f64,
}

/// Writes so many keys below a prefix.
fn fill(members: &Members, prefix: &str, keys: usize) -> anyhow::Result<()> {
    Work::new(prefix, WRITERS).write(&members.addresses()[0], |sent| sent < keys).map(drop)
}

/// All keys below a prefix.
pub(super) fn everything(prefix: &str) -> anyhow::Result<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().context("a prefix")? += 1;
    Ok(pb::RangeRequest { key: prefix.to_owned().into(), range_end: end.into(), ..Default::default() }.encode_to_vec())
}

/// One call; its answer in parts.
///
/// # Errors
/// When the connection breaks.
pub(super) fn call(connection: &mut Connection, request: &[u8], mut part: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let mut ended = false;
    connection.call(request);
    connection.flush()?;
    while !ended {
        connection.read(|_, news| match news {
            News::Part(bytes) => part(bytes),
            News::End => ended = true,
        })?;
        // Lets the server send more.
        connection.flush()?;
    }
    Ok(())
}

fn measure(members: &Members, prefix: &str, keys: usize, times: usize) -> anyhow::Result<Measured> {
    let pids = members.pids();
    let request = everything(prefix)?;
    let mut connection = Connection::open(&members.addresses()[0], "/etcdserverpb.KV/Range")?;
    let (cpu, mut taken): (_, Vec<Duration>) = (probe::cpu(&pids), Vec::new());
    let mut answer = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        answer.clear();
        call(&mut connection, &request, |bytes| answer.extend_from_slice(bytes))?;
        taken.push(began.elapsed());
    }
    let cpu = probe::cpu(&pids) - cpu;
    let answer = pb::RangeResponse::decode(answer.get(5..).context("an answer")?)?;
    ensure!(answer.kvs.len() == keys, "{} keys of {keys} came", answer.kvs.len());
    let p50_ms = Latencies::new(taken).percentile(50);
    Ok(Measured { p50_ms, cpu_ms: cpu.as_secs_f64() * 1e3 / times as f64, memory_mib: probe::memory(&pids) })
}

const COLUMNS: &[Column<Measured>] = &[
    ("p50 ms", |measured| measured.p50_ms),
    ("server cpu ms", |measured| measured.cpu_ms),
    ("memory MiB", |measured| measured.memory_mib),
];

/// The rounds, small answers before large ones.
pub(super) fn run(pair: &mut Pair) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(1)?;
    for (keys, times) in SIZES {
        let prefix = format!("/bench/{keys}/");
        fill(&ours, &prefix, keys)?;
        fill(&etcd, &prefix, keys).context("etcd")?;
        let (mut of_ours, mut of_etcd) = (Vec::new(), Vec::new());
        for round in 0..pair.rounds() {
            pair.note(round);
            of_ours.push(measure(&ours, &prefix, keys, times)?);
            of_etcd.push(measure(&etcd, &prefix, keys, times).context("etcd")?);
        }
        pair.rows(&format!("range of {keys} keys"), COLUMNS, &of_ours, &of_etcd);
    }
    Ok(())
}
