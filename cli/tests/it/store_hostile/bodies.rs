//! Messages and bodies of JSON that are too long, too deep, cut, or nothing of the kind.

use std::io::Write;
use std::net::TcpStream;

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use proto::etcdserverpb::kv_client::KvClient;
use tonic::{Code, Status};

use super::{Victim, call, channel, put};
use crate::member::{http, raw};
use crate::process::PATIENCE;

const PUT: &str = "/etcdserverpb.KV/Put";

/// What a call of this body, as it is on the wire, ends with.
async fn called(port: u16, body: impl Into<Bytes>) -> Status {
    let body = tonic::body::Body::new(Full::new(body.into()));
    let answer = call(channel(port).await, PUT, body).await;
    let (head, body) = answer.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return status;
    }
    let trailers = body.collect().await.expect("whole").trailers().cloned().unwrap_or_default();
    Status::from_header_map(&trailers).expect("a status")
}

/// A message of gRPC: a flag, a length that may be another, bytes.
fn framed(flag: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[flag][..], &length.to_be_bytes(), bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_too_long_or_no_messages_are_refused_with_the_reason() {
    let victim = Victim::new(&["--max-request-bytes=1000000"]);
    let mut kv = KvClient::new(channel(victim.port()).await);
    kv.put(put("k", vec![1; 999_000])).await.expect("within the limit");
    let too_large = kv.put(put("k", vec![1; 1_000_001])).await.expect_err("beyond the limit");
    assert_eq!((too_large.code(), too_large.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
    let beyond = kv.put(put("k", vec![1; 3 << 20])).await.expect_err("beyond the limit of a message");
    let words = "grpc: received message larger than max (3145736 vs. 1524288)";
    assert_eq!((beyond.code(), beyond.message()), (Code::ResourceExhausted, words));

    let announced = called(victim.port(), framed(0, u32::MAX, b"")).await;
    let words = "grpc: received message larger than max (4294967295 vs. 1524288)";
    assert_eq!((announced.code(), announced.message()), (Code::ResourceExhausted, words));
    for (what, body) in [
        ("nothing", Vec::new()),
        ("half a frame", vec![0, 0, 0]),
        ("half a message", framed(0, 100, b"x")),
        ("bytes that are no message", framed(0, 8, &[0xff; 8])),
        ("a field that is longer than the message", framed(0, 3, &[0x0a, 0x7f, b'k'])),
        ("a field number that cannot be", framed(0, 1, &[0x02])),
        ("groups without end", framed(0, 4000, &[0x0b; 4000])),
        ("compressed by nobody knows what", framed(1, 2, b"\x0a\0")),
        ("a flag that is none", framed(9, 2, b"\x0a\0")),
    ] {
        let status = called(victim.port(), body).await;
        assert_ne!(status.code(), Code::Ok, "{what}");
    }
    kv.put(put("k", "v")).await.expect("served as before");
    victim.stood(48);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_end_hold_no_more_than_their_share() {
    let victim = Victim::new(&[]);
    // A thousand puts of 1.5 MB each over four connections, of which the last byte never comes.
    let piece = Bytes::from([framed(0, 1_500_000, b""), vec![1; 1_499_000]].concat());
    let mut answers = FuturesUnordered::new();
    for _ in 0..4 {
        let channel = channel(victim.port()).await;
        for _ in 0..250 {
            let frames = stream::iter([Ok::<_, Status>(Frame::data(piece.clone()))]).chain(stream::pending());
            answers.push(call(channel.clone(), PUT, tonic::body::Body::new(StreamBody::new(frames))));
        }
    }
    let mut refused = 0;
    while refused < 500 {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.expect("in time").expect("a call");
        let status = Status::from_header_map(answer.headers()).expect("at once");
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "etcdserver: too many requests"));
        refused += 1;
    }
    // Whoever holds little is served, with a request that is as long as can be.
    let mut kv = KvClient::new(channel(victim.port()).await);
    kv.put(put("k", vec![1; 1_500_000])).await.expect("written");
    victim.stood(400);
}

#[test]
fn json_that_is_deep_wrong_endless_or_late_is_refused() {
    let victim = Victim::new(&[]);
    let port = victim.port();
    let post = |path: &str, body: &str| http(port, "POST", path, body);
    let (deep, long) = ("{\"compare\":[".repeat(50_000), "9".repeat(100_000));
    let nested = format!("{}{}", "{\"success\":[{\"request_txn\":".repeat(5000), "}]}".repeat(5000));
    for body in [
        "",
        "{",
        "[1]",
        "\"x\"",
        "null",
        "12",
        "{\"key\":{}}",
        "{\"key\":\"YQ\u{e9}\"}",
        "{\"key\":[[[]]]}",
        "{\"lease\":1e400}",
        "{\"lease\":\"9223372036854775808\"}",
        "{\"lease\":1.5}",
        "{\"lease\":true}",
        "{\"key\":\"\\ud800\"}",
        &format!("{{\"lease\":{long}}}"),
        &format!("{{\"lease\":\"{long}\"}}"),
        &deep,
        &nested,
        &format!("{{\"key\":\"{}\"}}", "A".repeat(3_000_000)),
    ] {
        let (status, said) = post("/v3/kv/put", body);
        let shown = &body[..body.len().min(40)];
        assert!((400..500).contains(&status), "{shown}: {status} {said}");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{shown}: {said}"));
        assert!(said["code"].is_number() && said["message"].is_string(), "{shown}: {said}");
    }
    let (status, said) = post("/v3/kv/txn", &nested);
    assert!((400..500).contains(&status), "{status} {said}");

    let line =
        |path: &str, headers: &str| format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n");
    for (what, request, wanted) in [
        ("a long path", line(&format!("/{}", "a".repeat(100_000)), ""), 431),
        ("long headers", line("/v3/kv/put", &format!("X: {}\r\n", "a".repeat(100_000))), 431),
        ("many headers", line("/v3/kv/put", &"X: a\r\n".repeat(1000)), 431),
        ("a length that is none", line("/v3/kv/put", "Content-Length: -1\r\n"), 400),
        ("two lengths", line("/v3/kv/put", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        ("a chunk that is none", line("/v3/kv/put", "Transfer-Encoding: chunked\r\n\r\nzz"), 400),
    ] {
        let (status, said) = raw(port, &request);
        assert_eq!(status, wanted, "{what}: {said}");
    }
    // A message that arrives byte by byte, each a reason to look again at all that came before.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let head = "POST /v3/watch HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let begun = std::time::Instant::now();
    stream.write_all(head.as_bytes()).expect("taken");
    stream.write_all(b"9\r\n{\"key\":\"}\r\n").expect("taken");
    let pieces = "1\r\n}\r\n".repeat(10_000);
    for _ in 0..40 {
        if stream.write_all(pieces.as_bytes()).is_err() {
            break;
        }
    }
    eprintln!("400 kB in single bytes: {:?}", begun.elapsed());
    victim.stood(64);
}
