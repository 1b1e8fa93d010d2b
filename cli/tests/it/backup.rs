//! The whole way: a cluster is backed up, lost, and comes back from the file.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::process::{PATIENCE, Server};

#[tokio::test]
async fn a_cluster_comes_back_from_its_backup() {
    let files = tempfile::tempdir().expect("a directory");
    let at = |name: &str| files.path().join(name).display().to_string();
    let mut old = Server::new("old");
    old.start(None);
    let client = old.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let object = serde_json::from_value(json!({ "metadata": { "name": "m" }, "data": { "k": "v" } })).expect("a map");
    let made = maps.create(&PostParams::default(), &object).await.expect("created");
    let secrets: Api<Secret> = Api::namespaced(client, "default");
    let object = serde_json::from_value(json!({ "metadata": { "name": "s" }, "data": { "k": "c2VhbGVk" } }));
    secrets.create(&PostParams::default(), &object.expect("a Secret")).await.expect("created");

    let taken = old.ask(&["backup", "create", &at("b")]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert!(!old.ask(&["backup", "create", &at("b")]).status.success(), "a backup overwrites nothing");
    let passphrase = at("passphrase");
    std::fs::write(&passphrase, "correct horse\n").expect("written");
    let sealed = old.ask(&["backup", "create", &at("sealed"), "--passphrase-file", &passphrase]);
    assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
    old.kill();
    assert!(std::fs::read(at("sealed")).expect("the file").starts_with(b"age-encryption.org/v1"));
    assert_eq!(
        Server::plain(&["backup", "verify", &at("sealed")]).status.code(),
        Some(4),
        "it does not open by itself"
    );
    let opened = Server::plain(&["backup", "verify", &at("sealed"), "--passphrase-file", &passphrase]);
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));

    let mut bytes = std::fs::read(at("b")).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    std::fs::write(at("bad"), &bytes).expect("written");
    for command in [vec!["backup", "verify", "bad"], vec!["backup", "restore", "bad", "--data-dir", "new"]] {
        let command: Vec<String> = command
            .iter()
            .map(|word| if matches!(*word, "bad" | "new") { at(word) } else { (*word).to_owned() })
            .collect();
        let refused = Server::plain(&command);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains("block 1 at byte"), "{why}");
    }
    assert!(!std::path::Path::new(&at("new")).exists());

    let mut new = Server::new("new");
    let restored = Server::plain(&["backup", "restore", &at("b"), "--data-dir", &new.data_dir().display().to_string()]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    new.start(None);
    let client = new.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map = maps.get("m").await.expect("it is there");
    assert_eq!((map.data.expect("given")["k"].as_str(), map.metadata.uid), ("v", made.metadata.uid));
    let secret = Api::<Secret>::namespaced(client, "default").get("s").await.expect("it is there");
    assert_eq!(secret.data.expect("given")["k"].0, b"sealed");
    let list = maps.list(&kube::api::ListParams::default()).await.expect("a list");
    let (before, after) = (made.metadata.resource_version, list.metadata.resource_version);
    let number = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok()).expect("a number");
    assert!(number(after) > number(before) + 1_000_000, "revisions never go back");
}

/// Makes a pod on the node `n`, whose account may not be there yet, and waits until it runs; answers its container.
async fn runs(pods: &Api<Pod>, name: &str) -> (String, i32) {
    let pod = json!({ "metadata": { "name": name },
        "spec": { "nodeName": "n", "containers": [{ "name": "c", "image": "sim" }] } });
    let pod = serde_json::from_value(pod).expect("a Pod");
    let running = async {
        while pods.get_opt(name).await.expect("an answer").is_none() {
            let _ = pods.create(&PostParams::default(), &pod).await;
        }
        loop {
            let status = pods.get(name).await.expect("it is there").status.unwrap_or_default();
            let container = status.container_statuses.unwrap_or_default().into_iter().next();
            if let Some(id) = container.as_ref().and_then(|c| c.container_id.clone().filter(|_| c.ready)) {
                return (id, container.expect("just seen").restart_count);
            }
        }
    };
    tokio::time::timeout(PATIENCE, running).await.unwrap_or_else(|_| panic!("{name} does not run"))
}

#[tokio::test]
async fn agents_of_the_lost_cluster_go_on_with_the_restored_one() {
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("b").display().to_string();
    let mut old = Server::new("old");
    old.start(None);
    let token = old.ask_json(&["token", "create", "--role", "node"])["token"].as_str().expect("a token").to_owned();
    let mut node = Server::new("n");
    node.start_node(&token);
    let before = runs(&Api::namespaced(old.client().await, "default"), "p").await;
    assert!(old.ask(&["backup", "create", &file]).status.success());
    old.kill();
    let mut new = old.successor("new");
    let restored = Server::plain(&["backup", "restore", &file, "--data-dir", &new.data_dir().display().to_string()]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    new.start(None);
    let pods: Api<Pod> = Api::namespaced(new.client().await, "default");
    runs(&pods, "q").await;
    assert_eq!(runs(&pods, "p").await, before, "nothing was started again");
    assert!(node.terminate(), "ended well");
}
