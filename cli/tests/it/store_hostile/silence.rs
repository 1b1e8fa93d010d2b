//! Connections that say nothing, or stop in the middle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::Victim;
use super::h2::{DATA, PREFACE, SETTINGS, call, frame};
use crate::member::Member;
use crate::process::PATIENCE;

/// All of them are closed by then, on a busy machine too: handshakes take 3 s at most, first words and heads of requests
/// 10 s.
const WITHIN: Duration = Duration::from_secs(45);

#[test]
fn whoever_says_nothing_or_stops_halfway_is_cut_off() {
    let keepalive = ["--grpc-keepalive-interval=1s", "--grpc-keepalive-timeout=1s"];
    let plain = Victim::new(&keepalive);
    let mut secure = Member::new();
    let mut flags = secure.flags("https");
    flags.extend(["--auto-tls".to_owned()]);
    secure.start(&flags);

    let settings = frame(SETTINGS, 0, 0, b"");
    let half_frame = [PREFACE, &settings, &frame(DATA, 0, 1, &[0; 100])[..50]].concat();
    let head =
        [PREFACE, &settings, &frame(1, 4, 1, &call("/etcdserverpb.KV/Put")), &frame(DATA, 0, 1, &[0; 4])].concat();
    // A handshake of TLS that announces 512 bytes.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice();
    let mut waiting = Vec::new();
    for (what, port, said) in [
        ("nothing", plain.member.client, &b""[..]),
        ("half a preface", plain.member.client, b"PRI * HTTP/2.0\r\n"),
        ("half a request", plain.member.client, b"GET /health HTTP/1.1\r\nHos"),
        ("half a frame", plain.member.client, &half_frame),
        ("half a message", plain.member.client, &head),
        ("nothing to a peer", plain.member.peer, b""),
        ("half a preface to a peer", plain.member.peer, b"PRI * HTTP"),
        ("no handshake", secure.client, b""),
        ("half a handshake", secure.client, hello),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream.write_all(said).expect("taken");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        waiting.push((what, stream, Instant::now()));
    }
    for (what, mut stream, begun) in waiting {
        let mut said = Vec::new();
        let ended = stream.read_to_end(&mut said);
        let still_there = ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        eprintln!("{what}: {:?}", begun.elapsed());
        assert!(!still_there && begun.elapsed() < WITHIN, "{what}: {ended:?} after {:?}", begun.elapsed());
    }
    assert!(secure.terminate());
    plain.stood(32);
}
