//! Frames that are broken, and floods of frames that are not.

use super::Victim;
use super::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, Wire, call, frame,
};

const RANGE: &str = "/etcdserverpb.KV/Range";
/// Why a connection ends (RFC 9113, 7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

#[test]
fn what_is_no_http_or_broken_http_ends_its_connection_and_says_why() {
    let victim = Victim::new(&[]);
    let noise: Vec<u8> = (0_u32..4096).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    for garbage in
        [&noise[..], b"\0\0\0\0\0\0\0\0\n\n\n\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\x0b", b"\x16\x03\x01\x02\0\x01\0"]
    {
        let mut wire = Wire::silent(victim.port());
        wire.send(garbage);
        wire.send(b"\r\n\r\n");
        wire.ended();
    }
    let begin = frame(HEADERS, END_HEADERS, 1, &call(RANGE));
    let broken: [(&str, Vec<u8>); 13] = [
        ("16 MiB announced", [&[0xff, 0xff, 0xff, DATA, 0][..], &1_u32.to_be_bytes()].concat()),
        ("data for the connection", frame(DATA, 0, 0, b"x")),
        ("a stream of the server's", frame(HEADERS, END_HEADERS, 2, &call(RANGE))),
        ("data for no stream", frame(DATA, 0, 7, b"x")),
        ("settings that are cut", frame(SETTINGS, 0, 0, b"\0\x04\0")),
        ("settings of a stream", frame(SETTINGS, 0, 1, b"")),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window without end", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("a ping that is cut", frame(PING, 0, 0, b"x")),
        ("a name of no table", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0x7f])),
        ("headers that go on in nothing", frame(CONTINUATION, END_HEADERS, 1, &[0x83])),
        ("headers broken off", [frame(HEADERS, 0, 1, &[0x83]), frame(PING, 0, 0, &[0; 8])].concat()),
        ("padding that is longer than all", [begin, frame(DATA, 8, 1, &[255, 0])].concat()),
    ];
    for (what, bytes) in broken {
        let mut wire = Wire::new(victim.port());
        wire.send(&bytes);
        let reasons = [PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, COMPRESSION_ERROR];
        let reason = wire.ended();
        assert!(reason.is_some_and(|reason| reasons.contains(&reason)), "{what}: {reason:?}");
    }
    // What is said wrongly within a call ends the call.
    let mut wire = Wire::new(victim.port());
    wire.send(&[PREFACE, b"x"].concat());
    wire.ended();
    victim.stood(32);
}

/// Sends the same again and again without reading, until so many bytes went out or nobody takes them; answers whether all
/// did.
fn flood(wire: &mut Wire, mut next: impl FnMut(u32) -> Vec<u8>, bytes: usize) -> bool {
    let (mut sent, mut number) = (0, 0);
    while sent < bytes {
        let mut piece = Vec::with_capacity(64 << 10);
        while piece.len() < 48 << 10 {
            piece.extend(next(number));
            number += 1;
        }
        if !wire.send(&piece) {
            return false;
        }
        sent += piece.len();
    }
    true
}

#[test]
fn floods_of_frames_are_cut_off_or_cost_nothing() {
    let victim = Victim::new(&[]);
    let headers = call(RANGE);
    let reset = |number: u32| {
        let stream = 2 * number + 1;
        [frame(HEADERS, END_HEADERS, stream, &headers), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    // Begun and taken back at once, a hundred thousand times (CVE-2023-44487).
    let mut wire = Wire::new(victim.port());
    if !flood(&mut wire, reset, 12 << 20) {
        assert!(matches!(wire.ended(), Some(ENHANCE_YOUR_CALM) | None));
    }
    // Headers without an end (CVE-2024-27316), and such as unpack to very much more.
    let mut wire = Wire::new(victim.port());
    wire.send(&frame(HEADERS, 0, 1, &headers));
    assert!(!flood(&mut wire, |_| frame(CONTINUATION, 0, 1, &[0x40, 1, b'x', 1, b'y'].repeat(3000)), 64 << 20));
    assert!(matches!(wire.ended(), Some(ENHANCE_YOUR_CALM | COMPRESSION_ERROR) | None));
    let entry = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
    let bomb = [headers.clone(), entry, vec![0xbe; 11_000]].concat();
    let mut wire = Wire::new(victim.port());
    wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    // 44 MB of headers: refused, alone or with the whole connection.
    while wire.next().is_some_and(|arrived| arrived.stream != 1 && arrived.kind != GOAWAY) {}
    // Questions whose answers nobody reads.
    for (what, asked) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ] {
        let mut wire = Wire::new(victim.port());
        let all = flood(&mut wire, |_| asked.clone(), 8 << 20);
        eprintln!("{what}: {}", if all { "all were taken" } else { "cut off" });
    }
    // Data that is none, for a call that waits for it.
    let mut wire = Wire::new(victim.port());
    wire.begin(1, RANGE, b"");
    flood(&mut wire, |_| frame(DATA, 0, 1, b""), 4 << 20);
    victim.stood(48);
}
