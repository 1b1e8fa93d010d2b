//! etcd's own command line against the etcd API of a member.

use std::process::Stdio;

use proto::mvccpb::event::EventType;
use store::Store;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::cluster::{PATIENCE, open, place};

pub(crate) struct Etcdctl {
    endpoint: String,
}

impl Etcdctl {
    async fn new(store: &Store) -> Self {
        Etcdctl::with(store, store::etcd::Options { protected: "/registry/".into(), ..Default::default() }).await
    }

    pub(crate) async fn with(store: &Store, options: store::etcd::Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        store.serve_etcd(listener, None, options);
        Etcdctl { endpoint }
    }

    /// Of members that are served already.
    pub(crate) fn at(endpoint: String) -> Self {
        Etcdctl { endpoint }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(&self.endpoint).args(arguments).kill_on_drop(true);
        command
    }

    /// What it prints, on success and on failure.
    pub(crate) async fn run(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl is installed (apt install etcd-client)");
        let mut stdin = child.stdin.take().expect("piped");
        tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await.expect("it reads");
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("in time").expect("it ends");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("text"))
    }

    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let (success, text) = self.run(arguments, "").await;
        assert!(success, "{arguments:?}: {text}");
        text
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_reads_and_writes() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let etcd = Etcdctl::new(&store).await;
    assert_eq!(etcd.ok(&["put", "a", "1"]).await, "OK\n");
    etcd.ok(&["put", "b", "2"]).await;
    etcd.ok(&["put", "a", "3"]).await;
    assert_eq!(etcd.ok(&["get", "a"]).await, "a\n3\n");
    assert_eq!(etcd.ok(&["get", "--rev=2", "a"]).await, "a\n1\n");
    assert_eq!(
        etcd.ok(&["get", "--prefix", "", "--keys-only", "--sort-by=MODIFY", "--order=DESCEND"]).await,
        "a\n\nb\n\n"
    );
    assert_eq!(etcd.ok(&["del", "b", "--prev-kv"]).await, "1\nb\n2\n");
    let (_, text) = etcd.run(&["txn"], "value(\"a\") = \"3\"\n\nput c 4\nget a\n\nput d 5\n\n").await;
    assert_eq!(text, "SUCCESS\n\nOK\n\na\n3\n");
    assert_eq!(etcd.ok(&["compaction", "4"]).await, "compacted revision 4\n");
    let (success, text) = etcd.run(&["get", "--rev=2", "a"], "").await;
    assert!(!success && text.contains("etcdserver: mvcc: required revision has been compacted"), "{text}");
    let (success, text) = etcd.run(&["put", "/registry/pods/default/x", "{}"], "").await;
    assert!(!success && text.contains("belong to the Kubernetes API"), "{text}");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_watches_from_the_past_on() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let etcd = Etcdctl::new(&store).await;
    for value in ["1", "2"] {
        etcd.ok(&["put", "w", value]).await;
    }
    let mut command = etcd.command(&["watch", "w", "--rev=2", "--prev-kv"]);
    let mut watch = command.stdout(Stdio::piped()).spawn().expect("etcdctl is installed");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(watch.stdout.take().expect("piped")));
    let mut next = async || tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("read");
    let mut seen = Vec::new();
    while seen.len() < 8 {
        seen.push(next().await.expect("it goes on"));
    }
    assert_eq!(seen, ["PUT", "w", "1", "PUT", "w", "1", "w", "2"]);
    etcd.ok(&["del", "w"]).await;
    while seen.len() < 11 {
        seen.push(next().await.expect("it goes on"));
    }
    assert_eq!(seen[8..], ["DELETE", "w", "2"]);
    watch.kill().await.expect("ended");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_leases_end_with_their_keys() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let etcd = Etcdctl::new(&store).await;
    let id_of = |granted: String| granted.split_whitespace().nth(1).expect("an id").to_owned();
    // One that outlives the calls about it, however slow they are, and one that ends.
    let long = id_of(etcd.ok(&["lease", "grant", "600"]).await);
    etcd.ok(&["put", "--lease", &long, "kept", "v"]).await;
    let left = etcd.ok(&["lease", "timetolive", &long, "--keys"]).await;
    assert!(left.contains("granted with TTL(600s)") && left.contains("kept"), "{left}");
    assert!(etcd.ok(&["lease", "keep-alive", "--once", &long]).await.contains("keepalived with TTL(600)"));
    let mut watcher = store.watch(&store::api::WatchSpec { key: "leased".into(), ..Default::default() });
    let id = id_of(etcd.ok(&["lease", "grant", "5"]).await);
    etcd.ok(&["put", "--lease", &id, "leased", "v"]).await;
    let deleted = async {
        loop {
            let batch = watcher.next().await.expect("alive");
            if let Some(event) = batch.events.iter().find(|event| event.r#type() == EventType::Delete) {
                return event.prev_kv.is_some();
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, deleted).await.expect("in time"));
    assert!(etcd.ok(&["get", "leased"]).await.is_empty());
    assert!(etcd.ok(&["lease", "timetolive", &id]).await.contains("already expired"));
    let (success, text) = etcd.run(&["lease", "revoke", &id], "").await;
    assert!(!success && text.contains("etcdserver: requested lease not found"), "{text}");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_saves_a_snapshot_that_etcd_restores() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let etcd = Etcdctl::new(&store).await;
    for number in 0..300 {
        store.txn(0, crate::cluster::put(&format!("k{number}"), &"v".repeat(100))).await.expect("written");
    }
    etcd.ok(&["del", "k7"]).await;
    etcd.ok(&["compaction", "100"]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("snapshot.db").display().to_string();
    etcd.ok(&["snapshot", "save", &file]).await;
    let status = etcd.ok(&["snapshot", "status", &file, "-w", "json"]).await;
    assert!(status.contains(&format!("\"revision\":{},\"totalKey\":", store.revision())), "{status}");
    let data = dir.path().join("restored").display().to_string();
    etcd.ok(&["snapshot", "restore", &file, "--data-dir", &data]).await;
    // Newer etcds have a tool of its own for both.
    for (number, tool) in std::env::var("ETCDUTL").unwrap_or_default().split_whitespace().enumerate() {
        let data = dir.path().join(format!("restored-{number}")).display().to_string();
        for arguments in [vec!["status", &file, "-w", "json"], vec!["restore", &file, "--data-dir", &data]] {
            let output = Command::new(tool).arg("snapshot").args(arguments).output().await.expect("ETCDUTL starts");
            let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
            assert!(output.status.success(), "{tool}: {text}");
        }
    }
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_sees_members_and_health() {
    let place = place("first", &[]);
    let store = open(&place).await;
    let etcd = Etcdctl::new(&store).await;
    let members = etcd.ok(&["member", "list"]).await;
    assert!(
        members.contains(&format!("{:x}, started, first, {}", store.id(), place.config.peer_advertise[0])),
        "{members}"
    );
    let status = etcd.ok(&["endpoint", "status", "-w", "json"]).await;
    assert!(status.contains(&format!("\"leader\":{}", store.id())), "{status}");
    assert!(etcd.ok(&["endpoint", "health"]).await.contains("is healthy"));
    etcd.ok(&["put", "k", "v"]).await;
    let hashed = etcd.ok(&["endpoint", "hashkv", "-w", "json"]).await;
    let hash = store.hash(store.revision()).await.expect("hashed").hash;
    assert!(hash != 0 && hashed.contains(&format!("\"hash\":{hash}")), "{hash}: {hashed}");
    store.shutdown().await;
}
