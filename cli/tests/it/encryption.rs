//! A server whose data directory is encrypted: what lies on its disk, whom it opens for, and its backups.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::process::Server;
use crate::store_encryption::plain_of;

const MAP: &str = "mW4xK9vT2qR7nB5dH8jL3cF6";
const SECRET: &str = "sY1pZ6uE3aG8oN5wQ2kV7tJ4";
/// As objects hold it.
const SECRET_BASE64: &str = "c1kxcFo2dUUzYUc4b041d1Eya1Y3dEo0";

/// A server whose key lies in a file; none: nothing is encrypted.
fn server(name: &str, key: Option<&Path>) -> Server {
    let mut server = Server::new(name);
    server.extra.extend(key.into_iter().flat_map(|key| ["--encryption-key-file".into(), key.display().to_string()]));
    server
}

async fn fill(server: &Server) {
    let client = server.client().await;
    let map = serde_json::from_value(json!({ "metadata": { "name": "m" }, "data": { "k": MAP } })).expect("a map");
    Api::<ConfigMap>::namespaced(client.clone(), "default").create(&PostParams::default(), &map).await.expect("made");
    let secret = json!({ "metadata": { "name": "s" }, "stringData": { "k": SECRET } });
    let secret = serde_json::from_value(secret).expect("a Secret");
    Api::<Secret>::namespaced(client, "default").create(&PostParams::default(), &secret).await.expect("made");
}

async fn holds_all(server: &Server) {
    let client = server.client().await;
    let map = Api::<ConfigMap>::namespaced(client.clone(), "default").get("m").await.expect("it is there");
    assert_eq!(map.data.expect("given")["k"], MAP);
    let secret = Api::<Secret>::namespaced(client, "default").get("s").await.expect("it is there");
    assert_eq!(secret.data.expect("given")["k"].0, SECRET.as_bytes());
}

/// Where something of what was written lies readable below a directory.
fn readable(dir: &Path) -> Vec<String> {
    [MAP, SECRET, SECRET_BASE64].iter().flat_map(|mark| plain_of(dir, mark)).collect()
}

#[tokio::test]
async fn what_a_server_keeps_is_unreadable_and_opens_for_its_key_alone() {
    let files = tempfile::tempdir().expect("a directory");
    let key = |name: &str, byte: u8| {
        let path = files.path().join(name);
        fs::write(&path, format!("{byte:02x}").repeat(32)).expect("written");
        path
    };
    let (first, second) = (key("first", 7), key("second", 8));
    let mut plainly = server("plain", None);
    plainly.start(None);
    fill(&plainly).await;
    plainly.kill();
    assert!(!readable(plainly.data_dir()).is_empty(), "without a key it is readable");

    let mut old = server("old", Some(&first));
    old.start(None);
    fill(&old).await;
    let backup = files.path().join("backup").display().to_string();
    let taken = old.ask(&["backup", "create", &backup]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(readable(old.data_dir()), [""; 0], "while it runs");
    old.kill();
    assert_eq!(readable(old.data_dir()), [""; 0], "killed");
    old.start(None);
    holds_all(&old).await;
    assert!(old.terminate(), "it ends well");
    assert_eq!(readable(old.data_dir()), [""; 0], "ended");

    let right = std::mem::replace(&mut old.extra, vec!["--roles".into(), "server".into()]);
    let (code, said) = old.start_in_vain(None);
    assert!(code == Some(1) && said.contains("name its key with --encryption-key-file"), "{code:?} {said}");
    old.extra.extend(["--encryption-key-file".into(), second.display().to_string()]);
    let (code, said) = old.start_in_vain(None);
    assert!(code == Some(1) && said.contains("does not open the data directory"), "{code:?} {said}");
    assert!(said.contains("name that one") && !said.contains("0808"), "{said}");
    old.extra = right;
    old.start(None);
    holds_all(&old).await;
    old.kill();

    let mut new = server("new", Some(&second));
    let dir = new.data_dir().display().to_string();
    let key = second.display().to_string();
    let restored = Server::plain(&["backup", "restore", &backup, "--data-dir", &dir, "--encryption-key-file", &key]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert_eq!(readable(new.data_dir()), [""; 0], "restored");
    new.start(None);
    holds_all(&new).await;
    new.kill();
    assert_eq!(readable(new.data_dir()), [""; 0], "and in use");
}
