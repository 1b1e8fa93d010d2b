//! Transactions whose answers are far larger than what they ask with.

use http_body_util::BodyExt;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request as Op;
use tonic::Code;

use super::h2::{Wire, message};
use super::ranges::{KEYS, VALUE_BYTES, all, fill};
use super::{Victim, call, channel, put};
use crate::process::PATIENCE;

const TXN: &str = "/etcdserverpb.KV/Txn";

fn txn(ops: Vec<Op>) -> pb::TxnRequest {
    let success = ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
    pb::TxnRequest { success, ..pb::TxnRequest::default() }
}

fn some(limit: i64) -> Op {
    Op::RequestRange(pb::RangeRequest { limit, ..all(false) })
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_would_answer_gigabytes_are_refused_and_have_not_happened() {
    let victim = Victim::new(&[]);
    fill(&victim).await;
    eprintln!("filled: {} MiB", victim.grown() >> 20);
    let channel = channel(victim.port()).await;
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);

    let everything = || vec![some(0); 100];
    let written = |rest: Vec<Op>| [vec![Op::RequestPut(put("hostile", "v"))], rest].concat();
    let delete =
        Op::RequestDeleteRange(pb::DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: true });
    for (what, ops) in [
        ("what reads 21 GB", everything()),
        ("what writes and reads 21 GB", written(everything())),
        ("one nested", written(vec![Op::RequestTxn(txn(everything()[..90].to_vec()))])),
        ("what its own puts make large", {
            let own = Op::RequestRange(pb::RangeRequest { key: "own".into(), ..pb::RangeRequest::default() });
            [vec![Op::RequestPut(put("own", vec![1; 1_400_000]))], vec![own; 100]].concat()
        }),
        ("a deletion that tells", vec![delete]),
    ] {
        let asked = (0..4).map(|_| {
            let (mut kv, txn) = (kv.clone(), txn(ops.clone()));
            async move { kv.txn(txn).await }
        });
        for refused in futures_util::future::join_all(asked).await {
            let refused = refused.err().unwrap_or_else(|| panic!("{what} is refused"));
            assert_eq!(refused.code(), Code::ResourceExhausted, "{what}: {refused}");
            assert!(refused.message().contains("nothing was done"), "{what}: {refused}");
        }
        eprintln!("{what}: {} MiB", victim.grown() >> 20);
    }
    let count = |key: &'static str, range_end: &'static str| pb::RangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        count_only: true,
        ..pb::RangeRequest::default()
    };
    for (key, range_end, wanted) in [("hostile", "", 0), ("own", "", 0), ("k", "l", KEYS as i64)] {
        let found = kv.range(count(key, range_end)).await.expect("answered").into_inner();
        assert_eq!(found.count, wanted, "{key}");
    }

    // Within the bound: forty that nobody reads, then one that is read.
    let unread = txn(written(vec![some(30)])).encode_to_vec();
    let mut deaf = Wire::new(victim.port());
    for number in 0..40 {
        deaf.ask(2 * number + 1, TXN, &message(&unread));
    }
    let body = http_body_util::Full::new(bytes::Bytes::from(message(&unread)));
    let read = async {
        let answer = call(channel, TXN, tonic::body::Body::new(body)).await;
        answer.into_body().collect().await.expect("whole")
    };
    let read = tokio::time::timeout(4 * PATIENCE, read).await.expect("in time").to_bytes();
    let answer = pb::TxnResponse::decode(&read[5..]).expect("one message");
    let found = match &answer.responses[1].response {
        Some(pb::response_op::Response::ResponseRange(range)) => range,
        other => panic!("{other:?}"),
    };
    assert!(found.kvs.len() == 30 && found.more && found.kvs.iter().all(|kv| kv.value.len() == VALUE_BYTES));
    eprintln!("forty unread: {} MiB", victim.grown() >> 20);
    victim.stood(900);
}
