//! Readers that take much, or take it slowly, or not at all.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;

use super::h2::{DATA, Wire, message};
use super::{Victim, call, channel, put};
use crate::process::PATIENCE;

pub(super) const VALUE_BYTES: usize = 1_400_000;
pub(super) const KEYS: usize = 150;

pub(super) fn all(sorted: bool) -> pb::RangeRequest {
    let (sort_order, sort_target) = if sorted { (2, 2) } else { (0, 0) };
    pb::RangeRequest { key: "k".into(), range_end: "l".into(), sort_order, sort_target, ..pb::RangeRequest::default() }
}

/// Fills it with 210 MB.
pub(super) async fn fill(victim: &Victim) {
    let kv = KvClient::new(channel(victim.port()).await);
    for first in (0..KEYS).step_by(5) {
        let puts = (first..first + 5).map(|number| {
            let mut kv = kv.clone();
            // No two bytes in a row are what compression finds.
            let value: Vec<u8> = (0..VALUE_BYTES as u64)
                .map(|at| ((at + number as u64 * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
                .collect();
            async move { kv.put(put(&format!("k{number:03}"), value)).await.map(|_| ()) }
        });
        for written in futures_util::future::join_all(puts).await {
            written.expect("written");
        }
    }
}

/// Takes an answer as it comes, without keeping it; answers its length.
async fn take(port: u16, request: pb::RangeRequest) -> usize {
    let body = http_body_util::Full::new(bytes::Bytes::from(message(&request.encode_to_vec())));
    let answer = call(channel(port).await, "/etcdserverpb.KV/Range", tonic::body::Body::new(body)).await;
    let mut body = answer.into_body();
    let mut taken = 0;
    while let Some(frame) = body.frame().await {
        taken += frame.expect("it goes on").data_ref().map_or(0, bytes::Bytes::len);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_readers_of_all_and_some_that_never_read_neither_fill_memory_nor_stop_writers() {
    let victim = Victim::new(&[]);
    // A watch that is never read, over a window as large as there is, of everything that is about to be written.
    let create = pb::WatchCreateRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
    let watch = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let mut deaf = Wire::new(victim.port());
    assert!(deaf.begin(1, "/etcdserverpb.Watch/Watch", &message(&watch.encode_to_vec())));
    fill(&victim).await;
    eprintln!("filled: {} MiB", victim.grown() >> 20);
    // From the beginning, as often as a connection may ask.
    let mut greedy = Wire::new(victim.port());
    let create = pb::WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: 1,
        ..Default::default()
    };
    let watch = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    for number in 0..100 {
        greedy.begin(2 * number + 1, "/etcdserverpb.Watch/Watch", &message(&watch.encode_to_vec()));
    }
    // Ranges whose answers are never read, and one that is read at a trickle.
    for number in 0..20 {
        deaf.ask(2 * number + 3, "/etcdserverpb.KV/Range", &message(&all(false).encode_to_vec()));
    }
    let begun = Instant::now();
    let expected = KEYS * VALUE_BYTES;
    let readers = (0..10).map(|_| take(victim.port(), all(false)));
    let taken = tokio::time::timeout(4 * PATIENCE, futures_util::future::join_all(readers)).await.expect("in time");
    assert!(taken.iter().all(|taken| *taken > expected), "{taken:?}");
    eprintln!("ten times 210 MB: {:?}, {} MiB", begun.elapsed(), victim.grown() >> 20);
    // Two that must be put together fill the memory that there is for that, and are not read.
    let mut slow = Wire::new(victim.port());
    for number in 0..2 {
        slow.ask(2 * number + 1, "/etcdserverpb.KV/Range", &message(&all(true).encode_to_vec()));
    }
    while slow.next().expect("an answer begins").kind != DATA {}
    let sorted = tokio::time::timeout(4 * PATIENCE, take(victim.port(), all(true))).await.expect("in time");
    assert!(sorted > expected);
    let slowest = Duration::from_micros(victim.seen.slowest_micros.load(Ordering::Relaxed));
    eprintln!("sorted as well: {:?}, {} MiB; slowest write {slowest:?}", begun.elapsed(), victim.grown() >> 20);
    victim.stood(900);
}
