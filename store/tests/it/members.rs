//! Several members: joining, forwarding, losing the leader, snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store::config::{PEER_NAME, PeerTls, Transport};
use store::{Error, Store};

use crate::cluster::{PATIENCE, Place, caught_up, get, leadership, open, place, put, tls_for, voters, wrote};

async fn three() -> (Vec<Place>, Vec<Store>) {
    let first = place("a", &[]);
    let second = place("b", &[&first]);
    let third = place("c", &[&first, &second]);
    let mut stores = vec![open(&first).await];
    for place in [&second, &third] {
        stores.push(open(place).await);
    }
    for store in &stores {
        voters(store, 3).await;
    }
    (vec![first, second, third], stores)
}

async fn close(stores: Vec<Store>) {
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_member_takes_writes_and_reads_what_others_wrote() {
    let (_places, stores) = three().await;
    for (number, store) in stores.iter().enumerate() {
        wrote(store, "k", &number.to_string(), "written").await;
        for reader in &stores {
            assert_eq!(get(reader, "k").await, Some(number.to_string()));
        }
    }
    let revision = stores[0].revision();
    let state = stores[0].hash(revision).await.expect("hashed");
    for store in &stores[1..] {
        assert_eq!(store.hash(revision).await.expect("hashed"), state);
    }
    assert!(stores.iter().all(|store| store.differing().is_empty()));
    close(stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_goes_and_nothing_acknowledged_is_lost() {
    let (places, mut stores) = three().await;
    let leader = leadership(&stores[0], |held| held.leader.is_some()).await;
    let at = stores.iter().position(|store| Some(store.id()) == leader.leader).expect("one of them leads");
    let gone = stores.remove(at);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for (number, store) in stores.iter().cloned().enumerate() {
        let acknowledged = acknowledged.clone();
        writers.spawn(async move {
            let mut done = Vec::new();
            for index in 0..200 {
                let key = format!("{number}/{index}");
                match store.txn(0, put(&key, "v")).await {
                    Ok(_) => done.push(key),
                    Err(Error::Unknown | Error::NoLeader) => {}
                    Err(error) => panic!("{error}"),
                }
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            done
        });
    }
    while acknowledged.load(Ordering::Relaxed) < 50 {
        tokio::task::yield_now().await;
    }
    gone.shutdown().await;
    drop(gone);
    let kept: Vec<String> = writers.join_all().await.into_iter().flatten().collect();
    assert!(kept.len() > 300, "{} of 400 writes were acknowledged", kept.len());
    let back = open(&places[at]).await;
    stores.push(back);
    for store in &stores {
        caught_up(store).await;
        let view = store.view();
        assert!(kept.iter().all(|key| view.get(key.as_bytes()).is_some()), "an acknowledged write is gone");
    }
    close(stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_member_is_brought_up_by_a_snapshot() {
    let mut first = place("a", &[]);
    first.config.snapshot_entries = 200;
    let store = open(&first).await;
    for index in 0..600 {
        wrote(&store, &format!("k{index}"), "v", "written").await;
    }
    let second = place("b", &[&first]);
    let late = open(&second).await;
    voters(&late, 2).await;
    caught_up(&late).await;
    assert_eq!(late.view().range(b"k", b"l").count(), 600);
    wrote(&late, "k0", "w", "written").await;
    assert_eq!(get(&store, "k0").await.as_deref(), Some("w"));
    close(vec![late, store]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_on_request_and_a_removed_member_is_gone() {
    let (_places, stores) = three().await;
    let held = leadership(&stores[0], |held| held.leader.is_some()).await;
    let to = stores.iter().find(|store| Some(store.id()) != held.leader).expect("two follow");
    tokio::time::timeout(PATIENCE, to.transfer_leader(to.id())).await.expect("in time").expect("transferred");
    let moved = leadership(to, |held| held.acting).await;
    assert!(moved.epoch > held.epoch);
    let removed = stores.iter().find(|store| store.id() != to.id()).expect("two follow");
    to.member_remove(removed.id()).await.expect("removed");
    assert_eq!(to.members().len(), 2);
    wrote(to, "k", "v", "two of two write").await;
    assert!(to.member_remove(12345).await.is_err_and(|error| error.to_string().contains("does not belong")));
    close(stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_certificate_for_members_lets_in() {
    let first = place("a", &[]);
    let store = open(&first).await;
    let foreign = rcgen::generate_simple_self_signed(vec![PEER_NAME.to_owned()]).expect("a certificate");
    let foreign =
        PeerTls { cert_pem: foreign.cert.pem(), key_pem: foreign.signing_key.serialize_pem(), ..tls_for(PEER_NAME) };
    // The second is a user's certificate of the same authority.
    for tls in [foreign, tls_for("admin")] {
        let mut stranger = place("b", &[&first]);
        stranger.config.transport = Transport::Members(tls);
        let opened = tokio::time::timeout(Duration::from_secs(2), Store::open(stranger.config.clone())).await;
        assert!(opened.is_err(), "it keeps asking in vain");
        assert_eq!(store.members().len(), 1);
    }
    store.shutdown().await;
}
