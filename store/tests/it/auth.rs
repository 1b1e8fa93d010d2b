//! etcd's users and roles, through etcd's own command line.

use std::time::Duration;

use store::Store;
use store::etcd::{AuthOptions, Options, Tokens};

use crate::cluster::{caught_up, open, place, voters};
use crate::etcd::Etcdctl;

/// The cheapest hash that there is.
fn options() -> Options {
    let auth = AuthOptions { bcrypt_cost: 4, ..AuthOptions::default() };
    Options { auth, ..Options::default() }
}

async fn etcdctl(store: &Store) -> Etcdctl {
    Etcdctl::with(store, options()).await
}

impl Etcdctl {
    /// What a user is told.
    async fn by(&self, user: &str, arguments: &[&str]) -> (bool, String) {
        self.run(&[&["--user", user], arguments].concat(), "").await
    }

    async fn allows(&self, user: &str, arguments: &[&str]) -> String {
        let (done, text) = self.by(user, arguments).await;
        assert!(done, "{user} {arguments:?}: {text}");
        text
    }

    async fn refuses(&self, user: &str, arguments: &[&str], why: &str) {
        let (done, text) = self.by(user, arguments).await;
        assert!(!done && text.contains(why), "{user} {arguments:?}: {text}");
    }

    /// What somebody is told who does not say who it is.
    async fn refuses_strangers(&self, arguments: &[&str], why: &str) {
        let (done, text) = self.run(arguments, "").await;
        assert!(!done && text.contains(why), "{arguments:?}: {text}");
    }

    /// Users `root` (password r) and `a` (password p), who may read and write what begins with /a/ and read b.
    async fn guarded(&self) {
        self.ok(&["user", "add", "root:r"]).await;
        self.ok(&["role", "add", "root"]).await;
        self.ok(&["user", "grant-role", "root", "root"]).await;
        self.ok(&["user", "add", "a:p"]).await;
        self.ok(&["role", "add", "team"]).await;
        self.ok(&["role", "grant-permission", "team", "readwrite", "--prefix", "/a/"]).await;
        self.ok(&["role", "grant-permission", "team", "read", "b"]).await;
        self.ok(&["user", "grant-role", "a", "team"]).await;
        self.ok(&["auth", "enable"]).await;
    }
}

const DENIED: &str = "etcdserver: permission denied";
const NOBODY: &str = "etcdserver: user name is empty";
const WRONG: &str = "etcdserver: authentication failed, invalid user ID or password";

