//! Changes of the membership that somebody dies in the middle of, and members that are gone for good.

use std::path::Path;
use std::time::Duration;

use store::api::Member as Described;
use store::config::Bootstrap;
use store::{Error, Store};

use crate::cluster::{PATIENCE, Place, leadership, open, place, voters, wrote};
use crate::crash::{Member, down};
use crate::gate::gated;

/// How long a member that must not get anywhere is watched.
const IN_VAIN: Duration = Duration::from_secs(3);

/// Three members, and where they lie.
async fn three() -> (Vec<Place>, Vec<Member>) {
    let mut places = vec![place("a", &[])];
    places.push(place("b", &[&places[0]]));
    places.push(place("c", &[&places[0], &places[1]]));
    let mut members = Vec::new();
    for place in &places {
        members.push(Member::start(place).await);
    }
    for member in &members {
        voters(&member.store, 3).await;
    }
    (places, members)
}

async fn close(members: Vec<Member>) {
    for member in members {
        down(member).await;
    }
}

/// Takes the leader out of the group's members, with its place in the list.
async fn leader(members: &mut Vec<Member>) -> (usize, Member) {
    let held = leadership(&members[0].store, |held| held.leader.is_some()).await;
    let at = members.iter().position(|member| Some(member.store.id()) == held.leader).expect("one of them leads");
    (at, members.remove(at))
}

/// Waits until a member sees the group so.
async fn sees(store: &Store, wanted: impl Fn(&[Described]) -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let seen = async {
        while !wanted(&store.members()) {
            tick.tick().await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, seen).await;
    assert!(seen.is_ok(), "{:?}", store.members());
}

fn role(members: &[Described], name: &str) -> Option<bool> {
    members.iter().find(|member| member.name == name).map(|member| member.voter)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_is_promoted_by_the_next_leader_when_the_first_one_died() {
    let (places, mut members) = three().await;
    let (place, gate) = gated("d", &places.iter().collect::<Vec<_>>()).await;
    let mut joining = tokio::task::JoinSet::new();
    joining.spawn(async move { (Member::start(&place).await, place) });
    sees(&members[0].store, |seen| role(seen, "d") == Some(false)).await;
    let (_, gone) = leader(&mut members).await;
    let led = gone.store.leadership().borrow().clone();
    gone.kill();
    leadership(&members[0].store, |held| held.epoch > led.epoch && held.leader.is_some()).await;
    assert_eq!(role(&members[0].store.members(), "d"), Some(false), "nobody could reach it so far");
    gate.open();
    let (joined, _place) = joining.join_next().await.expect("one").expect("it joins");
    voters(&joined.store, 4).await;
    wrote(&joined.store, "k", "v", "three of four write").await;
    members.push(joined);
    close(members).await;
}

/// The leader removes itself and dies on the way, each time a little later.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_its_leader_died_in_is_finished_or_undone() {
    for delay in [0, 1, 3, 8].map(Duration::from_millis) {
        let (_places, mut members) = three().await;
        let (_, leading) = leader(&mut members).await;
        let (store, id) = (leading.store.clone(), leading.store.id());
        let epoch = leading.store.leadership().borrow().epoch;
        leading.runtime.spawn(async move { store.member_remove(id).await });
        let _ = tokio::time::timeout(delay, std::future::pending::<()>()).await;
        leading.kill();
        let next = leadership(&members[0].store, |held| held.epoch > epoch && held.leader.is_some()).await;
        assert!(next.leader != Some(id), "a dead member leads");
        wrote(&members[0].store, "k", "v", "writes go on").await;
        // Finished or not, it can be asked for again, and nothing of it is in the way.
        let again = async {
            loop {
                match members[1].store.member_remove(id).await {
                    Err(Error::Unknown | Error::NoLeader) => tokio::task::yield_now().await,
                    done => return done.map_err(|error| error.to_string()),
                }
            }
        };
        let again = tokio::time::timeout(PATIENCE, again).await.expect("in time");
        assert!(again.as_ref().err().is_none_or(|why| why.contains("does not belong to this cluster")), "{again:?}");
        for member in &members {
            voters(&member.store, 2).await;
            sees(&member.store, |seen| seen.len() == 2).await;
        }
        close(members).await;
    }
}

/// A follower is asked to remove the leader, which dies on the way: whoever asked is told how it ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_whose_leader_takes_the_answer_along_is_answered() {
    for delay in [1, 3, 8, 20].map(Duration::from_millis) {
        let (_places, mut members) = three().await;
        let (_, leading) = leader(&mut members).await;
        let (asked, id) = (members[0].store.clone(), leading.store.id());
        let kill = async {
            let _ = tokio::time::timeout(delay, std::future::pending::<()>()).await;
            leading.kill();
        };
        let removal = tokio::time::timeout(PATIENCE, asked.member_remove(id));
        let (answer, ()) = tokio::join!(removal, kill);
        let answer = answer.expect("in time");
        assert!(answer.is_ok(), "killed after {delay:?}: {answer:?}");
        for member in &members {
            sees(&member.store, |seen| seen.len() == 2).await;
        }
        close(members).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_that_died_before_it_had_caught_up_blocks_nobody() {
    let (places, mut members) = three().await;
    let (dead, _gate) = gated("d", &places.iter().collect::<Vec<_>>()).await;
    let config = dead.config.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("one");
    runtime.spawn(async move { Store::open(config).await.map(drop) });
    sees(&members[0].store, |seen| role(seen, "d") == Some(false)).await;
    runtime.shutdown_background();
    wrote(&members[1].store, "k", "1", "writes go on").await;
    let late = place("e", &[&places[1]]);
    members.push(Member::start(&late).await);
    voters(&members[3].store, 4).await;
    sees(&members[0].store, |seen| role(seen, "d") == Some(false)).await;
    let id = members[0].store.members().iter().find(|member| member.name == "d").expect("a learner").id;
    members[2].store.member_remove(id).await.expect("it goes");
    sees(&members[0].store, |seen| seen.len() == 4).await;
    close(members).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("read") {
        let entry = entry.expect("read");
        let at = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &at);
        } else {
            std::fs::copy(entry.path(), at).expect("copied");
        }
    }
}

