//! Three servers as processes: joining by token, losing the leader.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::process::{PATIENCE, Server, three_servers, until, voters};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name } })).expect("fits")
}

#[tokio::test]
async fn three_servers_lose_their_leader_and_no_acknowledged_object() {
    let mut servers = three_servers(["a", "b", "c"].map(Server::new).into());
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
    let writes = async {
        for number in 0.. {
            let name = format!("after-{number}");
            // The first ones may find no leader: what is not acknowledged may be there or not.
            if writer.create(&PostParams::default(), &config_map(&name)).await.is_ok() {
                acknowledged.push(name);
            }
            if acknowledged.len() == 20 {
                return;
            }
        }
    };
    let written = tokio::time::timeout(PATIENCE, writes).await;
    assert!(written.is_ok(), "writes go on after an election: {acknowledged:?}");
    servers[at].start(None);
    let back: Api<ConfigMap> = Api::namespaced(servers[at].client().await, "default");
    for name in acknowledged.iter().map(String::as_str).chain(["by-0", "by-1", "by-2"]) {
        back.get(name).await.expect("acknowledged, so kept");
    }
    let status = servers[at].ask_json(&["status"]);
    assert_eq!(voters(&status), 3);
}

/// What a command that succeeded prints.
fn said(server: &Server, arguments: &[&str]) -> String {
    let output = server.ask(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// How a command fails, and why.
fn refused(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let output = server.ask(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn members_are_listed_lead_on_request_and_are_removed_for_good() {
    let mut servers = three_servers(["a", "b", "c"].map(Server::new).into());
    let listed = said(&servers[0], &["member", "list"]);
    let head: Vec<&str> = listed.lines().filter(|line| line.starts_with("NAME")).collect();
    assert_eq!(head, ["NAME  ROLE   STATE     LAG  API              ID"], "{listed}");
    assert_eq!(listed.matches("voter").count(), 3, "{listed}");
    for to in ["c", "b"] {
        assert_eq!(said(&servers[0], &["member", "transfer-leader", to]), format!("{to} leads\n"));
        until("it is known who leads", || servers[0].ask_json(&["status"])["leader"] == to);
    }
    let (code, why) = refused(&servers[0], &["member", "remove", "nobody"]);
    assert!(code == Some(1) && why.contains("no server is called \"nobody\"; there are "), "{code:?} {why}");
    // A name is taken as long as its server belongs to the cluster.
    let token = servers[0].ask_json(&["token", "create"])["token"].as_str().expect("a token").to_owned();
    let (code, why) = Server::new("c").start_in_vain(Some(&token));
    assert!(code == Some(4) && why.contains("raftsman member remove c"), "{code:?} {why}");

    // It leads and is asked itself: it answers, and then it ends.
    assert!(said(&servers[1], &["member", "remove", "b"]).contains("b is removed"));
    let (code, why) = servers[1].ended();
    assert!(code == Some(1) && why.contains("was removed from the cluster"), "{code:?} {why}");
    until("another one leads", || servers[0].ask_json(&["status"])["leader"] != "");
    for token in [None, Some(token.as_str())] {
        let (code, why) = servers[1].start_in_vain(token);
        assert!(code == Some(1) && why.contains("with an empty one, `raftsman join TOKEN`"), "{code:?} {why}");
    }
    let mut again = Server::new("b");
    again.start(Some(&token));
    until("everybody votes", || voters(&again.ask_json(&["status"])) == 3);
    // With one of three dead, no other may go: the cluster would stop.
    let at = usize::from(again.ask_json(&["status"])["leader"] != "c") * 2;
    servers[at].kill();
    let staying = if at == 0 { "c" } else { "a" };
    until("somebody else leads", || again.ask_json(&["status"])["leader"] != servers[at].name.as_str());
    let (code, why) = refused(&again, &["member", "remove", staying]);
    assert!(code == Some(4) && why.contains("the cluster would stop"), "{code:?} {why}");
    assert!(said(&again, &["member", "remove", &servers[at].name]).contains("can never vote again"));
    until("two vote", || voters(&again.ask_json(&["status"])) == 2);
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
