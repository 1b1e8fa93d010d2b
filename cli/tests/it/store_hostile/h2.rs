//! HTTP/2 by hand: what no client library would send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::process::PATIENCE;

/// Whoever takes nothing for so long does not read any more.
const DEAF: Duration = Duration::from_secs(5);

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A literal header field, in no table.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        out.push(u8::try_from(text.len()).expect("short"));
        out.extend(text.as_bytes());
    }
    out
}

/// The header fields of a call, as HPACK has them.
pub(super) fn call(path: &str) -> Vec<u8> {
    // :method POST and :scheme http of the static table.
    let mut out = vec![0x83, 0x86];
    out.extend([literal(":path", path), literal(":authority", "h"), literal("te", "trailers")].concat());
    out.extend(literal("content-type", "application/grpc"));
    out
}

/// A message in gRPC's frame.
pub(super) fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&[0][..], &length, bytes].concat()
}

/// A connection over which anything can be sent.
pub(super) struct Wire {
    stream: TcpStream,
    arrived: Vec<u8>,
}

/// A frame that arrived.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Wire {
    /// Nothing said yet.
    pub(super) fn silent(port: u16) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        for set in [stream.set_read_timeout(Some(PATIENCE)), stream.set_write_timeout(Some(DEAF))] {
            set.expect("set");
        }
        Wire { stream, arrived: Vec::new() }
    }

    /// With the preface and settings said: a stream's window is as large as it can be.
    pub(super) fn new(port: u16) -> Wire {
        let mut wire = Wire::silent(port);
        let window = [0, 4, 0x7f, 0xff, 0xff, 0xff];
        assert!(wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &window)].concat()));
        wire
    }

    /// False when the other side takes nothing any more.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Begins a call with the first bytes of its body.
    pub(super) fn begin(&mut self, stream: u32, path: &str, body: &[u8]) -> bool {
        let mut out = frame(HEADERS, END_HEADERS, stream, &call(path));
        for piece in body.chunks(16 << 10) {
            out.extend(frame(DATA, 0, stream, piece));
        }
        self.send(&out)
    }

    /// Makes a call with one message, whole.
    pub(super) fn ask(&mut self, stream: u32, path: &str, body: &[u8]) -> bool {
        self.begin(stream, path, body) && self.send(&frame(DATA, END_STREAM, stream, &[]))
    }

    /// The next frame; none when the connection has ended.
    pub(super) fn next(&mut self) -> Option<Arrived> {
        let mut chunk = [0; 64 << 10];
        loop {
            if let Some(head) = self.arrived.get(..9) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.arrived.len() >= 9 + length {
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let kind = head[3];
                    let payload = self.arrived[9..9 + length].to_vec();
                    self.arrived.drain(..9 + length);
                    return Some(Arrived { kind, stream, payload });
                }
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.arrived.extend(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it says nothing"),
                // Reset: that is an end as well.
                Err(_) => return None,
            }
        }
    }

    /// Reads until the connection ends; the reason that the other side gave.
    pub(super) fn ended(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(arrived) = self.next() {
            if arrived.kind == GOAWAY && arrived.payload.len() >= 8 {
                reason = Some(u32::from_be_bytes(arrived.payload[4..8].try_into().expect("four bytes")));
            }
        }
        reason
    }
}
