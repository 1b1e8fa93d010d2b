//! Snapshots whose sender or receiver dies on the way: the receiver has its old state or the new one, and gets there.

use std::fs;
use std::time::Duration;

use store::Store;

use crate::cluster::{PATIENCE, Place, caught_up, leadership, opened, opened_in_vain, place, voters, wrote};
use crate::crash::{Member, down};
use crate::gate::gated;

/// Keys, and bytes of each value: together well above what a gate lets through at first, and no codec shrinks them.
const KEYS: usize = 300;
const VALUE_BYTES: usize = 20 << 10;
/// Enough for the calls around a snapshot and the first of its bytes, far too little for all.
const SOME_BYTES: u64 = 3 << 20;

fn value(key: usize) -> String {
    let mut seed = key as u64 + 1;
    let mut next = || {
        // xorshift64: each value is its own noise.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        char::from(b'!' + (seed % 90) as u8)
    };
    (0..VALUE_BYTES).map(|_| next()).collect()
}

/// Writes more than the log keeps: who comes later needs a snapshot.
async fn fill(store: &Store) {
    for key in 0..KEYS {
        wrote(store, &format!("k{key}"), &value(key), "written").await;
    }
}

fn small(mut place: Place) -> Place {
    place.config.snapshot_entries = 50;
    place
}

async fn holds_all(store: &Store) {
    caught_up(store).await;
    let view = store.view();
    for key in 0..KEYS {
        let held = view.get(format!("k{key}").as_bytes()).map(|kv| kv.value);
        assert!(held.is_some_and(|held| held == value(key)), "k{key}");
    }
}

/// Waits until some of a snapshot lies in a receiver's directory; answers how many bytes.
async fn part_arrived(place: &Place) -> u64 {
    let incoming = place.config.data_dir.join("snapshots/incoming");
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let arrived = async {
        loop {
            tick.tick().await;
            let files = fs::read_dir(&incoming).into_iter().flatten().flatten();
            let bytes = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>();
            if bytes > 0 {
                return bytes;
            }
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("something arrives")
}

fn whole() -> u64 {
    (KEYS * VALUE_BYTES) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_dies_on_the_way_gets_the_rest_later() {
    let first = small(place("a", &[]));
    let leading = Member::start(&first).await;
    fill(&leading.store).await;
    let (late, gate) = gated("b", &[&first]).await;
    let late = small(late);
    gate.allow(SOME_BYTES);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("one");
    let config = late.config.clone();
    runtime.spawn(async move { Store::open(config).await.map(drop) });
    tokio::time::timeout(PATIENCE, gate.exhausted()).await.expect("a snapshot is on its way");
    let bytes = part_arrived(&late).await;
    runtime.shutdown_background();
    assert!(bytes < whole(), "all {bytes} bytes arrived");
    assert!(!late.config.data_dir.join("state/gen-2").exists(), "nothing is installed yet");
    gate.open();
    let back = Member::start(&late).await;
    voters(&back.store, 2).await;
    holds_all(&back.store).await;
    assert!(late.config.data_dir.join("state/gen-2").exists(), "it came as a snapshot");
    down(back).await;
    down(leading).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_dies_on_the_way_is_replaced_by_the_next_leader() {
    let mut places = vec![small(place("a", &[]))];
    places.push(small(place("b", &[&places[0]])));
    places.push(small(place("c", &[&places[0], &places[1]])));
    let mut members = Vec::new();
    for place in &places {
        members.push(Member::start(place).await);
    }
    for member in &members {
        voters(&member.store, 3).await;
    }
    fill(&members[0].store).await;
    let (late, gate) = gated("d", &places.iter().collect::<Vec<_>>()).await;
    let late = small(late);
    gate.allow(SOME_BYTES);
    let config = late.config.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("one");
    let joining = runtime.spawn(async move { opened(&config).await });
    tokio::time::timeout(PATIENCE, gate.exhausted()).await.expect("a snapshot is on its way");
    assert!(part_arrived(&late).await < whole());
    let held = leadership(&members[0].store, |held| held.leader.is_some()).await;
    let at = members.iter().position(|member| Some(member.store.id()) == held.leader).expect("one of them leads");
    members.remove(at).kill();
    leadership(&members[0].store, |now| now.epoch > held.epoch && now.leader.is_some()).await;
    gate.open();
    let store = tokio::time::timeout(PATIENCE, joining).await.expect("in time").expect("it joins");
    voters(&store, 4).await;
    holds_all(&store).await;
    members.push(Member { runtime, store });
    for member in members {
        down(member).await;
    }
}

/// Dies at the moment in which the new state takes the old one's place, before anything else knows of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_dies_while_it_installs_has_the_old_state_or_the_new_one() {
    let first = small(place("a", &[]));
    let leading = Member::start(&first).await;
    fill(&leading.store).await;
    let late = small(place("b", &[&first]));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("one");
    let config = late.config.clone();
    runtime.spawn(async move { Store::open(config).await.map(drop) });
    let current = late.config.data_dir.join("state/CURRENT");
    let swapped = async {
        while fs::read_to_string(&current).unwrap_or_default() != "gen-2" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, swapped).await.expect("a snapshot is installed");
    runtime.shutdown_background();
    let back = Member::start(&late).await;
    voters(&back.store, 2).await;
    holds_all(&back.store).await;
    let generations = fs::read_dir(late.config.data_dir.join("state")).expect("a directory").flatten();
    let generations = generations.filter(|entry| entry.file_name().to_string_lossy().starts_with("gen-"));
    assert_eq!(generations.count(), 1, "only one state is left");
    down(back).await;
    down(leading).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_gone_comes_back_from_its_snapshot_and_without_that_it_is_refused() {
    let alone = small(place("a", &[]));
    let member = Member::start(&alone).await;
    fill(&member.store).await;
    down(member).await;
    let remove = |part: &str| fs::remove_dir_all(alone.config.data_dir.join(part)).expect("removed");
    remove("state");
    let member = Member::start(&alone).await;
    holds_all(&member.store).await;
    down(member).await;
    remove("state");
    remove("snapshots");
    for _ in 0..2 {
        let refused = opened_in_vain(&alone.config).await;
        assert!(refused.contains("are neither in the state nor in the log"), "{refused}");
    }
}
