//! One member alone.

use std::time::Duration;

use proto::command::refusal::Reason;
use proto::etcdserverpb as pb;
use store::api::WatchSpec;
use store::{Error, Store};

use crate::cluster::{PATIENCE, get, leadership, open, place, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything_and_begins_a_new_leadership() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let before = leadership(&store, |held| held.acting).await;
    let first = store.txn(before.epoch, put("k", "1")).await.expect("written");
    let header = first.header.expect("a header");
    assert_eq!((header.revision, header.member_id, header.cluster_id), (2, store.id(), store.cluster_id()));
    let id = store.id();
    store.shutdown().await;
    drop(store);

    let store = open(&place).await;
    assert_eq!(store.id(), id);
    assert_eq!(get(&store, "k").await.as_deref(), Some("1"));
    let after = leadership(&store, |held| held.acting).await;
    assert!(after.epoch > before.epoch, "{after:?} follows {before:?}");
    let stale = store.txn(before.epoch, put("k", "2")).await;
    assert!(matches!(stale, Err(Error::Refused(refusal)) if refusal.reason() == Reason::StaleEpoch));
    assert_eq!(get(&store, "k").await.as_deref(), Some("1"));
    store.shutdown().await;
}

/// A few large entries are as much as many small ones: the log is kept in memory too.
#[tokio::test(flavor = "multi_thread")]
async fn large_entries_make_a_snapshot_due_before_there_are_many() {
    let mut place = place("a", &[]);
    place.config.snapshot_bytes = 1 << 20;
    let store = open(&place).await;
    let value = "v".repeat(100 << 10);
    for number in 0..30 {
        store.txn(0, put(&format!("k{number}"), &value)).await.expect("written");
    }
    assert!(store.figures().applied < place.config.snapshot_entries, "their number made none due");
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let shrinks = async {
        while store.figures().log_bytes > place.config.snapshot_bytes {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, shrinks).await.expect("in time");
    assert!(store.figures().log_bytes > 0, "the newest are kept for followers");
    store.shutdown().await;
    drop(store);
    let store = open(&place).await;
    assert_eq!(store.view().range(b"k", b"l").count(), 30);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_one_owner() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let second = Store::open(place.config.clone()).await;
    assert!(second.is_err_and(|error| error.to_string().contains("in use by another process")));
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_every_revision_and_batches_their_own_verdicts() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let spec = WatchSpec { key: "w".into(), range_end: "x".into(), ..WatchSpec::default() };
    let mut watcher = store.watch(&spec);
    let absent =
        pb::Compare { key: "w0".into(), target: pb::compare::CompareTarget::Mod.into(), ..pb::Compare::default() };
    let failing = pb::TxnRequest {
        compare: vec![pb::Compare { result: pb::compare::CompareResult::Greater.into(), ..absent }],
        ..put("w9", "")
    };
    let outcomes = store.txn_batch(0, vec![put("w0", "a"), failing, put("w1", "b")]).await.expect("committed");
    let verdicts: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("judged").succeeded).collect();
    assert_eq!(verdicts, [true, true, true], "w0 was written by the transaction before");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let batch = watcher.next().await.expect("alive");
        seen.extend(batch.events.iter().map(|event| event.kv.as_ref().expect("a key").mod_revision));
    }
    assert_eq!(seen, [2, 3, 4]);
    store.compact(3).await.expect("compacted");
    assert!(store.view_at(2).is_err());
    assert!(store.view_at(3).is_ok());
    store.shutdown().await;
}
