//! Groups that are begun and joined as etcd's flags say it.

use store::config::{Bootstrap, Founder, Transport, Url};
use store::tls::self_signed;
use store::{Error, Store};

use crate::cluster::{PATIENCE, Place, founders, free, get, open, open_all, plain, wrote};

fn listed(places: &[&Place]) -> Vec<Founder> {
    let founder =
        |place: &&Place| Founder { name: place.config.name.clone(), peer_urls: place.config.peer_advertise.clone() };
    places.iter().map(founder).collect()
}

async fn refused(place: &Place) -> String {
    let opened = tokio::time::timeout(PATIENCE, Store::open(place.config.clone())).await.expect("it ends");
    opened.err().map(|error| error.to_string()).expect("it must not start")
}

/// Waits until every member of the group has said where its clients find it.
async fn introduced(store: &Store, count: usize) {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
    let known = async {
        while store.members().iter().filter(|member| !member.client_urls.is_empty()).count() != count {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, known).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_begin_a_group_together_each_on_its_own_and_find_it_again() {
    let places = founders(&["a", "b", "c"]);
    let stores = open_all(&places).await;
    wrote(&stores[0], "k", "v", "written").await;
    for store in &stores {
        assert_eq!(store.cluster_id(), stores[0].cluster_id());
        assert_eq!(get(store, "k").await.as_deref(), Some("v"));
        introduced(store, 3).await;
        let seen = store.members();
        let of = |name: &str| seen.iter().find(|member| member.name == name).expect("all are there");
        for place in &places {
            assert_eq!(of(&place.config.name).peer_urls, [place.config.peer_advertise[0].to_string()]);
            assert_eq!(of(&place.config.name).client_urls, [place.config.client_advertise[0].to_string()]);
        }
    }
    let ids: Vec<u64> = stores.iter().map(Store::id).collect();
    for store in stores {
        store.shutdown().await;
    }
    // Started again, none begins anything, whatever its flags say by now.
    let mut places = places;
    for place in &mut places {
        place.config.bootstrap = Bootstrap::Static { members: Vec::new(), token: "another".to_owned() };
    }
    let stores = open_all(&places).await;
    assert_eq!(stores.iter().map(Store::id).collect::<Vec<_>>(), ids);
    assert_eq!(get(&stores[1], "k").await.as_deref(), Some("v"));
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_disk_was_lost_does_not_come_back_as_who_it_was() {
    let places = founders(&["a", "b", "c"]);
    let mut stores = open_all(&places).await;
    introduced(&stores[0], 3).await;
    stores.remove(2).shutdown().await;
    let (url, bootstrap) = (&places[2].config.peer_listen[0], places[2].config.bootstrap.clone());
    let why = refused(&plain("c", url, bootstrap)).await;
    assert!(why.ends_with("has already been bootstrapped"), "{why}");
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_contradict_each_other_or_the_group_are_refused() {
    let places = founders(&["a"]);
    let store = open(&places[0]).await;
    let here = Url::http(free());
    let existing = |members| plain("b", &here, Bootstrap::Existing { members });
    let why = refused(&existing(listed(&[&places[0]]))).await;
    assert_eq!(why, "couldn't find local name \"b\" in the initial cluster configuration");
    let own = Founder { name: "b".to_owned(), peer_urls: vec![here.clone()] };
    let why = refused(&existing([listed(&[&places[0]]), vec![own.clone()]].concat())).await;
    assert!(why.ends_with("member count is unequal"), "{why}");
    let begun = Bootstrap::Static { members: vec![own.clone()], token: String::new() };
    let mut elsewhere = plain("b", &here, begun);
    elsewhere.config.peer_advertise = vec!["http://127.0.0.1:1".parse().expect("a URL")];
    let why = refused(&elsewhere).await;
    assert_eq!(
        why,
        format!("--initial-cluster has b={here} but missing from --initial-advertise-peer-urls=http://127.0.0.1:1")
    );
    let nobody = Founder { name: "a".to_owned(), peer_urls: vec![Url::http(free())] };
    let why = refused(&existing(vec![nobody, own])).await;
    assert!(why.starts_with("cannot fetch cluster info from peer urls: "), "{why}");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_speak_tls_with_files_where_their_urls_say_so() {
    let mut places = founders(&["a", "b"]);
    let dir = tempfile::tempdir().expect("a directory");
    let urls: Vec<Url> = places.iter().map(|place| Url { tls: true, ..place.config.peer_listen[0].clone() }).collect();
    let hosts = ["127.0.0.1".to_owned()];
    for (place, url) in places.iter_mut().zip(&urls) {
        let files = self_signed(&dir.path().join(&place.config.name), &hosts, PATIENCE * 100).expect("made");
        place.config.transport = Transport::Urls { tls: Some(files) };
        place.config.peer_listen = vec![url.clone()];
        place.config.peer_advertise = vec![url.clone()];
    }
    let members = listed(&places.iter().collect::<Vec<_>>());
    for place in &mut places {
        place.config.bootstrap = Bootstrap::Static { members: members.clone(), token: "t".to_owned() };
    }
    let stores = open_all(&places).await;
    wrote(&stores[0], "k", "v", "written").await;
    assert_eq!(get(&stores[1], "k").await.as_deref(), Some("v"));
    // One that does not speak TLS gets nowhere.
    let stranger = plain("c", &Url::http(free()), Bootstrap::Join { peers: vec![urls[0].authority.clone()] });
    let opened = tokio::time::timeout(PATIENCE / 10, Store::open(stranger.config.clone())).await;
    assert!(opened.is_err() || matches!(opened, Ok(Err(Error::Invalid(_)))));
    for store in stores {
        store.shutdown().await;
    }
}
