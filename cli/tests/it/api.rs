//! The Kubernetes API of one server, through an independent client and through kubectl.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::process::{PATIENCE, Server};

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "v": value } }, "data": { "k": value } }))
        .expect("fits")
}

fn refusal(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn objects_are_written_read_and_watched() {
    let mut server = Server::new("a");
    // Nobody else writes here: controllers publish ConfigMaps of their own, which would be counted.
    server.extra.extend(["--controllers".into(), "-*".into()]);
    server.start(None);
    let client = server.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let made = maps.create(&PostParams::default(), &config_map("a", "1")).await.expect("created");
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    let (code, text) = refusal(maps.create(&PostParams::default(), &config_map("a", "1")).await.expect_err("taken"));
    assert_eq!((code, text.as_str()), (409, "configmaps \"a\" already exists"));

    let since = made.metadata.resource_version.clone().expect("a version");
    let events = maps.watch(&WatchParams::default(), &since).await.expect("watched");
    let mut events = Box::pin(events);
    let mut stale = made.clone();
    stale.metadata.resource_version = Some("1".to_owned());
    let (code, _) = refusal(maps.replace("a", &PostParams::default(), &stale).await.expect_err("too late"));
    assert_eq!(code, 409);
    let patch = Patch::Merge(json!({ "data": { "k": "2" }, "metadata": { "labels": { "v": "2" } } }));
    maps.patch("a", &PatchParams::default(), &patch).await.expect("patched");
    maps.delete("a", &DeleteParams::default()).await.expect("deleted");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event =
            tokio::time::timeout(PATIENCE, events.next()).await.expect("in time").expect("goes on").expect("an event");
        seen.push(match event {
            WatchEvent::Modified(map) => format!("modified {}", map.data.expect("data")["k"]),
            WatchEvent::Deleted(map) => format!("deleted {}", map.data.expect("data")["k"]),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["modified 2", "deleted 2"]);
    assert_eq!(refusal(maps.get("a").await.expect_err("gone")), (404, "configmaps \"a\" not found".to_owned()));

    for number in 0..5 {
        maps.create(&PostParams::default(), &config_map(&format!("m{number}"), &(number % 2).to_string()))
            .await
            .expect("created");
    }
    let odd = maps.list(&ListParams::default().labels("v=1")).await.expect("listed");
    assert_eq!(odd.items.len(), 2);
    let page = maps.list(&ListParams::default().limit(2)).await.expect("listed");
    let (token, left) = (page.metadata.continue_.expect("more"), page.metadata.remaining_item_count);
    assert_eq!((page.items.len(), left), (2, Some(3)));
    let rest = maps.list(&ListParams::default().limit(10).continue_token(&token)).await.expect("listed");
    assert_eq!(rest.items.len(), 3);
    assert!(server.terminate(), "it ends well when told to");
}

#[tokio::test]
async fn a_strategic_patch_knows_containers_by_name() {
    let mut server = Server::new("a");
    server.start(None);
    let deployments: Api<Deployment> = Api::namespaced(server.client().await, "default");
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": "web" },
        "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": {
            "metadata": { "labels": { "a": "b" } },
            "spec": { "containers": [{ "name": "one", "image": "1" }, { "name": "two", "image": "1" }] }
        } }
    }))
    .expect("fits");
    let made = deployments.create(&PostParams::default(), &deployment).await.expect("created");
    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "two", "image": "2" }] } } } });
    let patched = deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("patched");
    assert_eq!((made.metadata.generation, patched.metadata.generation), (Some(1), Some(2)));
    let containers = patched.spec.expect("a spec").template.spec.expect("a spec").containers;
    let images: Vec<_> = containers.iter().map(|container| container.image.as_deref().unwrap_or_default()).collect();
    assert_eq!(images, ["1", "2"]);
}

#[tokio::test]
async fn secrets_survive_a_kill_and_are_sealed_on_disk() {
    let mut server = Server::new("a");
    server.start(None);
    let secret: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "s" }, "stringData": { "k": "unmistakable-words" } }))
            .expect("fits");
    let secrets: Api<Secret> = Api::namespaced(server.client().await, "default");
    secrets.create(&PostParams::default(), &secret).await.expect("created");
    server.kill();
    let files = Command::new("grep")
        // As text, and as the bytes are written in JSON.
        .args(["-rl", "-e", "unmistakable-words", "-e", "dW5taXN0YWthYmxlLXdvcmRz"])
        .arg(server.kubeconfig().parent().expect("a directory"))
        .output();
    assert!(files.expect("grep runs").stdout.is_empty(), "the secret's words lie on disk");
    server.start(None);
    let secrets: Api<Secret> = Api::namespaced(server.client().await, "default");
    let kept = secrets.get("s").await.expect("kept").data.expect("text is kept as bytes");
    assert_eq!(kept["k"].0, b"unmistakable-words");
}

