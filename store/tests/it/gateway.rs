//! The JSON gateway of a member, as clients without gRPC use it.

use std::net::SocketAddr;

use store::Store;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{PATIENCE, open, place};

async fn serve(store: &Store) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    store.serve_etcd(listener, None, store::etcd::Options::default());
    address
}

/// Sends a request of HTTP/1.0, whose answer is not cut into chunks.
async fn send(to: SocketAddr, method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("connects");
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.0\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(request.as_bytes()).await;
    stream
}

async fn ask(to: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = send(to, method, path, body).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("in time");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
}

async fn post(to: SocketAddr, path: &str, body: &str) -> (u16, serde_json::Value) {
    let (status, text) = ask(to, "POST", path, body).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_written_and_read_as_etcds_gateway_does() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let to = serve(&store).await;
    let (status, put) = post(to, "/v3/kv/put", r#"{"key":"YQ==","value":"Yg=="}"#).await;
    assert!(status == 200 && put["header"]["revision"].is_string() && put["header"]["cluster_id"].is_string(), "{put}");
    let (_, range) = post(to, "/v3/kv/range", r#"{"key":"YQ==","rangeEnd":"AA==","sort_order":"DESCEND","x":1}"#).await;
    assert_eq!((&range["kvs"][0]["value"], &range["count"]), (&"Yg==".into(), &"1".into()), "{range}");
    assert!(range["kvs"][0].get("lease").is_none() && range["kvs"][0]["mod_revision"].is_string(), "{range}");
    let txn =
        r#"{"compare":[{"target":"VALUE","key":"YQ==","value":"Yg=="}],"success":[{"requestPut":{"key":"Yg=="}}]}"#;
    let (_, txn) = post(to, "/v3beta/kv/txn", txn).await;
    assert!(txn["succeeded"] == true && txn["responses"][0]["response_put"].is_object(), "{txn}");
    assert_eq!(post(to, "/v3/maintenance/status", "").await.0, 200, "no body is an empty message");
    let granted = post(to, "/v3/lease/grant", r#"{"TTL":"10","ID":5}"#).await.1;
    assert_eq!((&granted["ID"], &granted["TTL"]), (&"5".into(), &"10".into()));
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_etcds_codes_and_texts() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let to = serve(&store).await;
    for (path, body, status, code, message) in [
        ("/v3/kv/range", "{}", 400, 3, "etcdserver: key is not provided"),
        ("/v3/kv/range", "x", 400, 3, "invalid character 'x' looking for beginning of value"),
        ("/v3/kv/range", "{\"key\":", 400, 3, "unexpected EOF"),
        (
            "/v3/kv/range",
            r#"{"key":"YQ==","revision":"100"}"#,
            400,
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        ("/v3/lease/revoke", r#"{"ID":"77"}"#, 404, 5, "etcdserver: requested lease not found"),
        ("/v3/kv/nope", "{}", 404, 5, "Not Found"),
        ("/v3/kv/rangestream", "{}", 404, 5, "Not Found"),
    ] {
        let said = post(to, path, body).await;
        assert_eq!(said, (status, serde_json::json!({ "code": code, "message": message })), "{path} {body}");
    }
    let said = ask(to, "GET", "/v3/kv/range", "").await;
    assert_eq!((said.0, said.1.contains(r#""code":12"#)), (501, true), "{said:?}");
    assert_eq!(ask(to, "POST", "/v3alpha/kv/range", "{}").await, (404, "404 page not found\n".to_owned()));
    let large = format!(r#"{{"key":"YQ==","value":"{}"}}"#, "A".repeat(2_900_000));
    let (status, said) = post(to, "/v3/kv/put", &large).await;
    let message = said["message"].as_str().expect("text");
    assert!(status == 429 && message.starts_with("grpc: received message larger than max ("), "{said}");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_lines_both_ways() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let to = serve(&store).await;
    let two = r#"{"create_request":{"key":"YQ=="}} {"createRequest":{"key":"Yg=="}}"#;
    let watch = send(to, "POST", "/v3/watch", two).await;
    let mut lines = BufReader::new(watch).lines();
    let mut next = async || {
        loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("read");
            let line = line.expect("it goes on");
            if line.starts_with('{') {
                return serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
            }
        }
    };
    assert_eq!(next().await["result"]["created"], true);
    assert_eq!(next().await["result"]["watch_id"], "1");
    post(to, "/v3/kv/put", r#"{"key":"Yg==","value":"Yw=="}"#).await;
    let event = next().await;
    assert_eq!(event["result"]["events"][0]["kv"]["value"], "Yw==", "{event}");
    post(to, "/v3/lease/grant", r#"{"TTL":"10","ID":"5"}"#).await;
    let (status, kept) = post(to, "/v3/lease/keepalive", r#"{"ID":"5"}"#).await;
    assert!(status == 200 && kept["result"]["TTL"] == "10", "{kept}");
    let (status, said) = post(to, "/v3/lease/keepalive", "x").await;
    assert!(status == 400 && said["error"]["code"] == 3, "{said}");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_over_grpc_until_the_member_leaves() {
    use proto::health::HealthCheckRequest;
    use proto::health::health_check_response::ServingStatus::{NotServing, Serving};
    let place = place("a", &[]);
    let store = open(&place).await;
    let endpoint = format!("http://{}", serve(&store).await);
    let channel = tonic::transport::Endpoint::from_shared(endpoint).expect("a URL").connect().await.expect("connects");
    let mut client = proto::health::health_client::HealthClient::new(channel);
    let whole = HealthCheckRequest::default();
    assert_eq!(client.check(whole.clone()).await.expect("answers").into_inner().status(), Serving);
    let other = client.check(HealthCheckRequest { service: "x".to_owned() }).await.expect_err("unknown");
    assert_eq!((other.code(), other.message()), (tonic::Code::NotFound, "unknown service"));
    let mut watch = client.watch(whole).await.expect("answers").into_inner();
    assert_eq!(watch.message().await.expect("goes on").expect("one").status(), Serving);
    let leaving = tokio::join!(watch.message(), store.shutdown()).0;
    assert_eq!(leaving.expect("goes on").expect("one").status(), NotServing);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_etcds_names() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let to = serve(&store).await;
    post(to, "/v3/kv/put", r#"{"key":"YQ==","value":"Yg=="}"#).await;
    post(to, "/v3/kv/range", "{}").await;
    let watch = send(to, "POST", "/v3/watch", r#"{"create_request":{"key":"YQ=="}}"#).await;
    let mut lines = BufReader::new(watch).lines();
    while !tokio::time::timeout(PATIENCE, lines.next_line())
        .await
        .expect("in time")
        .expect("read")
        .expect("more")
        .starts_with('{')
    {}
    let of = |method: &str| format!(r#"grpc_method="{method}",grpc_service="etcdserverpb.KV",grpc_type="unary""#);
    let lines = [
        "etcd_server_has_leader 1".to_owned(),
        "etcd_server_is_leader 1".to_owned(),
        "etcd_server_leader_changes_seen_total 1".to_owned(),
        "etcd_debugging_mvcc_current_revision 2".to_owned(),
        "etcd_debugging_mvcc_watch_stream_total 1".to_owned(),
        "etcd_mvcc_put_total 1".to_owned(),
        format!(r#"grpc_server_handled_total{{grpc_code="OK",{}}} 1"#, of("Put")),
        format!(r#"grpc_server_handled_total{{grpc_code="InvalidArgument",{}}} 1"#, of("Range")),
        r#"etcd_cluster_version{cluster_version="3.7"} 1"#.to_owned(),
    ];
    // Calls are counted when they have ended, which their callers may know before.
    let (mut missing, mut text) = (None, String::new());
    let counted = async {
        loop {
            let (status, page) = ask(to, "GET", "/metrics", "").await;
            assert_eq!(status, 200);
            missing = lines.iter().find(|line| !page.lines().any(|held| held == **line));
            text = page;
            if missing.is_none() {
                return;
            }
        }
    };
    let counted = tokio::time::timeout(PATIENCE, counted).await;
    assert!(counted.is_ok(), "{missing:?}\n{text}");
    for name in ["etcd_disk_wal_fsync_duration_seconds_bucket", "process_resident_memory_bytes ", "process_max_fds "] {
        assert!(text.contains(&format!("\n{name}")), "{name}\n{text}");
    }
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_to_be_made_json_of_is_refused_and_its_parts_are_not() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let to = serve(&store).await;
    for number in 0..70 {
        let put = proto::etcdserverpb::PutRequest {
            key: format!("k{number:02}").into(),
            value: vec![b'v'; 1 << 20].into(),
            ..Default::default()
        };
        let op = proto::etcdserverpb::request_op::Request::RequestPut(put);
        let success = vec![proto::etcdserverpb::RequestOp { request: Some(op) }];
        let txn = proto::etcdserverpb::TxnRequest { success, ..Default::default() };
        store.txn(0, txn).await.expect("written");
    }
    let (status, all) = post(to, "/v3/kv/range", r#"{"key":"aw==","range_end":"bA=="}"#).await;
    let message = all["message"].as_str().unwrap_or_default();
    assert!(status == 429 && message.starts_with("grpc: received message larger than max ("), "{status} {message}");
    let (status, part) = post(to, "/v3/kv/range", r#"{"key":"aw==","range_end":"bA==","limit":"40"}"#).await;
    assert_eq!((status, part["kvs"].as_array().map(Vec::len)), (200, Some(40)));
    store.shutdown().await;
}
