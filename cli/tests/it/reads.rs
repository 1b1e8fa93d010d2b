//! What is read: pages, forms, streams that begin with what there is, and figures.

use futures_util::StreamExt;
use http::Request;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::process::{PATIENCE, Server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A server on which nobody else writes, with so many ConfigMaps of a size.
async fn with_maps(count: usize, bytes: usize) -> (Server, kube::Client) {
    let mut server = Server::new("a");
    server.extra.extend(["--controllers".into(), "-*".into()]);
    server.start(None);
    let client = server.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    for number in 0..count {
        let map = json!({ "metadata": { "name": format!("m{number}") }, "data": { "k": "v".repeat(bytes) } });
        maps.create(&PostParams::default(), &serde_json::from_value(map).expect("fits")).await.expect("created");
    }
    (server, client)
}

/// The status, the encoding and the body of an answer.
async fn answer(client: &kube::Client, path: &str, header: (&str, &str)) -> (u16, String, Vec<u8>) {
    let request = Request::get(path).header(header.0, header.1).body(kube::client::Body::empty()).expect("a request");
    let response = client.send(request).await.expect("an answer");
    let status = response.status().as_u16();
    let encoding = response.headers().get("content-encoding").map(|value| value.to_str().expect("a word").to_owned());
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, encoding.unwrap_or_default(), body.to_vec())
}

#[tokio::test]
async fn pages_show_one_picture_and_large_lists_come_in_pieces() {
    let (_server, client) = with_maps(5, 100_000).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let first = maps.list(&ListParams::default().limit(2)).await.expect("a page");
    maps.delete("m4", &kube::api::DeleteParams::default()).await.expect("deleted");
    let token = first.metadata.continue_.expect("there is more");
    let rest = maps.list(&ListParams::default().limit(9).continue_token(&token)).await.expect("the rest");
    let names: Vec<String> = rest.items.iter().filter_map(|map| map.metadata.name.clone()).collect();
    assert_eq!((names.join(" "), rest.metadata.resource_version), ("m2 m3 m4".into(), first.metadata.resource_version));

    let (status, encoding, plain) = answer(&client, MAPS, ("accept-encoding", "identity")).await;
    let list: Value = serde_json::from_slice(&plain).expect("JSON to its end");
    assert_eq!((status, encoding.as_str(), list["items"].as_array().map(Vec::len)), (200, "", Some(4)));
    let (status, encoding, packed) = answer(&client, MAPS, ("accept-encoding", "gzip")).await;
    assert_eq!((status, encoding.as_str()), (200, "gzip"));
    assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < plain.len() / 20, "{} bytes", packed.len());
}

#[tokio::test]
async fn objects_are_shown_in_the_form_that_is_asked_for() {
    let (_server, client) = with_maps(1, 1).await;
    let text = async |path: &str, accept: &str| {
        let (status, _, body) = answer(&client, path, ("accept", accept)).await;
        (status, String::from_utf8(body).expect("text"))
    };
    let one = format!("{MAPS}/m0");
    let (status, yaml) = text(&one, "application/yaml").await;
    assert!(status == 200 && yaml.starts_with("apiVersion: v1\ndata:\n  k: v\nkind: ConfigMap\nmetadata:\n"), "{yaml}");
    let (_, table) = text(MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let table: Value = serde_json::from_str(&table).expect("JSON");
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][1]), (&"Table".into(), &1.into()));
    let (_, metadata) = text(&one, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await;
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    assert!(metadata["metadata"]["resourceVersion"].is_string() && metadata["data"].is_null());
    assert_eq!(text(&one, "text/html").await.0, 406);
    assert_eq!(text("/bogus", "*/*").await, (404, "404 page not found\n".to_owned()));
}

#[tokio::test]
async fn a_watch_begins_with_what_there_is_and_what_is_asked_is_counted() {
    let (_server, client) = with_maps(2, 1).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let events = maps.watch(&WatchParams::default().initial_events(), "0").await.expect("watched");
    let mut events = Box::pin(events);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "end") {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("in time").expect("goes on");
        seen.push(match event.expect("an event") {
            WatchEvent::Added(map) => map.metadata.name.expect("a name"),
            WatchEvent::Bookmark(mark) => {
                assert_eq!(mark.metadata.annotations["k8s.io/initial-events-end"], "true");
                "end".to_owned()
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["m0", "m1", "end"]);
    let lines = [
        "apiserver_request_total{verb=\"POST\",group=\"\",version=\"v1\",resource=\"configmaps\",subresource=\"\",scope=\"namespace\",code=\"201\"} 2\n",
        "apiserver_longrunning_requests{verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"configmaps\",subresource=\"\",scope=\"namespace\"} 1\n",
        "apiserver_watch_events_total{group=\"\",version=\"v1\",resource=\"configmaps\"} 3\n",
        "\netcd_server_is_leader 1\n",
    ];
    // What is counted once an answer is on its way may be counted a moment after it arrived.
    let (mut missing, mut figures) = (None, String::new());
    let counted = async {
        loop {
            let request = Request::get("/metrics").body(Vec::new()).expect("a request");
            figures = client.request_text(request).await.expect("text");
            missing = lines.iter().find(|wanted| !figures.contains(**wanted));
            if missing.is_none() {
                return;
            }
        }
    };
    let counted = tokio::time::timeout(PATIENCE, counted).await;
    assert!(counted.is_ok(), "{missing:?} is not in\n{figures}");
    assert!(!figures.contains("etcd_disk_wal_fsync_duration_seconds_count 0\n"), "syncs are measured");
}