/// From a backup of its disk, or a machine that was set back.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_has_forgotten_what_it_had_does_not_come_back() {
    let (places, mut members) = three().await;
    let (at, leading) = leader(&mut members).await;
    let following: Vec<&Place> =
        places.iter().enumerate().filter(|(of, _)| *of != at).map(|(_, place)| place).collect();
    let (place, member) = (following[0], members.remove(0));
    wrote(&leading.store, "k", "1", "written").await;
    down(member).await;
    let aside = tempfile::tempdir().expect("a directory");
    copy(&place.config.data_dir, &aside.path().join("old"));
    let member = Member::start(place).await;
    wrote(&leading.store, "k", "2", "written").await;
    // Only what it has acknowledged do the others count on.
    let id = member.store.id();
    sees(&leading.store, |seen| seen.iter().any(|one| one.id == id && one.lag == Some(0))).await;
    down(member).await;
    std::fs::remove_dir_all(&place.config.data_dir).expect("removed");
    copy(&aside.path().join("old"), &place.config.data_dir);
    let why = Store::open(place.config.clone()).await.err().expect("refused").to_string();
    assert!(why.contains("older than what this member had"), "{why}");
    members.push(leading);
    wrote(&members[0].store, "k", "3", "the others go on").await;
    close(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_belongs_to_one_member() {
    let first = place("a", &[]);
    let store = open(&first).await;
    let second = open(&place("b", &[&first])).await;
    voters(&store, 2).await;
    let twin = tokio::time::timeout(PATIENCE, Store::open(place("b", &[&first]).config)).await.expect("it ends");
    assert!(twin.is_err_and(|error| error.to_string().contains("\"b\" belongs to the cluster already")));
    assert_eq!(store.members().len(), 2);
    second.shutdown().await;
    store.shutdown().await;
}

/// Idle, all lags stay what they were: whether a member lives shows only in its answers.
#[tokio::test(flavor = "multi_thread")]
async fn no_quorum_is_given_away_and_no_dead_member_is_made_leader() {
    let (_places, mut members) = three().await;
    let (_, leading) = leader(&mut members).await;
    let (alive, dead) = (members.remove(0), members.remove(0));
    let (alive_id, dead_id) = (alive.store.id(), dead.store.id());
    dead.kill();
    let refused = leading.store.member_remove(alive_id).await.map_err(|error| error.to_string());
    assert!(refused.is_err_and(|why| why.contains("only 1 of 2 voters would be in reach")), "it would stop the group");
    let refused = leading.store.transfer_leader(dead_id).await.map_err(|error| error.to_string());
    assert!(refused.is_err_and(|why| why.contains("does not take over")));
    wrote(&leading.store, "k", "1", "two of three write").await;
    leading.store.member_remove(dead_id).await.expect("what is dead may go");
    voters(&alive.store, 2).await;
    wrote(&leading.store, "k", "2", "two of two write").await;
    close(vec![leading, alive]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_told_and_its_directory_never_comes_back() {
    let (places, mut members) = three().await;
    let (_, leading) = leader(&mut members).await;
    let (running, dead) = (members.remove(0), members.remove(0));
    let dead_place = places.iter().find(|place| place.config.name == name_of(&leading.store, dead.store.id()));
    let (dead_place, dead_id) = (dead_place.expect("one of them"), dead.store.id());
    dead.kill();
    leading.store.member_remove(dead_id).await.expect("removed while it is away");
    // As it was, and with a new token: neither lets its directory in again.
    let peers = vec![leading.store.members()[0].peer_address().to_owned()];
    for bootstrap in [dead_place.config.bootstrap.clone(), Bootstrap::New, Bootstrap::Join { peers }] {
        let mut config = dead_place.config.clone();
        config.bootstrap = bootstrap;
        let opened = tokio::time::timeout(PATIENCE, open_alone(config)).await.expect("it ends");
        assert!(opened.is_err_and(|why| why.contains("was removed from the cluster")), "it is told");
    }
    let gone = running.store.failed();
    leading.store.member_remove(running.store.id()).await.expect("removed while it runs");
    let told = tokio::time::timeout(PATIENCE, gone).await.expect("it notices").to_string();
    assert!(told.contains("was removed from the cluster"), "{told}");
    let epoch = leading.store.leadership().borrow().epoch;
    wrote(&leading.store, "k", "v", "the one that stays writes").await;
    let mut led = leading.store.leadership();
    let disturbed = tokio::time::timeout(IN_VAIN, led.wait_for(|held| held.epoch != epoch)).await;
    assert!(disturbed.is_err(), "a removed member stood for election");
    close(vec![leading, running]).await;
}

/// Opens a store whose directory a killed member may hold for a moment; answers why it does not open.
async fn open_alone(config: store::config::Config) -> Result<(), String> {
    loop {
        match Store::open(config.clone()).await {
            Err(Error::Stopped(why)) if why.contains("in use") => tokio::task::yield_now().await,
            Err(error) => return Err(error.to_string()),
            Ok(store) => {
                store.shutdown().await;
                return Ok(());
            }
        }
    }
}

fn name_of(store: &Store, id: u64) -> String {
    store.members().into_iter().find(|member| member.id == id).expect("a member").name
}
