//! Members that die without a word: each runs in a runtime of its own, which is dropped under it.

use std::time::{Duration, Instant};

use store::{Error, Store};
use tokio::runtime::{Builder, Runtime};

use crate::cluster::{PATIENCE, Place, caught_up, leadership, open, opened, place, put, voters};

/// How long writes may fail when the leader dies, on a machine that is busy with other tests.
const OUTAGE_MAX: Duration = Duration::from_secs(15);

pub(crate) struct Member {
    pub(crate) runtime: Runtime,
    pub(crate) store: Store,
}

impl Member {
    pub(crate) async fn start(place: &Place) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let config = place.config.clone();
        let store = runtime.spawn(async move { opened(&config).await }).await.expect("no panic");
        Member { runtime, store }
    }

    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }

    /// Writes keys until asked to stop; answers those that were acknowledged, and the longest time between two.
    fn write(&self, name: u64, until: Instant) -> tokio::task::JoinHandle<(Vec<String>, Duration)> {
        let store = self.store.clone();
        self.runtime.spawn(async move {
            let (mut kept, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
            for index in 0_u64.. {
                let key = format!("{name}/{index}");
                match store.txn(0, put(&key, "v")).await {
                    Ok(_) => kept.push(key),
                    Err(Error::Unknown | Error::NoLeader) => continue,
                    Err(error) => panic!("{error}"),
                }
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if Instant::now() > until {
                    break;
                }
            }
            (kept, longest)
        })
    }
}

async fn three() -> (Vec<Place>, Vec<Member>) {
    let mut places = vec![place("a", &[])];
    places.push(place("b", &[&places[0]]));
    places.push(place("c", &[&places[0], &places[1]]));
    let mut members = Vec::new();
    for place in &mut places {
        place.config.heartbeat_interval = Duration::from_millis(50);
        place.config.election_timeout = Duration::from_millis(200);
        // Snapshots and purges happen all the time, also while members die.
        place.config.snapshot_entries = 300;
        members.push(Member::start(place).await);
    }
    for member in &members {
        voters(&member.store, 3).await;
    }
    (places, members)
}

fn missing<'a>(store: &Store, kept: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let view = store.view();
    kept.filter(|key| view.get(key.as_bytes()).is_none()).collect()
}

pub(crate) async fn down(member: Member) {
    let store = member.store.clone();
    let _ = member.runtime.spawn(async move { store.shutdown().await }).await;
    member.runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_takes_nothing_along_and_writes_go_on() {
    let (places, mut members) = three().await;
    let led = leadership(&members[0].store, |held| held.leader.is_some()).await;
    let at = members.iter().position(|member| Some(member.store.id()) == led.leader).expect("one of them leads");
    let leader = members.remove(at);
    let until = Instant::now() + Duration::from_secs(3);
    let writers: Vec<_> = (0..8).map(|name| members[name as usize % 2].write(name, until)).collect();
    let mut applied = members[0].store.leadership();
    members[0].store.applied(100).await.expect("writes go in");
    leader.kill();
    applied.wait_for(|held| held.epoch > led.epoch).await.expect("alive");
    let mut kept = Vec::new();
    for writer in writers {
        let (keys, outage) = tokio::time::timeout(PATIENCE, writer).await.expect("in time").expect("no panic");
        assert!(outage < OUTAGE_MAX, "no write for {outage:?}");
        kept.extend(keys);
    }
    members.push(Member::start(&places[at]).await);
    for member in &members {
        caught_up(&member.store).await;
        assert_eq!(missing(&member.store, kept.iter()), Vec::<&String>::new(), "of {} acknowledged", kept.len());
    }
    for member in members {
        down(member).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_die_at_once_and_nothing_acknowledged_is_lost() {
    let (places, members) = three().await;
    let led = leadership(&members[0].store, |held| held.leader.is_some()).await;
    let until = Instant::now() + Duration::from_secs(1);
    let writers: Vec<_> = members.iter().zip(0..).map(|(member, name)| member.write(name, until)).collect();
    let mut kept = Vec::new();
    for writer in writers {
        kept.extend(tokio::time::timeout(PATIENCE, writer).await.expect("in time").expect("no panic").0);
    }
    // Nobody flushes the state machine on the way out: what it held in memory comes back from the log.
    members.into_iter().for_each(Member::kill);
    let (a, b, c) = tokio::join!(Member::start(&places[0]), Member::start(&places[1]), Member::start(&places[2]));
    for member in [&a, &b, &c] {
        caught_up(&member.store).await;
        assert_eq!(missing(&member.store, kept.iter()), Vec::<&String>::new(), "of {} acknowledged", kept.len());
        let now = leadership(&member.store, |held| held.leader.is_some()).await;
        assert!(now.epoch > led.epoch, "{now:?} follows {led:?}");
    }
    for member in [a, b, c] {
        down(member).await;
    }
}

/// Of looking at how often a dead member is called.
const LOOK: Duration = Duration::from_secs(1);
/// Calls of a dead member in that time at most: twenty heartbeats, replication with its waits, and what else there is.
const CALLS_MAX: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_not_called_without_end() {
    let (places, mut members) = three().await;
    let led = leadership(&members[0].store, |held| held.leader.is_some()).await;
    let at = members.iter().position(|member| Some(member.store.id()) != led.leader).expect("one follows");
    members.remove(at).kill();
    let bound = async {
        loop {
            match tokio::net::TcpListener::bind(&places[at].config.peer_listen[0].authority).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let port = tokio::time::timeout(PATIENCE, bound).await.expect("its port is free");
    let writer = members[0].write(0, Instant::now() + LOOK);
    // The first may come late on a busy machine.
    let first = tokio::time::timeout(PATIENCE, port.accept()).await;
    assert!(first.is_ok_and(|taken| taken.is_ok()), "it is looked for");
    let mut calls = 1;
    let counted = async {
        loop {
            port.accept().await.expect("a connection");
            calls += 1;
        }
    };
    let _ = tokio::time::timeout(LOOK, counted).await;
    assert!(calls <= CALLS_MAX, "{calls} calls in {LOOK:?}");
    writer.await.expect("no panic");
    for member in members {
        down(member).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_reach_the_others_and_never_oneself() {
    let first = place("a", &[]);
    let second = place("b", &[&first]);
    let stores = [open(&first).await, open(&second).await];
    voters(&stores[0], 2).await;
    let (mut heard, mut own) = (stores[1].datagrams(), stores[0].datagrams());
    let mut again = tokio::time::interval(Duration::from_millis(50));
    let arrived = async {
        loop {
            tokio::select! {
                _ = again.tick() => stores[0].broadcast("here".into()),
                datagram = heard.recv() => return datagram.expect("alive"),
            }
        }
    };
    let arrived = tokio::time::timeout(PATIENCE, arrived).await.expect("in time");
    assert_eq!(arrived, (stores[0].id(), "here".into()));
    stores[0].broadcast(vec![0; (64 << 10) + 1].into());
    assert!(own.try_recv().is_err());
    for store in stores {
        store.shutdown().await;
    }
}
