//! Members of a group one of which holds something else than it applied.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tempfile::TempDir;
use tonic::Code;

use crate::config::{self, Bootstrap, Founder, Transport, Url};
use crate::machine::{Body, Entry};
use crate::{Error, Store};

#[path = "../../tests/it/ports.rs"]
mod ports;
#[path = "../../tests/it/settings.rs"]
mod settings;

use settings::settings;

const PATIENCE: Duration = Duration::from_secs(60);

fn put(key: &str) -> pb::TxnRequest {
    let put = pb::PutRequest { key: key.to_owned().into(), value: "v".into(), ..pb::PutRequest::default() };
    let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
    pb::TxnRequest { success: vec![op], ..pb::TxnRequest::default() }
}

async fn group(count: usize) -> (Vec<Store>, Vec<TempDir>) {
    let members: Vec<Founder> = (0..count)
        .map(|number| Founder { name: format!("m{number}"), peer_urls: vec![Url::http(ports::free())] })
        .collect();
    let dirs: Vec<TempDir> = members.iter().map(|_| tempfile::tempdir().expect("a directory")).collect();
    let config = |(founder, dir): (&Founder, &TempDir)| {
        let begun = Bootstrap::Static { members: members.clone(), token: "t".to_owned() };
        settings(&founder.name, dir.path(), &founder.peer_urls[0], Transport::Urls { tls: None }, begun)
    };
    let opened = futures_util::future::join_all(members.iter().zip(&dirs).map(config).map(Store::open)).await;
    (opened.into_iter().map(|store| store.expect("opens")).collect(), dirs)
}

/// Something in the state that no entry of the log brought.
fn corrupt(store: &Store, key: &str) {
    let request = Some(proto::command::command::Request::Txn(put(key)));
    let body = Body::Command(proto::command::Command { request, ..Default::default() });
    let applied = store.inner.machine.position().applied;
    store.inner.machine.apply(&[Entry { applied, term: 1, body, asked: true }]).expect("applied");
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let held = async {
        while !holds() {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, held).await.is_ok(), "not in time: {what}");
}

async fn leader(stores: &mut Vec<Store>) -> Store {
    let mut news = stores[0].leadership();
    let held = news.wait_for(|held| held.leader.is_some()).await.expect("alive").clone();
    let at = stores.iter().position(|store| Some(store.id()) == held.leader).expect("one of them");
    stores.remove(at)
}

async fn close(stores: Vec<Store>) {
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_differs_serves_nobody_and_gets_its_state_anew() {
    let (mut stores, _dirs) = group(3).await;
    let leading = leader(&mut stores).await;
    let wrong = stores.remove(0);
    leading.txn(0, put("k")).await.expect("written");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    wrong.serve_etcd(listener, None, crate::etcd::Options::default());
    let channel = tonic::transport::Channel::from_shared(address).expect("an address").connect_lazy();
    let range = pb::RangeRequest { key: "k".into(), serializable: true, ..Default::default() };
    KvClient::new(channel.clone()).range(range.clone()).await.expect("all is well");

    corrupt(&wrong, "rogue");
    // What the others have at the same revision is seen once they are there.
    leading.txn(0, put("k")).await.expect("written");
    until("it is noticed", || !wrong.sound()).await;
    let refused = KvClient::new(channel.clone()).range(range.clone()).await.expect_err("it differs");
    assert_eq!((refused.code(), refused.message()), (Code::DataLoss, "etcdserver: corrupt cluster"));
    assert!(matches!(wrong.txn(0, put("k")).await, Err(Error::Corrupt)));
    let list = pb::AlarmRequest::default();
    let alarms = MaintenanceClient::new(channel.clone()).alarm(list).await.expect("served").into_inner().alarms;
    let corrupt = pb::AlarmMember { member_id: wrong.id(), alarm: pb::AlarmType::Corrupt.into() };
    assert_eq!(alarms, [corrupt]);
    assert!(leading.txn(0, put("k")).await.is_ok(), "the others go on");

    until("it is as the others again", || wrong.sound()).await;
    assert!(wrong.view().get(b"rogue").is_none());
    let revision = leading.txn(0, put("k")).await.expect("written").header.expect("a header").revision;
    wrong.applied(revision).await.expect("it follows");
    let (one, other) = (wrong.hash(revision).await, leading.hash(revision).await);
    assert_eq!(one.expect("hashed"), other.expect("hashed"));
    KvClient::new(channel).range(range).await.expect("served again");
    until("nobody is said to differ", || leading.differing().is_empty()).await;
    close([vec![wrong, leading], stores].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_differs_leads_no_more_and_is_healed() {
    let (mut stores, _dirs) = group(3).await;
    let wrong = leader(&mut stores).await;
    corrupt(&wrong, "rogue");
    stores[0].txn(0, put("k")).await.expect("written");
    until("it is noticed", || !wrong.sound()).await;
    until("another one leads", || {
        stores.iter().any(|store| store.leadership().borrow().acting) && !wrong.leadership().borrow().acting
    })
    .await;
    stores[1].txn(0, put("k")).await.expect("the others write");
    until("it is as the others again", || wrong.sound()).await;
    assert!(wrong.view().get(b"rogue").is_none());
    wrong.txn(0, put("k")).await.expect("it serves again");
    stores.push(wrong);
    close(stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_knows_who_is_right_all_that_differ_refuse() {
    let (stores, _dirs) = group(3).await;
    stores[0].txn(0, put("k")).await.expect("written");
    for (store, key) in stores.iter().zip(["x", "y", "z"]) {
        store.barrier().await.expect("a leader");
        corrupt(store, key);
    }
    until("all say so", || stores.iter().all(|store| !store.sound() && store.differing().len() == 3)).await;
    for store in &stores {
        assert!(matches!(store.txn(0, put("k")).await, Err(Error::Corrupt)));
    }
    close(stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_does_not_take_the_log_leads_no_more() {
    let (mut stores, _dirs) = group(3).await;
    stores[0].txn(0, put("k")).await.expect("written");
    let stalling = leader(&mut stores).await;
    until("another one leads", || {
        // As its writer does before a write that does not end; again, where one that was under way ended meanwhile.
        if stalling.inner.syncs.under_way().is_none() {
            stalling.inner.syncs.begin();
        }
        stores.iter().any(|store| store.leadership().borrow().acting)
    })
    .await;
    stores[0].txn(0, put("k")).await.expect("the others write");
    stores.push(stalling);
    close(stores).await;
}