#[tokio::test(flavor = "multi_thread")]
async fn users_do_what_their_roles_allow_and_nothing_else() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let etcd = etcdctl(&store).await;
    etcd.refuses_strangers(&["auth", "enable"], "root user does not exist").await;
    let (_, text) = etcd.by("root:r", &["get", "x"]).await;
    assert!(text.contains("authentication is not enabled"), "{text}");
    etcd.guarded().await;

    etcd.refuses_strangers(&["get", "/a/1"], NOBODY).await;
    etcd.refuses_strangers(&["put", "/a/1", "x"], NOBODY).await;
    etcd.refuses_strangers(&["compaction", "1"], NOBODY).await;
    etcd.refuses_strangers(&["user", "list"], NOBODY).await;
    etcd.refuses("a:wrong", &["get", "/a/1"], WRONG).await;
    etcd.refuses("nobody:p", &["get", "/a/1"], WRONG).await;

    assert_eq!(etcd.allows("a:p", &["put", "/a/1", "x"]).await, "OK\n");
    assert_eq!(etcd.allows("a:p", &["get", "--prefix", "/a/"]).await, "/a/1\nx\n");
    etcd.allows("root:r", &["put", "b", "1"]).await;
    assert_eq!(etcd.allows("a:p", &["get", "b"]).await, "b\n1\n");
    etcd.refuses("a:p", &["put", "b", "2"], DENIED).await;
    etcd.refuses("a:p", &["get", "b", "c"], DENIED).await;
    etcd.refuses("a:p", &["get", "--from-key", "b"], DENIED).await;
    etcd.refuses("a:p", &["get", "--prefix", "/"], DENIED).await;
    etcd.refuses("a:p", &["watch", "b", "c"], DENIED).await;
    etcd.refuses("a:p", &["watch", "--prefix", "b"], DENIED).await;
    etcd.refuses("a:p", &["del", "b"], DENIED).await;
    for admin in [&["compaction", "1"][..], &["defrag"], &["user", "list"], &["role", "add", "x"], &["auth", "disable"]]
    {
        etcd.refuses("a:p", admin, DENIED).await;
    }
    // Everybody may know what they are themselves.
    assert!(etcd.allows("a:p", &["user", "get", "a"]).await.contains("Roles: team"));
    assert!(etcd.allows("a:p", &["role", "get", "team"]).await.contains("/a/"));
    etcd.refuses("a:p", &["role", "get", "root"], DENIED).await;

    etcd.refuses("root:r", &["user", "delete", "root"], "invalid auth management").await;
    etcd.refuses("root:r", &["user", "revoke-role", "root", "root"], "invalid auth management").await;
    etcd.allows("root:r", &["role", "revoke-permission", "team", "b"]).await;
    etcd.refuses("a:p", &["get", "b"], DENIED).await;
    etcd.allows("root:r", &["role", "delete", "team"]).await;
    etcd.refuses("a:p", &["get", "/a/1"], DENIED).await;
    etcd.allows("root:r", &["auth", "disable"]).await;
    assert_eq!(etcd.ok(&["get", "/a/1"]).await, "/a/1\nx\n");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_need_rights_on_their_keys() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let etcd = etcdctl(&store).await;
    etcd.guarded().await;
    let granted = etcd.allows("root:r", &["lease", "grant", "600"]).await;
    let id = granted.split(' ').nth(1).expect("an id").to_owned();
    let lease = format!("--lease={id}");
    etcd.allows("a:p", &["put", "/a/1", "x", &lease]).await;
    etcd.allows("a:p", &["lease", "timetolive", &id, "--keys"]).await;
    etcd.allows("root:r", &["put", "/secret", "x", &lease]).await;
    etcd.refuses("a:p", &["put", "/a/2", "x", &lease], DENIED).await;
    etcd.refuses("a:p", &["lease", "timetolive", &id, "--keys"], DENIED).await;
    etcd.allows("a:p", &["lease", "timetolive", &id]).await;
    etcd.refuses("a:p", &["lease", "revoke", &id], DENIED).await;
    etcd.refuses("a:p", &["lease", "list"], DENIED).await;
    etcd.refuses_strangers(&["lease", "grant", "600"], NOBODY).await;
    etcd.allows("root:r", &["lease", "revoke", &id]).await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_there_after_a_restart() {
    let place = place("a", &[]);
    let store = open(&place).await;
    etcdctl(&store).await.guarded().await;
    store.shutdown().await;
    drop(store);
    let store = open(&place).await;
    let etcd = etcdctl(&store).await;
    etcd.refuses_strangers(&["get", "/a/1"], NOBODY).await;
    etcd.allows("a:p", &["put", "/a/1", "x"]).await;
    etcd.refuses("a:p", &["put", "c", "x"], DENIED).await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_knows_users_and_tokens() {
    let first = place("a", &[]);
    let second = place("b", &[&first]);
    let third = place("c", &[&first]);
    let stores = [open(&first).await, open(&second).await, open(&third).await];
    voters(&stores[0], 3).await;
    let mut etcds = Vec::new();
    for store in &stores {
        etcds.push(etcdctl(store).await);
    }
    etcds[0].guarded().await;
    // etcdctl takes a token at one member and may use it at another.
    let all = etcds.iter().map(Etcdctl::endpoint).collect::<Vec<_>>().join(",");
    let everywhere = Etcdctl::at(all);
    for round in 0..6 {
        let key = format!("/a/{round}");
        everywhere.allows("a:p", &["put", &key, "x"]).await;
        for etcd in &etcds {
            assert_eq!(etcd.allows("a:p", &["get", &key]).await, format!("{key}\nx\n"));
            etcd.refuses("a:p", &["get", "c"], DENIED).await;
            etcd.refuses_strangers(&["get", &key], NOBODY).await;
        }
    }
    etcds[1].allows("root:r", &["user", "passwd", "--interactive=false", "a"]).await;
    for etcd in &etcds {
        etcd.refuses("a:p", &["get", "/a/1"], WRONG).await;
    }
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_tokens_do_what_kept_ones_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key.pem");
    std::fs::write(&key, rcgen::KeyPair::generate().expect("made").serialize_pem()).expect("written");
    let tokens = Tokens::parse(&format!("jwt,sign-method=ES256,ttl=10m,priv-key={}", key.display())).expect("read");
    let auth = AuthOptions { tokens, bcrypt_cost: 4, token_ttl: Duration::from_secs(300) };
    let place = place("a", &[]);
    let store = open(&place).await;
    let etcd = Etcdctl::with(&store, Options { auth, ..Options::default() }).await;
    etcd.guarded().await;
    assert_eq!(etcd.allows("a:p", &["put", "/a/1", "x"]).await, "OK\n");
    etcd.refuses("a:p", &["put", "b", "2"], DENIED).await;
    etcd.refuses("a:wrong", &["get", "/a/1"], WRONG).await;
    etcd.refuses_strangers(&["get", "/a/1"], NOBODY).await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_part_of_backups_and_of_snapshots() {
    let first = place("a", &[]);
    let store = open(&first).await;
    etcdctl(&store).await.guarded().await;
    let mut file = Vec::new();
    caught_up(&store).await;
    store.backup(serde_json::json!({}), &mut file).expect("memory");
    store.shutdown().await;

    let new = place("b", &[]);
    store::backup::restore(file.as_slice(), &new.config.data_dir, None).expect("whole");
    let store = open(&new).await;
    // What it was restored from is in no log entry: the second member gets it by a snapshot.
    let second = place("c", &[&new]);
    let joined = open(&second).await;
    voters(&joined, 2).await;
    for store in [&store, &joined] {
        let etcd = etcdctl(store).await;
        etcd.refuses_strangers(&["get", "/a/1"], NOBODY).await;
        etcd.allows("a:p", &["put", "/a/1", "x"]).await;
        etcd.refuses("a:p", &["put", "c", "x"], DENIED).await;
    }
    joined.shutdown().await;
    store.shutdown().await;
}
