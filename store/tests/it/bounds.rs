//! What one client can take of a member, and what others still get.

use futures_util::{StreamExt, stream};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use store::etcd::Options;
use store::{Store, listener};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{PATIENCE, open, place, put};

async fn serve(store: &Store, options: Options) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    store.serve_etcd(listener, None, options);
    Endpoint::from_shared(format!("http://{address}")).expect("an address")
}

/// Watches of a client, which end with it.
type Held = (tonic::Streaming<pb::WatchResponse>, oneshot::Sender<()>);

/// A stream of so many watches; why those that are not created are refused.
async fn watches(channel: Channel, count: usize) -> (Held, Vec<String>) {
    let create = |number| {
        let create = pb::WatchCreateRequest { key: format!("k{number}").into(), ..pb::WatchCreateRequest::default() };
        pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    };
    let (end, ended) = oneshot::channel();
    let requests = stream::iter((0..count).map(create)).chain(stream::pending()).take_until(ended);
    let mut answers = WatchClient::new(channel).watch(requests).await.expect("answered").into_inner();
    let mut refused = Vec::new();
    for _ in 0..count {
        let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
        let answer = answer.expect("goes on").expect("an answer");
        assert!(answer.created);
        refused.extend(answer.canceled.then_some(answer.cancel_reason));
    }
    ((answers, end), refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_has_no_more_watches_and_leases_than_there_may_be_and_others_have_some() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let endpoint = serve(&store, Options { watches_max: 1500, leases_max: 3, ..Options::default() }).await;
    let channel = endpoint.connect().await.expect("it listens");
    let (held, refused) = watches(channel.clone(), 1600).await;
    assert_eq!((refused.len(), refused[0].as_str()), (100, "etcdserver: too many watches"));
    let (others, refused) = watches(endpoint.connect().await.expect("it listens"), 900).await;
    assert!(refused.is_empty(), "who has few gets some");
    drop((held, others));
    let all_again = async {
        while !watches(channel.clone(), 1400).await.1.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_again).await.expect("those of clients that have gone are gone");

    let mut leases = LeaseClient::new(channel);
    let grant = |id| pb::LeaseGrantRequest { ttl: 60, id };
    for id in 1..=3 {
        leases.lease_grant(grant(id)).await.expect("granted");
    }
    let refused = leases.lease_grant(grant(4)).await.expect_err("one too many");
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "etcdserver: too many leases"));
    leases.lease_revoke(pb::LeaseRevokeRequest { id: 1 }).await.expect("revoked");
    leases.lease_grant(grant(4)).await.expect("there is room again");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_the_limit_waits_until_another_one_ends() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let limits = listener::Limits { connections_max: 2, ..listener::Limits::default() };
    let endpoint = serve(&store, Options { limits, ..Options::default() }).await;
    let (one, two) = (endpoint.connect().await.expect("served"), endpoint.connect().await.expect("served"));
    let leases = |channel| async move {
        LeaseClient::new(channel).lease_leases(pb::LeaseLeasesRequest {}).await.expect("answered");
    };
    tokio::join!(leases(one.clone()), leases(two.clone()));
    let third = async { leases(endpoint.connect().await.expect("in the end")).await };
    tokio::pin!(third);
    tokio::select! {
        () = &mut third => panic!("two are served"),
        () = leases(one.clone()) => {}
    }
    drop(one);
    tokio::time::timeout(PATIENCE, third).await.expect("served once another one has gone");
    drop(two);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_not_read_is_whole_when_it_is_read_at_last() {
    const EVENTS: usize = 60;
    let place = place("a", &[]);
    let store = open(&place).await;
    let endpoint = serve(&store, Options::default()).await.initial_stream_window_size(64 << 10);
    let ((mut answers, _end), _) = watches(endpoint.connect().await.expect("it listens"), 1).await;
    let value = "v".repeat(400_000);
    for _ in 0..EVENTS {
        store.txn(0, put("k0", &value)).await.expect("written");
    }
    let mut revisions = Vec::new();
    while revisions.len() < EVENTS {
        let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
        let events = answer.expect("goes on").expect("an answer").events;
        revisions.extend(events.iter().map(|event| event.kv.as_ref().expect("a key").mod_revision));
    }
    assert_eq!(revisions, (2..).take(EVENTS).collect::<Vec<i64>>(), "in order, each once");
    store.shutdown().await;
}
