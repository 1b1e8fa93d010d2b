//! What was committed is archived, whoever leads, and every moment of it comes back as it was.

use std::path::Path;
use std::time::Duration;

use prost::Message;
use proto::etcdserverpb as pb;
use proto::mvccpb::KeyValue;
use store::Store;
use store::archive::{self, Archive, Change, Repository, Restore, Rules, Target};
use store::backup::sealed::{Keys, Lock};
use store::moving::Progress;

use crate::cluster::{PATIENCE, Place, founders, leadership, open, open_all, place, put};

fn archive(dir: &Path) -> Archive {
    Archive {
        place: dir.display().to_string(),
        every: Duration::from_secs(3600),
        rules: Rules { hours: 24, days: 7 },
        merge: Duration::MAX,
        lock: Lock::None,
        extra: serde_json::json!({ "words": 1 }),
    }
}

fn asked(dir: &Path, target: Target) -> Restore {
    let repository = Repository::existing(&dir.display().to_string()).expect("there");
    Restore { repository, keys: Keys::default(), group: None, target }
}

fn quiet() -> Progress {
    Progress::new(|_| {})
}

/// Everything there is at a revision.
fn state(store: &Store, revision: i64) -> Vec<KeyValue> {
    store.view_at(revision).expect("readable").range(&[0], &[0]).collect()
}

/// Waits until everything that was committed is archived.
async fn archived(store: &Store) {
    let (mut tick, revision) = (tokio::time::interval(Duration::from_millis(50)), store.revision());
    let reached = async {
        while store.archive_standing().is_none_or(|standing| standing.revision < revision) {
            tick.tick().await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, reached).await;
    assert!(done.is_ok(), "{:?} at revision {revision}", store.archive_standing());
}

/// Waits until what is written from now on can be restored: an archive begins a moment after it is asked for.
async fn begun(store: &Store) {
    archived(store).await;
}

fn delete(key: &str) -> pb::TxnRequest {
    let delete = pb::DeleteRangeRequest { key: key.to_owned().into(), ..pb::DeleteRangeRequest::default() };
    let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestDeleteRange(delete)) };
    pb::TxnRequest { success: vec![op], ..pb::TxnRequest::default() }
}

/// Puts, deletes, and several changes in a transaction.
async fn work(store: &Store, rounds: std::ops::Range<u32>) {
    for round in rounds {
        let key = format!("k{}", round % 17);
        store.txn(0, put(&key, &format!("round {round}"))).await.expect("written");
        if round % 5 == 0 {
            store.txn(0, delete(&key)).await.expect("deleted");
        }
        let mut several = put(&format!("a{}", round % 3), "x");
        several.success.extend(put(&format!("b{}", round % 7), &round.to_string()).success);
        store.txn_batch(0, vec![several.clone(), put("c", &round.to_string()), several]).await.expect("written");
    }
}

