//! A group that is exchanged whole under load, and one of which a single member is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use store::config::{Bootstrap, Url};
use store::{Error, Store};

use crate::cluster::{
    PATIENCE, Place, caught_up, founders, free, get, leadership, open, open_all, opened_in_vain, put, voters, wrote,
};
use crate::cluster_api::{Api, announced};

/// Writers at a time.
const WRITERS: usize = 8;
/// Without a write at most; as users build it, that is what is promised.
const OUTAGE: Duration = if cfg!(debug_assertions) { Duration::from_secs(15) } else { Duration::from_secs(1) };

/// After which a member counts as dead, where that is asked for: longer than a busy machine keeps one from answering.
const SILENCE: Duration = Duration::from_secs(6);

/// Writes through whichever members there are, and keeps what was acknowledged when.
struct Load {
    stores: Arc<RwLock<Vec<Store>>>,
    over: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(String, Instant)>>>,
    writers: tokio::task::JoinSet<()>,
}

impl Load {
    fn begin(stores: Vec<Store>) -> Load {
        let mut load = Load {
            stores: Arc::new(RwLock::new(stores)),
            over: Arc::default(),
            acknowledged: Arc::default(),
            writers: tokio::task::JoinSet::new(),
        };
        for writer in 0..WRITERS {
            let (stores, over, acknowledged) = (load.stores.clone(), load.over.clone(), load.acknowledged.clone());
            load.writers.spawn(async move {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let store = {
                        let stores = stores.read();
                        stores[(writer + number) % stores.len()].clone()
                    };
                    let key = format!("{writer}/{number}");
                    match store.txn(0, put(&key, "v")).await {
                        Ok(_) => acknowledged.lock().push((key, Instant::now())),
                        Err(Error::Unknown | Error::NoLeader | Error::Stopped(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        load
    }

    /// Ends it; answers the keys that must be there, and the longest time without a write.
    async fn end(mut self) -> (Vec<String>, Duration) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.expect("no writer panics");
        }
        let mut acknowledged = std::mem::take(&mut *self.acknowledged.lock());
        acknowledged.sort_by_key(|(_, at)| *at);
        let gap = acknowledged.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap_or_default();
        (acknowledged.into_iter().map(|(key, _)| key).collect(), gap)
    }
}

/// Whether a change that was refused was made the time before, as these words say. As etcd, the group refuses while it has
/// not heard from enough members; what takes too long on a busy machine may have been done.
fn again(status: &tonic::Status, done: &str) -> bool {
    let later = ["etcdserver: unhealthy cluster", "etcdserver: request timed out"].contains(&status.message());
    assert!(later || status.message() == done, "{status}");
    !later
}

/// Announces a member, starts it, and waits until it votes.
async fn grow(load: &Load, places: &mut Vec<Place>, name: &str) {
    let url = Url::http(free());
    let stores = load.stores.read().clone();
    let mut api = Api::new(&stores[0]).await;
    let attempts = async {
        while let Err(status) = api.add(&url.to_string(), false).await {
            if again(&status, "etcdserver: Peer URLs already exists") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, attempts).await.expect("announced in time");
    let there: Vec<&Place> = places.iter().collect();
    let place = announced(name, &url, &there);
    let store = open(&place).await;
    voters(&store, places.len() + 1).await;
    load.stores.write().push(store);
    places.push(place);
}

/// Removes a member, which then ends.
async fn shrink(load: &Load, places: &mut Vec<Place>, name: &str) {
    let at = places.iter().position(|place| place.config.name == name).expect("it is there");
    let id_of = |store: &Store| store.members().into_iter().find(|member| member.name == name).map(|member| member.id);
    let others: Vec<Store> = load.stores.read().clone();
    let id = id_of(&others[0]).expect("it belongs");
    let gone = {
        let mut stores = load.stores.write();
        let at = stores.iter().position(|store| store.id() == id).expect("it is open");
        stores.remove(at)
    };
    let other = load.stores.read()[0].clone();
    let mut api = Api::new(&other).await;
    let attempts = async {
        while let Err(status) = api.remove(id).await {
            if again(&status, "etcdserver: member not found") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, attempts).await.expect("removed in time");
    gone.shutdown().await;
    places.remove(at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_grows_is_exchanged_member_by_member_and_shrinks_under_load() {
    let mut places = founders(&["a", "b", "c"]);
    let load = Load::begin(open_all(&places).await);
    for name in ["d", "e"] {
        grow(&load, &mut places, name).await;
    }
    for (old, new) in [("a", "f"), ("b", "g"), ("c", "h")] {
        grow(&load, &mut places, new).await;
        shrink(&load, &mut places, old).await;
    }
    for name in ["d", "e"] {
        shrink(&load, &mut places, name).await;
    }
    let stores = load.stores.clone();
    let (kept, gap) = load.end().await;
    eprintln!("{} writes, the longest time without one {gap:?}", kept.len());
    let stores = std::mem::take(&mut *stores.write());
    assert_eq!(stores.len(), 3);
    for store in &stores {
        caught_up(store).await;
        let view = store.view();
        let lost: Vec<_> = kept.iter().filter(|key| view.get(key.as_bytes()).is_none()).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
    assert!(gap < OUTAGE, "no write for {gap:?}");
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_survivor_begins_a_new_group_with_all_it_has() {
    let mut places = founders(&["a", "b", "c"]);
    let mut stores = open_all(&places).await;
    wrote(&stores[0], "k", "v", "written").await;
    for store in &stores {
        caught_up(store).await;
    }
    let led = leadership(&stores[0], |held| held.leader.is_some()).await;
    let old = stores[0].cluster_id();
    // While the others are led, nobody needs it.
    stores.remove(0).shutdown().await;
    places[0].config.force_new = true;
    leadership(&stores[0], |held| held.leader == Some(stores[0].id()) || held.leader == Some(stores[1].id())).await;
    wrote(&stores[0], "later", "v", "two of three write").await;
    let refused = opened_in_vain(&places[0].config).await;
    assert!(refused.contains("the cluster has a leader"), "{refused}");

    let id = stores[1].id();
    for store in stores {
        store.shutdown().await;
    }
    places[2].config.force_new = true;
    // Where it dies on the way, the next start does all that is left to do.
    let obstacle = places[2].config.data_dir.join("identity.json.new");
    std::fs::create_dir(&obstacle).expect("made");
    let refused = opened_in_vain(&places[2].config).await;
    assert!(refused.contains("identity.json"), "{refused}");
    std::fs::remove_dir(&obstacle).expect("removed");
    let alone = open(&places[2]).await;
    assert_eq!((alone.id(), alone.members().len()), (id, 1));
    assert_ne!(alone.cluster_id(), old);
    assert_eq!(get(&alone, "later").await.as_deref(), Some("v"));
    let now = leadership(&alone, |held| held.acting).await;
    assert!(now.epoch > led.epoch + 1000, "{now:?} after {led:?}");
    wrote(&alone, "k", "w", "one of one writes").await;

    // A member of the old group gets nowhere, a new one is taken in.
    places[0].config.force_new = false;
    let stranger = tokio::time::timeout(Duration::from_secs(3), Store::open(places[0].config.clone())).await;
    if let Ok(Ok(stranger)) = stranger {
        assert!(stranger.barrier().await.is_err(), "it must have no leader");
        stranger.shutdown().await;
    }
    let url = Url::http(free());
    Api::new(&alone).await.add(&url.to_string(), false).await.expect("announced");
    let joined = open(&announced("d", &url, &[&places[2]])).await;
    voters(&joined, 2).await;
    assert_eq!(get(&joined, "k").await.as_deref(), Some("w"));
    joined.shutdown().await;
    alone.shutdown().await;
    drop(alone);
    places[2].config.bootstrap = Bootstrap::New;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stays_away_is_removed_where_that_is_asked_for() {
    let mut places = founders(&["a", "b", "c"]);
    for place in &mut places {
        place.config.remove_dead_after = Some(SILENCE);
    }
    let mut stores = open_all(&places).await;
    wrote(&stores[0], "k", "v", "written").await;
    stores.remove(2).shutdown().await;
    for store in &stores {
        voters(store, 2).await;
    }
    wrote(&stores[0], "k", "w", "two of two write").await;
    // The next one is not removed: the one that is left would not be a quorum of two.
    stores.remove(1).shutdown().await;
    let gone = tokio::time::timeout(SILENCE + Duration::from_secs(2), voters(&stores[0], 1)).await;
    assert!(gone.is_err(), "nobody decides that alone");
    stores.remove(0).shutdown().await;
}
