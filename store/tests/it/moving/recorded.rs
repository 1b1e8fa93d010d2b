//! Snapshots that real etcds made, recorded: what is in them arrives, and what is done to them is found out.

use std::path::PathBuf;

use store::moving::{self, Origin, Problem};

use super::{Peer, import};
use crate::cluster::{founders, open};

/// By the version of the etcd that wrote them with `etcdctl snapshot save`, packed with zstd.
const RECORDED: [(&str, &[u8]); 2] = [
    ("3.4.23", include_bytes!("../../data/snapshot-3.4.23.db.zst")),
    ("3.7.3", include_bytes!("../../data/snapshot-3.7.3.db.zst")),
];

fn unpacked(packed: &[u8]) -> Vec<u8> {
    zstd::bulk::decompress(packed, 1 << 20).expect("whole")
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("snapshot.db");
    std::fs::write(&file, bytes).expect("written");
    (dir, file)
}

/// The newest of them as a file.
pub(super) fn snapshot() -> (tempfile::TempDir, PathBuf) {
    written(&unpacked(RECORDED[1].1))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_etcds_of_all_versions_wrote_arrives() {
    for (version, packed) in RECORDED {
        let (_dir, file) = written(&unpacked(packed));
        let places = founders(&["a"]);
        let moved = import(Origin::File(file), &places[0]).await.expect(version);
        assert!(moved.lines[1].contains("1 leases, 2 users, 2 roles; authentication is on"), "{version}: {moved:?}");
        let store = open(&places[0]).await;
        let nobody = Peer::at(&served_at(&store).await, None).await;
        assert!(nobody.refused().await, "{version}");
        let root = nobody.logged_in("root", "secret").await;
        assert_eq!(root.readable().await, (6, 10), "{version}");
        let values = |revision| {
            let root = root.clone();
            async move {
                let state = root.state(revision).await;
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
                state
                    .into_values()
                    .map(|kv| format!("{}={} v{}", text(&kv.key), text(&kv.value), kv.version))
                    .collect::<Vec<_>>()
            }
        };
        assert_eq!(values(6).await, ["a=3 v3", "b=1 v1"], "{version}");
        assert_eq!(values(10).await, ["a=4 v4", "c=1 v1", "leased=1 v1"], "{version}");
        let leases = root.leases().await;
        assert_eq!(
            leases.into_values().map(|(ttl, keys)| (ttl, keys.len())).collect::<Vec<_>>(),
            [(3600, 1)],
            "{version}"
        );
        store.shutdown().await;
    }
}

pub(super) async fn served_at(store: &store::Store) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    store.serve_etcd(listener, None, store::etcd::Options::default());
    endpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_nothing_is_left() {
    let good = unpacked(RECORDED[1].1);
    let (mut flipped, cut, foreign) = (good.clone(), good[..good.len() - 4096].to_vec(), vec![7; 8192]);
    flipped[20_000] ^= 1;
    // Without its checksum a database is taken as it is, and said to be unproven.
    let bare = &good[..good.len() - 32];
    let cut_bare = bare[..bare.len() - 4096].to_vec();
    for (bytes, why) in [
        (flipped, "its checksum does not match"),
        (cut, "its checksum does not match"),
        (good[..good.len() - 7].to_vec(), "it is cut off or no snapshot"),
        (cut_bare, "it is cut off: "),
        (foreign, "neither page of meta data is whole"),
    ] {
        let (_dir, file) = written(&bytes);
        let places = founders(&["a"]);
        let problem = import(Origin::File(file), &places[0]).await.expect_err(why);
        assert!(matches!(&problem, Problem::Refused(text) if text.contains(why)), "{why}: {problem}");
        let dir = &places[0].config.data_dir;
        let left = std::fs::read_dir(dir).expect("as it was").count();
        assert!(
            left == 0 && !dir.with_file_name(format!("{}.importing", dir.file_name().expect("one").display())).exists()
        );
    }
    let (_dir, file) = written(bare);
    let places = founders(&["a"]);
    let moved = import(Origin::File(file), &places[0]).await.expect("taken");
    assert!(moved.lines.iter().any(|line| line.contains("carries no checksum")), "{moved:?}");
    let again = import(Origin::File(places[0].config.data_dir.join("identity.json")), &places[0]).await;
    assert!(matches!(again, Err(Problem::Refused(text)) if text.contains("is not empty")));
}

#[test]
fn no_flipped_bit_of_a_database_is_followed_into_nowhere() {
    let good = unpacked(RECORDED[1].1);
    let good = &good[..good.len() - 32];
    assert_eq!(moving::check(good).expect("whole"), 10);
    let mut bytes = good.to_vec();
    let held = |bytes: &[u8], at: usize| bytes[at / 4096 * 4096..][..4096].iter().any(|byte| *byte != 0);
    for at in (0..bytes.len()).filter(|at| held(good, *at)).step_by(7) {
        for bit in [0, 3, 7] {
            bytes[at] ^= 1 << bit;
            // Whatever it says: it says something.
            let _ = moving::check(&bytes);
            bytes[at] ^= 1 << bit;
        }
    }
}