async fn restored(dir: &Path, target: Target) -> (Place, Store) {
    let new = place("new", &[]);
    let (asked, progress) = (asked(dir, target), quiet());
    let made = archive::restore(&asked, &new.config.data_dir, None, |_, _| Ok(()), &progress).await;
    made.expect("restored");
    let store = open(&new).await;
    (new, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_revision_comes_back_as_it_was_also_after_a_restart() {
    let (old, dir) = (place("a", &[]), tempfile::tempdir().expect("a directory"));
    let store = open(&old).await;
    work(&store, 0..10).await;
    store.archive(archive(dir.path())).expect("a place");
    archived(&store).await;
    work(&store, 10..40).await;
    archived(&store).await;
    let between = store.revision();
    store.shutdown().await;
    // Whoever holds it holds the directory.
    drop(store);
    let store = open(&old).await;
    store.archive(archive(dir.path())).expect("a place");
    work(&store, 40..60).await;
    archived(&store).await;
    let last = store.revision();

    let repository = asked(dir.path(), Target::Newest).repository;
    let archives = archive::archived(&repository).await.expect("listed");
    let [one] = archives.as_slice() else { panic!("{archives:?}") };
    assert!(one.gap.is_none() && one.to.0 == last && one.bases == 1 && one.segments > 1, "{one:?}");
    for revision in [one.from.0, between - 3, between, between + 1, last - 7, last] {
        let (_place, new) = restored(dir.path(), Target::Revision(revision)).await;
        assert_eq!(state(&new, 0), state(&store, revision), "at revision {revision}");
        assert!(new.revision() > last + 1_000_000);
        new.shutdown().await;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let asked = asked(dir.path(), Target::Newest);
    archive::verify(&asked, scratch.path(), &quiet()).await.expect("whole");

    // Hash by hash: what is left of a state once everything before it is compacted.
    let revision = between + 9;
    let (_place, new) = restored(dir.path(), Target::Revision(revision)).await;
    let then = state(&store, revision);
    store.compact(revision).await.expect("compacted");
    let (was, is) = (store.hash(revision).await.expect("hashed"), new.hash(0).await.expect("hashed"));
    assert_eq!(was.hash, is.hash, "HashKV at revision {revision}");
    assert_eq!(state(&new, 0), then);
    new.shutdown().await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_would_change_and_leases_come_along() {
    let (old, dir) = (place("a", &[]), tempfile::tempdir().expect("a directory"));
    let store = open(&old).await;
    store.archive(archive(dir.path())).expect("a place");
    begun(&store).await;
    store.txn(0, put("same", "1")).await.expect("written");
    store.txn(0, put("changed", "1")).await.expect("written");
    store.txn(0, put("gone", "1")).await.expect("written");
    let then = store.revision();
    store.txn(0, put("changed", "2")).await.expect("written");
    store.txn(0, delete("gone")).await.expect("deleted");
    store.txn(0, put("new", "1")).await.expect("written");
    archived(&store).await;
    let scratch = tempfile::tempdir().expect("a directory");
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = told.clone();
    let each = move |change: Change, key: &[u8]| {
        heard.lock().expect("not poisoned").push((change, String::from_utf8_lossy(key).into_owned()));
    };
    let asked = |target| asked(dir.path(), target);
    let (one, progress) = (asked(Target::Revision(then)), quiet());
    let plan = archive::plan(&one, scratch.path().to_owned(), each, &progress).await.expect("planned");
    assert_eq!((plan.revision, plan.newest), (then, store.revision()));
    let words = [(Change::Changed, "changed"), (Change::Added, "gone"), (Change::Removed, "new")];
    let words: Vec<_> = words.into_iter().map(|(change, key)| (change, key.to_owned())).collect();
    assert_eq!(*told.lock().expect("not poisoned"), words);
    assert_eq!(
        (plan.difference.added, plan.difference.removed, plan.difference.changed, plan.difference.same),
        (1, 1, 1, 1)
    );
    let (one, scratch) = (asked(Target::Revision(then + 99)), tempfile::tempdir().expect("a directory"));
    let beyond = archive::plan(&one, scratch.path().to_owned(), |_, _| {}, &progress).await;
    assert!(beyond.is_err_and(|problem| problem.to_string().contains("ends at revision")));
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leads_goes_on_where_the_archive_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let places = founders(&["a", "b", "c"]);
    let mut stores = open_all(&places).await;
    for store in &stores {
        store.archive(archive(dir.path())).expect("a place");
    }
    work(&stores[0], 0..20).await;
    for _ in 0..2 {
        let leader = leadership(&stores[0], |held| held.leader.is_some()).await.leader.expect("somebody leads");
        let at = stores.iter().position(|store| store.id() == leader).expect("one of them");
        let follower = (at + 1) % stores.len();
        archived(&stores[follower]).await;
        let before = stores[follower].revision();
        if stores.len() == 3 {
            stores.remove(at).shutdown().await;
        } else {
            // Two of three are left: leadership moves, and nobody ends.
            let other = stores[follower].id();
            stores[at].transfer_leader(other).await.expect("moved");
        }
        work(&stores[0], 20..40).await;
        archived(&stores[0]).await;
        assert!(stores[0].revision() > before);
    }
    let repository = asked(dir.path(), Target::Newest).repository;
    let archives = archive::archived(&repository).await.expect("listed");
    assert!(archives.len() == 1 && archives[0].gap.is_none(), "{archives:?}");
    let (_place, new) = restored(dir.path(), Target::Newest).await;
    let bytes = |kvs: Vec<KeyValue>| kvs.iter().flat_map(Message::encode_to_vec).collect::<Vec<_>>();
    assert_eq!(bytes(state(&new, 0)), bytes(state(&stores[0], 0)));
    new.shutdown().await;
    for store in stores {
        store.shutdown().await;
    }
}

/// The archive of a member that has worked and ended.
async fn written(rounds: u32) -> tempfile::TempDir {
    let (old, dir) = (place("a", &[]), tempfile::tempdir().expect("a directory"));
    let store = open(&old).await;
    store.archive(archive(dir.path())).expect("a place");
    begun(&store).await;
    for round in 0..rounds {
        work(&store, round * 3..round * 3 + 3).await;
        archived(&store).await;
    }
    store.shutdown().await;
    dir
}

/// `FLIPPED_BITS` of all files together, one at a time.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_missing_is_found() {
    let dir = written(4).await;
    let repository = asked(dir.path(), Target::Newest).repository;
    let names: Vec<String> = repository.list("", None).await.expect("listed").into_iter().map(|one| one.name).collect();
    let verified = async || {
        let (scratch, asked) = (tempfile::tempdir().expect("a directory"), asked(dir.path(), Target::Newest));
        archive::verify(&asked, scratch.path(), &quiet()).await
    };
    verified().await.expect("whole");
    let flips: usize = std::env::var("FLIPPED_BITS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    for name in &names {
        let whole = repository.get(name).await.expect("there");
        for number in 0..flips.div_ceil(names.len()) {
            let (bits, mut other) = (whole.len() * 8, whole.to_vec());
            let bit = (number * 7919 + 5) % bits;
            other[bit / 8] ^= 1 << (bit % 8);
            repository.put(name, other).await.expect("put");
            let refused = verified().await.expect_err("a flipped bit").to_string();
            assert!(refused.contains(name.as_str()), "{refused}");
        }
        repository.put(name, whole.to_vec()).await.expect("put");
    }
    let segments: Vec<_> = names.iter().filter(|name| name.contains("/log/")).collect();
    repository.delete(segments[1]).await.expect("deleted");
    let found = verified().await.expect("what is there is whole");
    assert!(found.gap.is_some(), "{found:?}");
    let (asked, new) = (asked(dir.path(), Target::Time(i64::MAX)), dir.path().join("x"));
    let refused = archive::restore(&asked, &new, None, |_, _| Ok(()), &quiet()).await.expect_err("a gap").to_string();
    assert!(refused.contains("are missing") && !new.exists(), "{refused}");
}

/// What is put where a segment or a base lies is found, though it is whole in itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_anothers_place_is_found() {
    let (dir, foreign) = (written(3).await, written(3).await);
    let repository = |dir: &Path| asked(dir, Target::Newest).repository;
    let names = async |dir: &Path, folder: &str| -> Vec<String> {
        let listed = repository(dir).list("", None).await.expect("listed");
        listed.into_iter().map(|one| one.name).filter(|name| name.contains(folder)).collect()
    };
    let refused = async || {
        let (scratch, asked) = (tempfile::tempdir().expect("a directory"), asked(dir.path(), Target::Newest));
        archive::verify(&asked, scratch.path(), &quiet()).await.expect_err("another one").to_string()
    };
    let (own, theirs) = (repository(dir.path()), repository(foreign.path()));
    let segments = names(dir.path(), "/log/").await;
    let whole = own.get(&segments[0]).await.expect("there");
    own.put(&segments[0], own.get(&segments[1]).await.expect("there").to_vec()).await.expect("put");
    let why = refused().await;
    assert!(why.contains(&segments[0]) && why.contains("it is not the segment that has this name"), "{why}");
    own.put(&segments[0], whole.to_vec()).await.expect("put");

    for folder in ["/log/", "/base/"] {
        let (at, from) = (names(dir.path(), folder).await, names(foreign.path(), folder).await);
        let whole = own.get(&at[0]).await.expect("there");
        own.put(&at[0], theirs.get(&from[0]).await.expect("there").to_vec()).await.expect("put");
        let why = refused().await;
        let (group, _) = from[0].split_once('/').expect("a group");
        assert!(why.contains(&at[0]) && why.contains(&format!("of the cluster {group}")), "{why}");
        own.put(&at[0], whole.to_vec()).await.expect("put");
    }
    let scratch = tempfile::tempdir().expect("a directory");
    archive::verify(&asked(dir.path(), Target::Newest), scratch.path(), &quiet()).await.expect("whole again");
}

/// As where the leader dies while the first full copy is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_archived_before_a_full_copy_was_there_is_gone_on_from() {
    let (old, dir) = (place("a", &[]), tempfile::tempdir().expect("a directory"));
    let store = open(&old).await;
    store.archive(archive(dir.path())).expect("a place");
    work(&store, 0..20).await;
    archived(&store).await;
    let first = store.revision();
    store.shutdown().await;
    let bases = dir.path().join(format!("{:016x}", store.cluster_id())).join("base");
    std::fs::remove_dir_all(bases).expect("removed");
    drop(store);
    let store = open(&old).await;
    store.archive(archive(dir.path())).expect("a place");
    assert!(store.archive_standing().is_some_and(|standing| standing.revision == 0), "nothing can be restored");
    work(&store, 20..40).await;
    archived(&store).await;
    let archives = archive::archived(&asked(dir.path(), Target::Newest).repository).await.expect("listed");
    assert!(archives.len() == 1 && archives[0].gap.is_none(), "{archives:?}");
    let new = place("new", &[]);
    let earlier = asked(dir.path(), Target::Revision(first));
    let made = archive::restore(&earlier, &new.config.data_dir, None, |_, _| Ok(()), &quiet()).await;
    assert!(made.is_err_and(|why| why.to_string().contains("the archive begins later")));
    let (_place, new) = restored(dir.path(), Target::Newest).await;
    assert_eq!(state(&new, 0), state(&store, 0));
    new.shutdown().await;
    store.shutdown().await;
}

/// What there is of a group's log, in the order of names.
async fn segments(dir: &Path) -> Vec<String> {
    let listed = asked(dir, Target::Newest).repository.list("", None).await.expect("listed");
    listed.into_iter().map(|one| one.name).filter(|name| name.contains("/log/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_segments_become_large_ones_and_every_revision_comes_back() {
    let (old, dir) = (place("a", &[]), tempfile::tempdir().expect("a directory"));
    let merging = || Archive { merge: Duration::from_secs(1), ..archive(dir.path()) };
    let mut store = open(&old).await;
    store.archive(merging()).expect("a place");
    begun(&store).await;
    let (mut noted, mut written) = (Vec::new(), 0);
    for half in 0..2 {
        // Each of them is a segment of its own.
        for _ in 0..8 {
            work(&store, written * 3..written * 3 + 3).await;
            archived(&store).await;
            noted.push(store.revision());
            written += 1;
        }
        let merged = async {
            while segments(dir.path()).await.len() * 2 > written as usize {
                work(&store, written * 3..written * 3 + 3).await;
                archived(&store).await;
                written += 1;
            }
        };
        let done = tokio::time::timeout(PATIENCE, merged).await;
        assert!(done.is_ok(), "{written} segments: {:?}", segments(dir.path()).await);
        if half == 0 {
            // Another leadership goes on behind what was merged.
            store.shutdown().await;
            drop(store);
            store = open(&old).await;
            store.archive(merging()).expect("a place");
        }
    }
    let repository = asked(dir.path(), Target::Newest).repository;
    let archives = archive::archived(&repository).await.expect("listed");
    assert!(archives.len() == 1 && archives[0].gap.is_none(), "{archives:?}");
    let scratch = tempfile::tempdir().expect("a directory");
    archive::verify(&asked(dir.path(), Target::Newest), scratch.path(), &quiet()).await.expect("whole");
    for revision in noted.into_iter().step_by(3).flat_map(|noted| [noted - 4, noted]) {
        let (_place, new) = restored(dir.path(), Target::Revision(revision)).await;
        assert_eq!(state(&new, 0), state(&store, revision), "at revision {revision}");
        new.shutdown().await;
    }
    store.shutdown().await;
}

/// What the disk does by itself: so many bytes written and synced.
fn disk_takes(dir: &Path, bytes: usize) -> Duration {
    let (begun, path) = (std::time::Instant::now(), dir.join("bytes"));
    let mut file = std::fs::File::create(&path).expect("created");
    let piece = vec![7; 1 << 20];
    for _ in 0..bytes >> 20 {
        std::io::Write::write_all(&mut file, &piece).expect("written");
    }
    file.sync_all().expect("synced");
    std::fs::remove_file(path).expect("removed");
    begun.elapsed()
}

/// `RESTORE_MEGABYTES=1000 cargo test --release -p store --test it -- --nocapture a_large_state` measures.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_state_is_restored_in_time() {
    let megabytes: usize = std::env::var("RESTORE_MEGABYTES").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let (old, dir) = (place("a", &[]), tempfile::tempdir().expect("a directory"));
    let store = open(&old).await;
    // Half of it is in the base, and half in the entries that follow. What cannot be made smaller is the hardest case.
    let (mut random, mut written) = (0x5eed_u64, 0);
    for number in 0..megabytes * 16 {
        if number == megabytes * 8 {
            store.archive(archive(dir.path())).expect("a place");
        }
        let value: String = (0..(64 << 10) / 16)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                format!("{random:016x}")
            })
            .collect();
        written += value.len();
        store.txn(0, put(&format!("k{number:06}"), &value)).await.expect("written");
    }
    archived(&store).await;
    store.shutdown().await;
    let (new, begun) = (place("new", &[]), std::time::Instant::now());
    let (asked, progress) = (asked(dir.path(), Target::Newest), quiet());
    let made = archive::restore(&asked, &new.config.data_dir, None, |_, _| Ok(()), &progress).await.expect("restored");
    let took = begun.elapsed();
    let disk = disk_takes(dir.path(), written);
    eprintln!("{} MB restored in {took:?}; the disk alone takes {disk:?} for as much", written >> 20);
    assert_eq!(made.keys, (megabytes * 16) as u64);
    let allowed = Duration::from_secs(60).mul_f64((megabytes as f64 / 1000.0).max(0.5));
    assert!(took < allowed, "{took:?} for {megabytes} MB");
}
