//! What nodes use and when they were heard, asked of servers that they are not connected to.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::process::{PATIENCE, Server};

/// As long as the controllers wait before they give up a node of which the leader never heard.
const UNHEARD: Duration = Duration::from_secs(10);

async fn get(client: &Client, path: &str) -> Result<Value, kube::Error> {
    let request = http::Request::get(path).body(Vec::new()).expect("a request");
    client.request(request).await
}

async fn text(client: &Client, path: &str) -> Result<String, kube::Error> {
    client.request_text(http::Request::get(path).body(Vec::new()).expect("a request")).await
}

/// Asks until the answer is as wanted.
async fn until(client: &Client, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Ok(Value::Null);
    let awaited = async {
        loop {
            last = get(client, path).await;
            if let Ok(value) = last.as_ref().map_err(|_| ())
                && holds(value)
            {
                return value.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, awaited).await;
    done.unwrap_or_else(|_| panic!("{what}: {path}"))
}

fn ready(status: &'static str) -> impl Fn(Option<&Node>) -> bool {
    move |node: Option<&Node>| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|held| held.type_ == "Ready" && held.status == status)
    }
}

/// Three servers, of which the last is a node as well; its agent is connected to it.
fn three() -> Vec<Server> {
    let mut servers = vec![Server::new("a"), Server::new("b"), Server::new("c")];
    servers[2].extra = ["--roles", "server,node", "--runtime", "sim"].map(str::to_owned).to_vec();
    servers[0].start(None);
    let token = servers[0].ask_json(&["token", "create"])["token"].as_str().expect("a token").to_owned();
    servers[1..].iter_mut().for_each(|server| server.start(Some(&token)));
    servers
}

#[tokio::test]
async fn every_server_knows_what_a_node_uses_and_that_it_lives() {
    let mut servers = three();
    let (first, second) = (servers[0].client().await, servers[1].client().await);
    let pods: Api<Pod> = Api::namespaced(first.clone(), "default");
    let pod = json!({ "metadata": { "name": "p", "labels": { "app": "web" } },
        "spec": { "nodeName": "c", "containers": [{ "name": "one", "image": "sim" }, { "name": "two", "image": "sim" }] } });
    let pod = serde_json::from_value(pod).expect("a Pod");
    // A controller makes the account that pods run as: before that they are refused.
    let created = async { while pods.create(&PostParams::default(), &pod).await.is_err() {} };
    tokio::time::timeout(PATIENCE, created).await.expect("created");
    let heard = Instant::now();

    let of_pods = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    for client in [&first, &second] {
        let found = until(client, of_pods, "the pod is measured", |list| list["items"][0]["containers"][1].is_object());
        let found = found.await;
        assert_eq!(found["items"][0]["metadata"]["labels"]["app"], "web");
        let nodes = "/apis/metrics.k8s.io/v1beta1/nodes";
        let found = until(client, nodes, "the node is measured", |list| list["items"][0].is_object()).await;
        assert!(found["items"][0]["usage"]["cpu"].as_str().is_some_and(|cpu| cpu != "0"), "{found}");
        let cadvisor = text(client, "/api/v1/nodes/c/proxy/metrics/cadvisor").await.expect("Prometheus' text");
        let wanted = "container_memory_working_set_bytes{container=\"one\"";
        assert!(cadvisor.lines().any(|line| line.starts_with(wanted) && line.contains("pod=\"p\"")), "{cadvisor}");
    }
    let selected = |selector: &str| format!("{of_pods}?labelSelector=app%3D{selector}");
    let count = |list: Value| list["items"].as_array().map_or(0, Vec::len);
    assert_eq!(count(get(&first, &selected("web")).await.expect("a list")), 1);
    assert_eq!(count(get(&first, &selected("other")).await.expect("a list")), 0);
    let missing = get(&first, &format!("{of_pods}/none")).await.expect_err("there is no such pod");
    assert!(matches!(missing, kube::Error::Api(status) if status.code == 404));
    let refused = get(&servers[0].stranger().await, of_pods).await.expect_err("a stranger may not");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));

    // Whoever leads hears of the node by datagrams, unless it is the one that the node talks to.
    if servers[0].ask_json(&["status"])["leader"] == "c" {
        assert!(servers[0].ask(&["member", "transfer-leader", "a"]).status.success());
    }
    let nodes: Api<Node> = Api::all(first.clone());
    let given_up = await_condition(nodes.clone(), "c", ready("Unknown"));
    let left = (UNHEARD + Duration::from_secs(2)).saturating_sub(heard.elapsed());
    assert!(tokio::time::timeout(left, given_up).await.is_err(), "a node that talks to another server is given up");
    servers[2].kill();
    let silent = tokio::time::timeout(PATIENCE, await_condition(nodes, "c", ready("Unknown"))).await;
    silent.expect("a node that ended is noticed").expect("a watch");
}
