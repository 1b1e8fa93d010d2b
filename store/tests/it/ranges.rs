//! Ranges that are too large to be put together, over the wire.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use store::Store;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{open, place, put};

async fn client(store: &Store) -> KvClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    store.serve_etcd(listener, None, store::etcd::Options::default());
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    KvClient::new(endpoint.connect().await.expect("it listens")).max_decoding_message_size(usize::MAX)
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..pb::RangeRequest::default() }
}

/// Keys with their first letter, which tells values apart.
fn shown(answer: &pb::RangeResponse) -> Vec<(String, Option<u8>)> {
    let text = |kv: &proto::mvccpb::KeyValue| String::from_utf8(kv.key.to_vec()).expect("text");
    answer.kvs.iter().map(|kv| (text(kv), kv.value.first().copied())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_range_is_whole_however_it_is_asked_for() {
    const KEYS: usize = 1500;
    let place = place("a", &[]);
    let store = open(&place).await;
    for letter in ["x", "y"] {
        let value = letter.repeat(1000);
        let txns = (0..KEYS).map(|number| put(&format!("k{number:04}"), &value)).collect();
        store.txn_batch(0, txns).await.expect("written");
    }
    let mut kv = client(&store).await;
    let expected = |letter: u8, count: usize| -> Vec<(String, Option<u8>)> {
        (0..count).map(|number| (format!("k{number:04}"), Some(letter))).collect()
    };
    let whole = kv.range(all()).await.expect("answered").into_inner();
    assert_eq!((whole.count, whole.more, shown(&whole)), (1500, false, expected(b'y', KEYS)));
    assert_eq!(whole.header.expect("a header").revision, store.revision());
    let part = kv.range(pb::RangeRequest { limit: 1400, ..all() }).await.expect("answered").into_inner();
    assert_eq!((part.count, part.more, shown(&part)), (1500, true, expected(b'y', 1400)));
    let revision = 1 + KEYS as i64;
    let past = kv.range(pb::RangeRequest { revision, ..all() }).await.expect("answered").into_inner();
    assert_eq!((past.count, shown(&past)), (1500, expected(b'x', KEYS)));
    let keys = kv.range(pb::RangeRequest { keys_only: true, ..all() }).await.expect("answered").into_inner();
    assert!(keys.kvs.iter().all(|kv| kv.value.is_empty() && kv.version == 2) && keys.kvs.len() == KEYS);
    let sorted = pb::RangeRequest { sort_order: 2, sort_target: 3, limit: 2, ..all() };
    let sorted = kv.range(sorted).await.expect("answered").into_inner();
    assert_eq!((sorted.count, shown(&sorted)[0].0.as_str()), (1500, "k1499"));

    let mut chunks = kv.range_stream(all()).await.expect("answered").into_inner();
    let (mut streamed, mut headers, mut chunk_count) = (Vec::new(), 0, 0);
    while let Some(chunk) = chunks.message().await.expect("whole") {
        let chunk = chunk.range_response.expect("a chunk");
        headers += usize::from(chunk.header.is_some());
        chunk_count += 1;
        streamed.extend(shown(&chunk));
    }
    assert_eq!((streamed, headers), (expected(b'y', KEYS), 1));
    assert!(chunk_count > 2, "it was cut");
    store.shutdown().await;
}
