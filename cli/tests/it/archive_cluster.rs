//! Servers of a cluster archive what their API is told, and objects of a chosen moment come back in a new cluster.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::member::text;
use crate::process::{PATIENCE, Server, three_servers, until};
use crate::store_archive::moment;

fn map(name: &str, word: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "word": word } })).expect("a ConfigMap")
}

/// Creates one once somebody leads; answers its revision.
async fn create(maps: &Api<ConfigMap>, name: &str) -> i64 {
    let made = async {
        loop {
            match maps.create(&PostParams::default(), &map(name, "first")).await {
                Ok(made) => break made,
                // Acknowledged by who was killed then.
                Err(kube::Error::Api(status)) if status.code == 409 => break maps.get(name).await.expect("there"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let made = tokio::time::timeout(PATIENCE, made).await.expect("in time");
    made.metadata.resource_version.and_then(|revision| revision.parse().ok()).expect("a revision")
}

/// The names of all maps in the namespace, but for what the cluster makes itself.
async fn names(maps: &Api<ConfigMap>) -> Vec<String> {
    let list = maps.list(&ListParams::default()).await.expect("a list");
    let names = list.items.into_iter().filter_map(|map| map.metadata.name);
    names.filter(|name| name != "kube-root-ca.crt").collect()
}

fn restored(name: &str, place: &str, more: &[&str]) -> Server {
    let mut new = Server::new(name);
    let dir = new.data_dir().display().to_string();
    let output = Server::plain(&[&["backup", "restore", place, "--data-dir", &dir], more].concat());
    assert!(output.status.success(), "{more:?}: {}", text(&output.stderr));
    new.start(None);
    new
}

#[tokio::test]
async fn objects_of_a_chosen_moment_come_back_though_a_leader_died() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("archive").display().to_string();
    let servers = ["a", "b", "c"].map(Server::new).into_iter().map(|mut server| {
        server.extra.push(format!("--archive-to={place}"));
        server
    });
    let mut servers = three_servers(servers.collect());
    let client = servers[0].client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let secrets: Api<Secret> = Api::default_namespaced(client);
    create(&maps, "kept").await;
    create(&maps, "changed").await;
    let secret = json!({ "metadata": { "name": "s" }, "data": { "k": "c2VhbGVk" } });
    let secret = serde_json::from_value(secret).expect("a Secret");
    secrets.create(&PostParams::default(), &secret).await.expect("created");
    let then = moment();
    let word = Patch::Merge(json!({ "data": { "word": "second" } }));
    maps.patch("changed", &PatchParams::default(), &word).await.expect("patched");
    secrets.delete("s", &DeleteParams::default()).await.expect("deleted");
    create(&maps, "later").await;

    let status = servers[0].ask_json(&["status"]);
    let members = status["members"].as_array().expect("a list");
    let leader = members.iter().find(|member| member["state"] == "leader").and_then(|leader| leader["name"].as_str());
    let at = servers.iter().position(|server| Some(server.name.as_str()) == leader).expect("one of them");
    servers.remove(at).kill();
    let living = &servers[0];
    let last = create(&Api::default_namespaced(living.client().await), "last").await;
    let archive = || living.ask_json(&["status"])["archive"].clone();
    until("it is archived", || archive()["revision"].as_i64().is_some_and(|revision| revision >= last));
    let told = text(&living.ask(&["status"]).stdout);
    assert!(told.contains(&format!("archived in {place}: the newest write is ")) && told.contains(" s old"), "{told}");
    until("it is young", || living.ask(&["backup", "schedule", "--max-age", "1s"]).status.success());
    assert!(archive()["time_ms"].as_i64().is_some_and(|time| time > 0), "{}", archive());
    servers.iter_mut().for_each(Server::kill);

    let planned = Server::plain(&["backup", "restore", &place, "--to-time", &then, "--plan", "-o", "json"]);
    let planned: Value = serde_json::from_slice(&planned.stdout).expect("JSON");
    let told = planned["changes"].to_string();
    let key = |change: &str, key: &str| json!({ "change": change, "key": key }).to_string();
    for change in [
        key("added", "/registry/secrets/default/s"),
        key("changed", "/registry/configmaps/default/changed"),
        key("removed", "/registry/configmaps/default/later"),
        key("removed", "/registry/configmaps/default/last"),
    ] {
        assert!(told.contains(&change), "{change}: {told}");
    }
    assert!(!told.contains("configmaps/default/kept"), "{told}");

    let past = restored("past", &place, &["--to-time", &then]);
    let client = past.client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    assert_eq!(names(&maps).await, ["changed", "kept"]);
    let changed = maps.get("changed").await.expect("there");
    assert_eq!(changed.data.expect("given")["word"], "first");
    let secret = Api::<Secret>::default_namespaced(client).get("s").await.expect("there");
    assert_eq!(secret.data.expect("given")["k"].0, b"sealed");
    create(&maps, "new").await;

    let newest = restored("newest", &place, &[]);
    let client = newest.client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    assert_eq!(names(&maps).await, ["changed", "kept", "last", "later"]);
    let secret = Api::<Secret>::default_namespaced(client).get_opt("s").await.expect("an answer");
    assert!(secret.is_none(), "it was deleted");
}
