//! Every put told to a thousand watchers.

use std::collections::HashMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;

use crate::bench::probe;
use crate::bench::store::members::Members;
use crate::bench::store::puts::Work;
use crate::bench::store::wire::{Connection, News};
use crate::bench::store::{Column, Pair};

const CONNECTIONS: usize = 10;
/// On each connection, a stream each.
const WATCHERS: usize = 100;
/// Puts of a round, and how many of them are under way at a time.
const PUTS: usize = 300;
const WRITERS: usize = 16;
/// Watchers that never read: one of a hundred.
const STALLED: usize = 10;
/// The field `events` of a watch's answer, with its wire type.
const EVENTS: u64 = (11 << 3) | 2;

struct Measured {
    rate: f64,
    cpu_us: f64,
    memory_mib: f64,
}

fn request(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    let create = pb::WatchCreateRequest { key: prefix.to_owned().into(), range_end: end.into(), ..Default::default() };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec()
}

/// PURE: how many events an answer holds, without reading them.
fn events(mut message: &[u8]) -> anyhow::Result<usize> {
    let mut count = 0;
    while !message.is_empty() {
        let tag = prost::encoding::decode_varint(&mut message)?;
        count += usize::from(tag == EVENTS);
        let skip = match tag & 7 {
            0 => {
                prost::encoding::decode_varint(&mut message)?;
                0
            }
            2 => usize::try_from(prost::encoding::decode_varint(&mut message)?)?,
            kind => anyhow::bail!("wire type {kind} in a watch's answer"),
        };
        message = message.get(skip..).context("an answer is cut short")?;
    }
    Ok(count)
}

/// Takes whole messages off the front of what came on a stream; how many events they hold, and answers there were.
fn drain(held: &mut Vec<u8>) -> anyhow::Result<(usize, usize)> {
    let (mut at, mut found, mut answers) = (0, 0, 0);
    while let Some(head) = held[at..].first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some(message) = held.get(at + 5..at + 5 + length) else { break };
        found += events(message)?;
        answers += 1;
        at += 5 + length;
    }
    held.drain(..at);
    Ok((found, answers))
}

/// Opens its watches, meets the others, and reads until it has been told of every put. When it had.
fn reader(address: &str, prefix: &str, begun: &Barrier) -> anyhow::Result<Instant> {
    let mut connection = Connection::open(address, "/etcdserverpb.Watch/Watch")?;
    let mut streams: HashMap<u32, Vec<u8>> = HashMap::new();
    for _ in 0..WATCHERS {
        streams.insert(connection.begin(&request(prefix)), Vec::new());
    }
    connection.flush()?;
    let (mut told, mut answers, mut met) = (0, 0, false);
    while told < WATCHERS * PUTS {
        if !met && answers >= WATCHERS {
            begun.wait();
            met = true;
        }
        let mut touched = Vec::new();
        connection.read(|stream, news| {
            if let (News::Part(bytes), Some(held)) = (news, streams.get_mut(&stream)) {
                held.extend_from_slice(bytes);
                touched.push(stream);
            }
        })?;
        connection.flush()?;
        for stream in touched {
            let (events, more) = drain(streams.get_mut(&stream).context("a stream of ours")?)?;
            told += events;
            answers += more;
        }
    }
    Ok(Instant::now())
}

