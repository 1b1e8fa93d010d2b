//! A backup becomes another group, and nobody sees the past there.

use proto::etcdserverpb as pb;
use store::api::{WatchError, WatchSpec};
use store::{Error, backup};

use crate::cluster::{caught_up, get, leadership, open, place, put, voters, wrote};

/// Bits that are flipped.
const FLIPS: usize = 1000;

/// Flips a thousand bits, one at a time, from the first to the last byte.
fn every_flipped_bit_is_found(file: &[u8]) {
    let (bits, threads) = (file.len() * 8, std::thread::available_parallelism().map_or(2, usize::from));
    assert!(bits >= FLIPS, "{bits}");
    let flip = |number: usize| {
        let (bit, mut other) = (number * (bits - 1) / (FLIPS - 1), file.to_vec());
        other[bit / 8] ^= 1 << (bit % 8);
        let refused = backup::verify(other.as_slice(), tempfile::tempdir().expect("a directory").path());
        assert!(refused.is_err(), "bit {bit}");
    };
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (thread..FLIPS).step_by(threads).for_each(flip));
        }
    });
    let (middle, mut other) = (file.len() / 2, file.to_vec());
    other[middle] ^= 4;
    let refused = backup::verify(other.as_slice(), tempfile::tempdir().expect("a directory").path());
    assert!(refused.is_err_and(|error| error.to_string().contains("block 1 at byte")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_becomes_a_group_that_others_join() {
    let old = place("a", &[]);
    let store = open(&old).await;
    for number in 0..50 {
        wrote(&store, &format!("k{number:02}"), "old", "written").await;
    }
    let last = store.txn(0, put("k07", "new")).await.expect("written").header.expect("a header").revision;
    let held = leadership(&store, |held| held.acting).await;
    let mut file = Vec::new();
    caught_up(&store).await;
    let made = store.backup(serde_json::json!({ "words": 1 }), &mut file).expect("memory");
    store.shutdown().await;
    assert_eq!((made.keys, made.revision), (50, last));

    let scratch = tempfile::tempdir().expect("a directory");
    let seen = backup::verify(file.as_slice(), scratch.path()).expect("whole");
    assert_eq!((seen.keys, seen.extra["words"].as_i64()), (50, Some(1)));
    every_flipped_bit_is_found(&file);

    let new = place("b", &[]);
    backup::restore(file.as_slice(), &new.config.data_dir, None).expect("whole");
    let store = open(&new).await;
    assert_eq!(get(&store, "k07").await.as_deref(), Some("new"));
    assert!(store.revision() > last + 1_000_000);
    let now = leadership(&store, |held| held.acting).await;
    assert!(now.epoch > held.epoch);
    let spec = WatchSpec { key: "k".into(), range_end: "l".into(), start_revision: last, prev_kv: false };
    assert!(matches!(store.watch(&spec).next().await, Err(WatchError::Compacted { .. })), "the past is closed");
    let past = pb::RangeRequest { key: "k07".into(), revision: last, ..pb::RangeRequest::default() };
    assert!(matches!(store.range(past).await, Err(Error::Refused(_))));

    let second = place("c", &[&new]);
    let joined = open(&second).await;
    voters(&joined, 2).await;
    assert_eq!(get(&joined, "k33").await.as_deref(), Some("old"), "what no log entry ever carried");
    wrote(&joined, "k33", "again", "written").await;
    assert_eq!(get(&store, "k33").await.as_deref(), Some("again"));
    joined.shutdown().await;
    store.shutdown().await;
}