#[tokio::test]
async fn strangers_see_health_and_version_alone() {
    let mut server = Server::new("a");
    server.start(None);
    let stranger = server.stranger().await;
    let get =
        async |path: &str| stranger.request_text(http::Request::get(path).body(Vec::new()).expect("a request")).await;
    assert_eq!(get("/readyz").await.expect("open to all"), "ok");
    assert!(get("/version").await.expect("open to all").contains("v1.36"));
    for path in ["/api", "/raftsman/v1/status", "/metrics"] {
        let (code, text) = refusal(get(path).await.expect_err(path));
        assert_eq!(code, 403, "{path}: {text}");
    }
    let namespaces: Api<Namespace> = Api::all(stranger.clone());
    let (code, text) = refusal(namespaces.list(&ListParams::default()).await.expect_err("refused"));
    let wanted = "namespaces is forbidden: User \"system:anonymous\" cannot list resource \"namespaces\" in API group \"\" at the cluster scope";
    assert_eq!((code, text.as_str()), (403, wanted));
}

/// Versions that are installed here, if any.
fn kubectls() -> Vec<PathBuf> {
    let named = ["1.30", "1.31", "1.32", "1.33"]
        .map(|version| PathBuf::from(format!("/usr/lib/google-cloud-sdk/bin/kubectl.{version}")));
    named.into_iter().filter(|path| path.exists()).collect()
}

#[test]
fn kubectl_applies_shows_explains_and_deletes() {
    let kubectls = kubectls();
    if kubectls.is_empty() {
        // Written past the test's capture: a skipped test must be seen.
        let _ = writeln!(std::io::stderr(), "skipped: kubectl is not installed here");
        return;
    }
    let mut server = Server::new("a");
    server.start(None);
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("app.yaml");
    for kubectl in kubectls {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&kubectl);
            let output = command
                .args(arguments)
                .env("KUBECONFIG", server.kubeconfig())
                .env("HOME", home.path())
                .output()
                .expect("it runs");
            let (out, errors) = (
                String::from_utf8_lossy(&output.stdout).into_owned(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            );
            assert!(output.status.success(), "{kubectl:?} {arguments:?}: {out}{errors}");
            out
        };
        let app = |image: &str| {
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": {
                "replicas": 2, "selector": { "matchLabels": { "app": "web" } },
                "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": image }] } }
            } })
        };
        let apply = |object: &Value| {
            std::fs::write(&file, object.to_string()).expect("written");
            run(&["apply", "-f", file.to_str().expect("a path")])
        };
        assert_eq!(apply(&app("one")), "deployment.apps/web created\n");
        assert_eq!(apply(&app("one")), "deployment.apps/web unchanged\n");
        assert_eq!(apply(&app("two")), "deployment.apps/web configured\n");
        let wide = run(&["get", "deploy", "-o", "wide"]);
        assert!(wide.contains("0/2") && wide.contains("two") && wide.contains("app=web"), "{wide}");
        assert!(run(&["describe", "deploy", "web"]).contains("Replicas:"));
        assert!(run(&["explain", "deployment.spec.replicas"]).contains("integer"));
        assert!(run(&["api-resources"]).contains("deploy"));
        run(&["label", "deploy", "web", "tier=front"]);
        assert!(run(&["get", "deploy", "-l", "tier=front", "-o", "name"]).contains("deployment.apps/web"));
        run(&["delete", "deploy", "web"]);
        // Newer versions send protobuf here.
        run(&["create", "configmap", "made", "--from-literal=k=v"]);
        assert_eq!(run(&["get", "configmap", "made", "-o", "jsonpath={.data.k}"]), "v");
        run(&["create", "deployment", "made", "--image=one", "--replicas=0", "--port=80"]);
        let read = "jsonpath={.spec.replicas}{.spec.template.spec.containers[0].ports[0].containerPort}";
        assert_eq!(run(&["get", "deploy", "made", "-o", read]), "080");
        run(&["set", "image", "deploy/made", "*=two"]);
        assert_eq!(run(&["auth", "can-i", "create", "pods"]), "yes\n");
        run(&["delete", "configmap/made", "deploy/made"]);
        assert_eq!(run(&["get", "deploy", "-o", "name"]), "");
    }
}
