//! Clients that rather fail than go on without a leader.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use store::Store;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::cluster::{PATIENCE, open, place, voters};

async fn channel(store: &Store) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    store.serve_etcd(listener, None, store::etcd::Options::default());
    Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await.expect("it listens")
}

fn demanding<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", "true".parse().expect("ascii"));
    request
}

fn watches() -> impl futures_util::Stream<Item = pb::WatchRequest> {
    let create = pb::WatchCreateRequest { key: "a".into(), ..pb::WatchCreateRequest::default() };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The client has more to say, some day.
    futures_util::StreamExt::chain(futures_util::stream::iter([request]), futures_util::stream::pending())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_want_a_leader_end_without_one_and_others_go_on() {
    let first = place("a", &[]);
    let second = place("b", &[&first]);
    let stores = [open(&first).await, open(&second).await];
    for store in &stores {
        voters(store, 2).await;
    }
    let channel = channel(&stores[1]).await;
    let (mut watch, mut kv) = (WatchClient::new(channel.clone()), KvClient::new(channel));
    let mut demands = watch.watch(demanding(watches())).await.expect("answered").into_inner();
    let mut modest = watch.watch(watches()).await.expect("answered").into_inner();
    for stream in [&mut demands, &mut modest] {
        assert!(stream.message().await.expect("goes on").expect("goes on").created);
    }
    stores[0].shutdown().await;
    let ended =
        tokio::time::timeout(PATIENCE, demands.message()).await.expect("in time").expect_err("there is no leader");
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: no leader"));
    let range = pb::RangeRequest { key: "a".into(), serializable: true, ..pb::RangeRequest::default() };
    let refused = kv.range(demanding(range.clone())).await.expect_err("there is no leader");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    kv.range(range).await.expect("what this member has");
    assert!(futures_util::FutureExt::now_or_never(modest.message()).is_none(), "it did not ask for a leader");
    stores[1].shutdown().await;
}
