//! More connections, calls, watches and leases than anybody needs.

use std::net::TcpStream;
use std::time::Instant;

use futures_util::{StreamExt, stream};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;

use super::h2::{RST_STREAM, Wire};
use super::{Victim, channel, put};
use crate::member::Member;
use crate::process::PATIENCE;

const REFUSED_STREAM: u32 = 7;

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_and_the_store_keeps_its_files() {
    let mut member = Member::new();
    member.files = Some(300);
    let flags = member.flags("http");
    member.start(&flags);
    let victim = Victim::of(member);
    // 150 are taken; others wait for the kernel.
    let flood: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect(("127.0.0.1", victim.port())).expect("connects")).collect();
    let open = std::fs::read_dir(format!("/proc/{}/fd", victim.member.pid())).expect("it runs").count();
    assert!(open < 250, "{open} of 300 files are open");
    // Whoever says nothing has to leave: the next one gets in although nobody went by himself.
    let begun = Instant::now();
    let served = async { KvClient::new(channel(victim.port()).await).put(put("k", "v")).await };
    tokio::time::timeout(2 * PATIENCE, served).await.expect("in time").expect("served");
    eprintln!("served after {:?}", begun.elapsed());
    drop(flood);
    victim.stood(48);
}

#[test]
fn calls_beyond_the_limit_are_refused_and_those_before_go_on() {
    let victim = Victim::new(&["--max-concurrent-streams=100"]);
    // A watch of the key `bystander`.
    let watch = [0, 0, 0, 0, 13, 0x0a, 11, 0x0a, 9, b'b', b'y', b's', b't', b'a', b'n', b'd', b'e', b'r'];
    let mut wire = Wire::new(victim.port());
    for number in 0..300 {
        assert!(wire.begin(2 * number + 1, "/etcdserverpb.Watch/Watch", &watch));
    }
    let (mut refused, mut heard) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    while refused.len() < 200 || heard.len() < 100 {
        let arrived = wire.next().expect("the connection goes on");
        match arrived.kind {
            RST_STREAM if arrived.payload == REFUSED_STREAM.to_be_bytes() => {
                refused.insert(arrived.stream);
            }
            0 if !arrived.payload.is_empty() => {
                heard.insert(arrived.stream);
            }
            _ => {}
        }
    }
    assert!(heard.iter().all(|stream| *stream < 200) && refused.iter().all(|stream| *stream > 200));
    victim.stood(48);
}

fn watch(key: String) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest { key: key.into(), ..pb::WatchCreateRequest::default() };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_nobody_cancels_cost_little_each() {
    const MANY: usize = 20_000;
    let victim = Victim::new(&[]);
    let mut watches = WatchClient::new(channel(victim.port()).await);
    let requests = stream::iter((0..MANY).map(|number| watch(format!("w{number}")))).chain(stream::pending());
    let mut answers = watches.watch(requests).await.expect("answered").into_inner();
    for _ in 0..MANY {
        let answer = answers.message().await.expect("goes on").expect("an answer");
        assert!(answer.created && !answer.canceled, "{answer:?}");
    }
    eprintln!("{MANY} watches: {} MiB", victim.grown() >> 20);
    drop(answers);
    victim.stood(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_that_nobody_revokes_cost_little_each() {
    const MANY: i64 = 8000;
    let victim = Victim::new(&[]);
    let leases = LeaseClient::new(channel(victim.port()).await);
    let begun = Instant::now();
    let grants = (0..200).map(|client| {
        let mut leases = leases.clone();
        async move {
            for number in 0..MANY / 200 {
                let request = pb::LeaseGrantRequest { ttl: 3600, id: 1 + client * 1000 + number };
                leases.lease_grant(request).await.expect("granted");
            }
        }
    });
    futures_util::future::join_all(grants).await;
    eprintln!("{MANY} leases: {} MiB, {:?}", victim.grown() >> 20, begun.elapsed());
    victim.stood(96);
}
