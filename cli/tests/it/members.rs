//! Three servers as processes: joining by token, losing the leader.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::process::{PATIENCE, Server};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name } })).expect("fits")
}

fn voters(status: &serde_json::Value) -> usize {
    status["members"].as_array().expect("a list").iter().filter(|member| member["role"] == "voter").count()
}

#[tokio::test]
async fn three_servers_lose_their_leader_and_no_acknowledged_object() {
    let mut servers = vec![Server::new("a"), Server::new("b"), Server::new("c")];
    servers[0].start(None);
    let token = servers[0].ask_json(&["token", "create"])["token"].as_str().expect("a token").to_owned();
    for server in &mut servers[1..] {
        server.start(Some(&token));
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    while voters(&servers[2].ask_json(&["status"])) != 3 {
        assert!(std::time::Instant::now() < deadline, "not everybody votes");
    }
    let clients: Vec<Api<ConfigMap>> = {
        let mut clients = Vec::new();
        for server in &servers {
            clients.push(Api::namespaced(server.client().await, "default"));
        }
        clients
    };
    for (number, maps) in clients.iter().enumerate() {
        maps.create(&PostParams::default(), &config_map(&format!("by-{number}")))
            .await
            .expect("any server takes writes");
    }
    let leader = servers[0].ask_json(&["status"])["leader"].as_str().expect("a leader").to_owned();
    let at = servers.iter().position(|server| server.name == leader).expect("one of them");
    let writer = clients[(at + 1) % 3].clone();
    servers[at].kill();
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let name = format!("after-{number}");
        // The first ones may find no leader: what is not acknowledged may be there or not.
        if writer.create(&PostParams::default(), &config_map(&name)).await.is_ok() {
            acknowledged.push(name);
        }
    }
    assert!(acknowledged.len() >= 19, "writes go on after one election: {acknowledged:?}");
    servers[at].start(None);
    let back: Api<ConfigMap> = Api::namespaced(servers[at].client().await, "default");
    for name in acknowledged.iter().map(String::as_str).chain(["by-0", "by-1", "by-2"]) {
        back.get(name).await.expect("acknowledged, so kept");
    }
    let status = servers[at].ask_json(&["status"]);
    assert_eq!(voters(&status), 3);
}

#[test]
fn tokens_are_listed_and_revoked_and_then_worthless() {
    let mut server = Server::new("a");
    server.start(None);
    let made = server.ask_json(&["token", "create", "--ttl", "60"]);
    let (id, token) = (made["id"].as_str().expect("an id"), made["token"].as_str().expect("a token"));
    let listed = server.ask_json(&["token", "list"]);
    let known = listed["tokens"].as_array().expect("a list");
    assert!(known.iter().any(|token| token["id"] == id), "{listed}");
    assert!(server.ask(&["token", "revoke", id]).status.success());
    assert_eq!(server.ask(&["token", "revoke", id]).status.code(), Some(1), "it is not known any more");
    let other = tempfile::tempdir().expect("a directory");
    let joined = std::process::Command::new(env!("CARGO_BIN_EXE_raftsman"))
        .args(["join", token, "--name", "b", "--bind", "127.0.0.1", "--data-dir"])
        .arg(other.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&joined.stderr).into_owned();
    assert!(joined.status.code() == Some(4) && said.contains("raftsman token create"), "{said}");
}

#[test]
fn a_server_that_does_not_run_is_said_not_to_be_reachable() {
    let mut server = Server::new("a");
    server.start(None);
    server.kill();
    let output = server.ask(&["status"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}
