//! An etcd's data in and a store's data out: what arrives is what was there, revision by revision.
//!
//! Real etcds are asked where there is one: `ETCD_BIN`, else `etcd` on the path. A recorded snapshot is always there.

mod peer;
mod reached;
mod recorded;

use std::collections::BTreeMap;

use proto::mvccpb::KeyValue;
use store::Store;
use store::etcd::Options;
use store::moving::{self, Export, Import, Moved, Origin, Problem, Progress};
use tokio::net::TcpListener;

use crate::cluster::{Place, founders, open};
use peer::{Etcd, Peer};

async fn import(origin: Origin, place: &Place) -> Result<Moved, Problem> {
    let asked = Import { origin, data_dir: place.config.data_dir.clone(), encryption: place.config.encryption.clone() };
    moving::import(asked, Progress::new(|_| {})).await
}

fn exporting(from: &Peer, to: &Peer) -> Export {
    Export {
        from: from.access(),
        to: to.access(),
        without_history: false,
        force: false,
        fill_max: 10_000,
        ops_max: 128,
    }
}

async fn export(asked: Export) -> Result<Moved, Problem> {
    moving::export(asked, Progress::new(|_| {})).await
}

/// Serves clients of a store, as whoever is logged in with a peer.
async fn served(store: &Store, like: &Peer) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    store.serve_etcd(listener, None, Options::default());
    Peer::at(&endpoint, like.user.clone()).await
}

/// Keys by name at a revision.
type State = BTreeMap<Vec<u8>, KeyValue>;

/// Everything a client can find out of both must be the same.
async fn same(one: &Peer, other: &Peer) {
    let (first, last) = one.readable().await;
    assert_eq!(other.readable().await, (first, last), "the revisions that can be read");
    for revision in first..=last {
        let (here, there): (State, State) = (one.state(revision).await, other.state(revision).await);
        assert_eq!(here, there, "revision {revision}");
    }
    assert_eq!(one.events(first + 1, last).await, other.events(first + 1, last).await, "what a watch tells");
    assert_eq!(one.leases().await, other.leases().await);
    assert_eq!(one.users().await, other.users().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_moves_here_and_to_another_etcd_and_is_the_same_revision_by_revision() {
    let Some(etcd) = Etcd::start().await else { return };
    let old = etcd.peer().await;
    peer::fill(&old).await;
    peer::lock(&etcd).await;
    let old = old.logged_in("root", "secret").await;

    let places = founders(&["a"]);
    let moved = import(Origin::Etcd(Box::new(old.access())), &places[0]).await.expect("imported");
    let told = moved.lines.join("\n");
    for line in ["HashKV", "changes, as a watch gives them", "keys at revision", "authentication is on"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let store = open(&places[0]).await;
    let ours = served(&store, &old).await;
    same(&old, &ours).await;
    assert!(ours.nobody().await.refused().await, "whoever does not say who it is is refused, as before");
    assert!(ours.nobody().await.lets_in("reader", "word").await, "passwords go on as they were");
    assert!(!ours.nobody().await.lets_in("reader", "secret").await);

    let Some(next) = Etcd::start().await else { return };
    let new = next.peer().await;
    let moved = export(exporting(&ours, &new)).await.expect("exported");
    let told = moved.lines.join("\n");
    assert!(told.contains("are the same at the same revisions") && told.contains("authentication is on"), "{told}");
    let new = new.logged_in("root", "secret").await;
    same(&ours, &new).await;
    same(&old, &new).await;
    assert!(new.nobody().await.lets_in("reader", "word").await);

    // It goes on where the old one was.
    let last = ours.readable().await.1;
    assert_eq!(ours.put("after", "1").await, last + 1);
    assert_eq!(new.put("after", "1").await, last + 1);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_join_what_was_imported_and_hold_the_same() {
    let Some(etcd) = Etcd::start().await else { return };
    let old = etcd.peer().await;
    peer::fill(&old).await;
    let places = founders(&["a"]);
    import(Origin::Etcd(Box::new(old.access())), &places[0]).await.expect("imported");
    let store = open(&places[0]).await;
    let (second, joined) = peer::joined(&store, &places[0]).await;
    let ours = served(&joined, &old).await;
    same(&old, &ours).await;
    assert_eq!(store.hash(0).await.expect("hashed"), joined.hash(0).await.expect("hashed"));
    joined.shutdown().await;
    store.shutdown().await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_new_is_filled_and_keys_alone_go_where_history_cannot() {
    let Some(etcd) = Etcd::start().await else { return };
    let old = etcd.peer().await;
    peer::fill(&old).await;
    let Some(next) = Etcd::start().await else { return };
    let new = next.peer().await;
    new.put("theirs", "1").await;
    let refused = export(exporting(&old, &new)).await.expect_err("it is in use").to_string();
    assert!(refused.contains("is at revision 2 with 1 keys") && refused.contains("--force"), "{refused}");
    let few = Export { fill_max: 1, force: true, ..exporting(&old, &new) };
    let refused = export(few.clone()).await.expect_err("too much is compacted").to_string();
    assert!(refused.contains("--fill-max") && refused.contains("etcdutl snapshot restore"), "{refused}");
    let moved = export(Export { without_history: true, ..few }).await.expect("exported");
    assert!(moved.lines.iter().any(|line| line.contains("keys have the same values and leases")), "{moved:?}");
    let (mut here, mut there) = (old.state(0).await, new.state(0).await);
    assert!(there.remove(&b"theirs"[..]).is_some(), "what was there stays");
    for kv in here.values_mut().chain(there.values_mut()) {
        (kv.mod_revision, kv.create_revision, kv.version) = (0, 0, 0);
    }
    assert_eq!(here, there);
}
