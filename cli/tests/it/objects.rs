//! The command line for machines without kubectl: objects applied, shown, waited for, heard and deleted.

use std::io::Write;
use std::process::Output;

use crate::process::Server;

fn text(output: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    out.into_owned()
}

const APPLICATION: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: sim}]
"#;

#[test]
fn an_application_is_applied_shown_awaited_and_deleted() {
    let mut server = Server::new("objects");
    server.extra = ["--roles", "server,node", "--runtime", "sim"].map(str::to_owned).to_vec();
    server.start(None);
    let file = server.data_dir().join("application.yaml");
    std::fs::File::create(&file).and_then(|mut file| file.write_all(APPLICATION.as_bytes())).expect("written");
    let file = file.display().to_string();

    let dry = text(&server.ask(&["apply", "-f", &file, "--dry-run"]));
    assert_eq!(dry, "configmap/settings created (dry run)\ndeployment.apps/web created (dry run)\n");
    assert!(text(&server.ask(&["apply", "-f", &file])).contains("deployment.apps/web created"));
    assert!(text(&server.ask(&["apply", "-f", &file])).contains("configmap/settings unchanged"));
    let met = text(&server.ask(&["wait", "deploy/web", "--for=condition=Available", "--timeout=60s"]));
    assert_eq!(met, "deployment.apps/web condition met\n");

    let shown = text(&server.ask(&["get", "deploy"]));
    assert!(shown.starts_with("NAME") && shown.contains("web") && shown.contains("1/1"), "{shown}");
    let all = text(&server.ask(&["get", "all", "-A"]));
    assert!(all.contains("NAMESPACE") && all.contains("deployment.apps/web") && all.contains("pod/web-"), "{all}");
    let map = server.ask_json(&["get", "cm/settings"]);
    assert_eq!(map["data"]["colour"], "blue");
    let names = text(&server.ask(&["get", "cm", "-o", "name", "--field-selector", "metadata.name=settings"]));
    assert_eq!(names, "configmap/settings\n");
    text(&server.ask(&["logs", "deploy/web", "--tail", "1"]));

    let missing = server.ask(&["get", "cm", "nothing"]);
    assert_eq!(missing.status.code(), Some(1), "what is not there is a failure");
    let unknown = server.ask(&["get", "pots"]);
    assert_eq!(unknown.status.code(), Some(2), "a word that means nothing is a usage error");

    let deleted = text(&server.ask(&["delete", "-f", &file]));
    assert_eq!(deleted, "configmap/settings deleted\ndeployment.apps/web deleted\n");
    assert_eq!(server.ask(&["get", "deploy/web"]).status.code(), Some(1), "it is gone once the command ends");
    text(&server.ask(&["delete", "cm/settings", "--ignore-not-found"]));
}

#[test]
fn what_is_waited_for_in_vain_fails_in_time() {
    let mut server = Server::new("vain");
    server.start(None);
    let late = server.ask(&["wait", "ns/default", "--for=delete", "--timeout=200ms"]);
    let why = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(late.status.code() == Some(1) && why.contains("namespace/default is not so after 200ms"), "{why}");
    text(&server.ask(&["wait", "ns", "default", "--for=status.phase=Active"]));
}

#[test]
fn the_doctor_looks_and_says_what_it_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().display().to_string();
    let told = Server::plain(&[
        "doctor",
        "--data-dir",
        &place,
        "--docker-host",
        "unix:///nowhere.sock",
        "--ports",
        "0",
        "-o",
        "json",
    ]);
    let found: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let state = |name: &str| {
        let mut checks = found["checks"].as_array().expect("checks").iter();
        checks.find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}"))["state"].clone()
    };
    assert_eq!((state("docker"), state("port 0")), ("missing".into(), "ok".into()));
    assert_eq!(told.status.code(), Some(1), "a node cannot run here");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "nothing is left behind");
}
