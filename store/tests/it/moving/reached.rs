//! How the source is reached, where its data lies afterwards, and what happens when nobody wants it any more.

use std::fs;

use store::config::KeySource;
use store::etcd::Options;
use store::moving::{self, Access, Import, Origin, Problem, Progress, User};
use store::tls::{TlsFiles, acceptor};
use tokio::net::TcpListener;

use super::recorded::snapshot;
use super::{Peer, import, served};
use crate::cluster::{founders, get, open, put, tls_for};

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_looked_at_and_shown_and_users_let_in() {
    let (_held, file) = snapshot();
    let (first, second) = (founders(&["a"]), founders(&["a"]));
    import(Origin::File(file.clone()), &first[0]).await.expect("imported");
    let store = open(&first[0]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let pems = tls_for("127.0.0.1");
    let pem = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let (ca, cert, key) = (pem("ca", &pems.ca_pem), pem("cert", &pems.cert_pem), pem("key", &pems.key_pem));
    let files = TlsFiles { cert: cert.clone(), key: key.clone(), trusted_ca: Some(ca.clone()), ..TlsFiles::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoints = vec![listener.local_addr().expect("an address").to_string()];
    store.serve_etcd(listener, Some(acceptor(&files).expect("sound")), Options::default());
    let user = |password: &str| Some(User { name: "root".to_owned(), password: password.to_owned() });
    let dials = |client| Some(TlsFiles { client, trusted_ca: Some(ca.clone()), ..TlsFiles::default() });
    let shown = Some((cert, key));
    let alone = Access { endpoints: endpoints.clone(), tls: dials(None), user: user("secret") };
    let wrong = Access { endpoints: endpoints.clone(), tls: dials(shown.clone()), user: user("other") };
    let unsafely = Access { endpoints: endpoints.clone(), tls: None, user: user("secret") };
    // Whether the server's alert or the end of the connection comes first is chance: the words differ.
    for (access, refused, why) in
        [(alone, false, ""), (wrong, true, "invalid user ID or password"), (unsafely, false, "")]
    {
        let problem = import(Origin::Etcd(Box::new(access)), &second[0]).await.expect_err("not let in");
        assert_eq!(matches!(problem, Problem::Refused(_)), refused, "{problem}");
        assert!(refused || matches!(problem, Problem::Unreachable(_)), "{problem}");
        assert!(problem.to_string().contains(why), "{problem}");
    }
    let access = Access { endpoints, tls: dials(shown), user: user("secret") };
    let moved = import(Origin::Etcd(Box::new(access)), &second[0]).await.expect("imported");
    assert!(moved.lines.iter().any(|line| line.contains("HashKV")), "{moved:?}");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_encrypted_is_encrypted_from_the_beginning() {
    let (_held, file) = snapshot();
    let mut places = founders(&["a"]);
    let keys = tempfile::NamedTempFile::new().expect("a file");
    fs::write(keys.path(), [7; 32]).expect("written");
    places[0].config.encryption = Some(KeySource::KeyFile(keys.path().to_owned()));
    import(Origin::File(file.clone()), &places[0]).await.expect("imported");
    let store = open(&places[0]).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some("4"));
    store.txn(0, put("more", "1")).await.expect("written");
    store.shutdown().await;
    places[0].config.encryption = None;
    assert!(store::Store::open(places[0].config.clone()).await.is_err(), "nobody reads it without the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_stopped_leaves_nothing() {
    let (_held, file) = snapshot();
    let places = founders(&["a"]);
    let data_dir = places[0].config.data_dir.clone();
    let progress = Progress::new(|_| {});
    progress.stop.cancel();
    let asked = Import { origin: Origin::File(file), data_dir: data_dir.clone(), encryption: None };
    let problem = moving::import(asked, progress).await.expect_err("stopped");
    assert!(problem.to_string().contains("stopped on request"), "{problem}");
    let name = format!("{}.importing", data_dir.file_name().expect("a name").display());
    assert!(!data_dir.with_file_name(name).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_begins_a_group_of_its_own_only() {
    let (_held, file) = snapshot();
    let places = founders(&["a", "b", "c"]);
    import(Origin::File(file.clone()), &places[0]).await.expect("imported");
    let refused =
        store::Store::open(places[0].config.clone()).await.err().expect("two that are empty would outvote it");
    assert!(refused.to_string().contains("itself alone"), "{refused}");
    let alone = founders(&["a"]);
    import(Origin::File(file.clone()), &alone[0]).await.expect("imported");
    let store = open(&alone[0]).await;
    let root = Peer::at(&super::recorded::served_at(&store).await, None).await.logged_in("root", "secret").await;
    let again = served(&store, &root).await;
    assert_eq!(root.readable().await, again.readable().await);
    store.shutdown().await;
}