fn measure(members: &Members, prefix: &str, stalled: usize) -> anyhow::Result<Measured> {
    let (pids, address) = (members.pids(), members.addresses()[0].clone());
    let mut idle = Connection::open(&address, "/etcdserverpb.Watch/Watch")?;
    for _ in 0..stalled {
        idle.begin(&request(prefix));
    }
    idle.flush()?;
    let begun = Barrier::new(CONNECTIONS + 1);
    let (cpu, began, ended) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| reader(&address, prefix, &begun))).collect();
        begun.wait();
        let (cpu, began) = (probe::cpu(&pids), Instant::now());
        Work::new(prefix, WRITERS).write(&address, |sent| sent < PUTS)?;
        let mut ended = began;
        for reader in readers {
            ended = ended.max(reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??);
        }
        anyhow::Ok((cpu, began, ended))
    })?;
    drop(idle);
    let (elapsed, cpu): (Duration, _) = (ended - began, probe::cpu(&pids) - cpu);
    ensure!(!elapsed.is_zero(), "nothing was told");
    let deliveries = (CONNECTIONS * WATCHERS * PUTS) as f64;
    Ok(Measured {
        rate: deliveries / elapsed.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / deliveries,
        memory_mib: probe::memory(&pids),
    })
}

const COLUMNS: &[Column<Measured>] = &[
    ("events told/s", |measured| measured.rate),
    ("server cpu us/event", |measured| measured.cpu_us),
    ("memory MiB", |measured| measured.memory_mib),
];

/// Without and with so many stalled watchers, in turn and back again: what grows slower or faster with time is the same
/// for both.
fn both_ways(members: &Members, round: u32, stalled: [usize; 2]) -> anyhow::Result<[Measured; 2]> {
    let measured = |turn: usize, at: usize| measure(members, &format!("/watched/{round}/{turn}/"), stalled[at]);
    let turns = [measured(0, 0)?, measured(1, 1)?, measured(2, 1)?, measured(3, 0)?];
    let mean = |one: &Measured, other: &Measured| Measured {
        rate: 2.0 / (1.0 / one.rate + 1.0 / other.rate),
        cpu_us: f64::midpoint(one.cpu_us, other.cpu_us),
        memory_mib: one.memory_mib.max(other.memory_mib),
    };
    Ok([mean(&turns[0], &turns[3]), mean(&turns[1], &turns[2])])
}

/// The rounds, each without stalled watchers and with them, so that both meet the same machine.
pub(super) fn run(pair: &mut Pair) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(1)?;
    let cases = [("1000 watchers", 0), ("1000 and 10 stalled", STALLED)];
    // For each case, the rounds of ours and of etcd's.
    let mut rounds = cases.map(|_| (Vec::new(), Vec::new()));
    for round in 0..pair.rounds() {
        pair.note(round);
        let of_ours = both_ways(&ours, round, cases.map(|(_, stalled)| stalled))?;
        let of_etcd = both_ways(&etcd, round, cases.map(|(_, stalled)| stalled)).context("etcd")?;
        for (held, (of_ours, of_etcd)) in rounds.iter_mut().zip(of_ours.into_iter().zip(of_etcd)) {
            held.0.push(of_ours);
            held.1.push(of_etcd);
        }
    }
    for ((case, _), (of_ours, of_etcd)) in cases.iter().zip(&rounds) {
        pair.rows(case, COLUMNS, of_ours, of_etcd);
    }
    let [alone, beside] = rounds;
    let kept = |alone: &[Measured], beside: &[Measured]| {
        alone.iter().zip(beside).map(|(alone, beside)| beside.rate / alone.rate).collect()
    };
    pair.row(cases[1].0, "rate without them, share", kept(&alone.0, &beside.0), kept(&alone.1, &beside.1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::mvccpb::{Event, KeyValue};

    #[test]
    fn events_are_counted_across_pieces() {
        let event = || Event { kv: Some(KeyValue { key: "k".into(), ..Default::default() }), ..Default::default() };
        let answer = pb::WatchResponse { watch_id: 300, events: vec![event(), event()], ..Default::default() };
        let mut bytes = vec![0];
        let message = answer.encode_to_vec();
        bytes.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
        bytes.extend(message);
        let mut held = bytes[..7].to_vec();
        assert_eq!(drain(&mut held).expect("well formed"), (0, 0));
        held.extend_from_slice(&bytes[7..]);
        held.extend_from_slice(&bytes);
        assert_eq!(drain(&mut held).expect("well formed"), (4, 2));
        assert!(held.is_empty());
    }
}
