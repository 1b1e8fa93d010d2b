//! What is left of a lease when another member leads.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::lease_client::LeaseClient;
use store::Store;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{PATIENCE, founders, leadership, open_all, voters};

async fn client(store: &Store) -> LeaseClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    store.serve_etcd(listener, None, store::etcd::Options::default());
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    LeaseClient::new(endpoint.connect().await.expect("it listens"))
}

/// Seconds that are left.
async fn left(leases: &mut LeaseClient<Channel>, id: i64) -> i64 {
    let request = pb::LeaseTimeToLiveRequest { id, keys: false };
    leases.lease_time_to_live(request).await.expect("answered").into_inner().ttl
}

async fn renew(leases: &mut LeaseClient<Channel>, id: i64) -> i64 {
    let requests = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
    let mut answers = leases.lease_keep_alive(requests).await.expect("answered").into_inner();
    answers.message().await.expect("goes on").expect("an answer").ttl
}

/// Another one leads; answers its place.
async fn hand_over(stores: &[Store]) -> usize {
    let leader = leadership(&stores[0], |held| held.leader.is_some()).await.leader.expect("one");
    let from = stores.iter().position(|store| store.id() == leader).expect("one of them");
    let to = (from + 1) % stores.len();
    stores[from].transfer_leader(stores[to].id()).await.expect("handed over");
    leadership(&stores[to], |held| held.acting).await;
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_lease_outlives_its_leader_and_a_renewed_one_has_all_again() {
    const TTL: i64 = 30;
    let stores = open_all(&founders(&["a", "b", "c"])).await;
    voters(&stores[0], 3).await;
    let mut leases = client(&stores[0]).await;
    for id in [1, 2] {
        leases.lease_grant(pb::LeaseGrantRequest { ttl: TTL, id }).await.expect("granted");
    }
    // Clients renew after a third; what is left of leases that were not is noted a little later.
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let waned = async {
        while left(&mut leases, 1).await > TTL - 14 {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waned).await.expect("it counts down");
    assert_eq!(renew(&mut leases, 2).await, TTL);
    hand_over(&stores).await;
    let rest = left(&mut leases, 1).await;
    assert!((1..TTL - 11).contains(&rest), "{rest} s of {TTL} are left under another leader");
    let renewed = left(&mut leases, 2).await;
    assert!((TTL - 10..=TTL).contains(&renewed), "{renewed} s of {TTL} are left of what was renewed");
    // What was noted is taken back: the next leader does not end early what was renewed.
    assert_eq!(renew(&mut leases, 1).await, TTL);
    hand_over(&stores).await;
    let renewed = left(&mut leases, 1).await;
    assert!((TTL - 10..=TTL).contains(&renewed), "{renewed} s of {TTL} are left after it was renewed");
    for store in stores {
        store.shutdown().await;
    }
}
