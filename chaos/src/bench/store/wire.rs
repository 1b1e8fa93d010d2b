//! A client of unary calls that costs next to nothing: gRPC over HTTP/2 without TLS, many calls under way on one
//! connection, answers handed over unread. A generator that shares the processors with what it measures must be small
//! beside it, or it measures itself.
//!
//! Sources: RFC 9113 (frames, windows), RFC 7541 (header blocks as literals), gRPC over HTTP/2.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, bail, ensure};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const STREAM_WINDOW: u16 = 4;
/// A frame's payload at most, bytes: what every peer takes.
const FRAME_BYTES: usize = 16_384;
/// What a peer lets in before it says otherwise, bytes.
const FIRST_WINDOW: i64 = 65_535;
/// What this side lets in: the largest window there is, opened again by halves.
const OWN_WINDOW: u32 = (1 << 31) - 1;
/// Read at once, bytes.
const READ_BYTES: usize = 256 << 10;

/// What came for a call.
pub(super) enum News<'a> {
    /// Bytes of the answer, with gRPC's five before each message.
    Part(&'a [u8]),
    /// Nothing more comes.
    End,
}

/// A connection, for calls of one method.
pub(super) struct Connection {
    stream: TcpStream,
    header: Vec<u8>,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    next: u32,
    /// Bytes that the peer lets in on this connection, and on a fresh call.
    window: i64,
    stream_window: i64,
    /// Bytes read since the peer was last let in more.
    owed: u32,
}

impl Connection {
    /// Connects to `host:port`, for calls of a method: `/etcdserverpb.KV/Put`.
    ///
    /// # Errors
    /// When nobody listens.
    pub(super) fn open(address: &str, method: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        let mut outbox = PREFACE.to_vec();
        let mut settings = STREAM_WINDOW.to_be_bytes().to_vec();
        settings.extend(OWN_WINDOW.to_be_bytes());
        frame(&mut outbox, SETTINGS, 0, 0, &settings);
        let more = OWN_WINDOW - u32::try_from(FIRST_WINDOW).expect("small");
        frame(&mut outbox, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        let header = header(address, method);
        let (inbox, window) = (Vec::with_capacity(2 * READ_BYTES), FIRST_WINDOW);
        Ok(Connection { stream, header, outbox, inbox, next: 1, window, stream_window: window, owed: 0 })
    }

    /// Whether the peer lets in a message of so many bytes now.
    pub(super) fn has_room(&self, message: usize) -> bool {
        let bytes = i64::try_from(message + 5).unwrap_or(i64::MAX);
        bytes <= self.window && bytes <= self.stream_window
    }

    /// Puts a call down; it leaves with `flush`. Answers its number.
    pub(super) fn call(&mut self, message: &[u8]) -> u32 {
        self.put_down(message, END_STREAM)
    }

    /// The same for a call that stays open.
    pub(super) fn begin(&mut self, message: &[u8]) -> u32 {
        self.put_down(message, 0)
    }

    fn put_down(&mut self, message: &[u8], last: u8) -> u32 {
        let number = self.next;
        self.next += 2;
        frame(&mut self.outbox, HEADERS, END_HEADERS, number, &self.header);
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
        body.extend_from_slice(message);
        self.window -= i64::try_from(body.len()).expect("small");
        let parts = body.chunks(FRAME_BYTES).count();
        for (at, part) in body.chunks(FRAME_BYTES).enumerate() {
            frame(&mut self.outbox, DATA, if at + 1 == parts { last } else { 0 }, number, part);
        }
        number
    }

    /// Sends what was put down.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.outbox)?;
        self.outbox.clear();
        Ok(())
    }

    /// Waits for bytes, and tells what came with them.
    ///
    /// # Errors
    /// When the connection is broken, or a call was refused on its level.
    pub(super) fn read(&mut self, mut each: impl FnMut(u32, News<'_>)) -> anyhow::Result<()> {
        let held = self.inbox.len();
        self.inbox.resize(held + READ_BYTES, 0);
        let count = self.stream.read(&mut self.inbox[held..])?;
        ensure!(count > 0, "the connection was closed");
        self.inbox.truncate(held + count);
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = inbox.as_slice();
        while let Some((frame, later)) = split(rest) {
            rest = later;
            self.take(&frame, &mut each)?;
        }
        self.inbox.reserve(2 * READ_BYTES);
        self.inbox.extend_from_slice(rest);
        Ok(())
    }

    fn take(&mut self, came: &Frame<'_>, each: &mut impl FnMut(u32, News<'_>)) -> anyhow::Result<()> {
        let Frame { kind, flags, number, payload } = *came;
        match kind {
            DATA => {
                ensure!(flags & PADDED == 0, "padded data");
                self.owed += u32::try_from(payload.len()).expect("a frame's length");
                if self.owed > OWN_WINDOW / 2 {
                    frame(&mut self.outbox, WINDOW_UPDATE, 0, 0, &self.owed.to_be_bytes());
                    self.owed = 0;
                }
                each(number, News::Part(payload));
            }
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.as_chunks::<6>().0 {
                    let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
                    if u16::from_be_bytes([setting[0], setting[1]]) == STREAM_WINDOW {
                        self.stream_window = i64::from(value);
                    }
                }
                frame(&mut self.outbox, SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => frame(&mut self.outbox, PING, ACK, 0, payload),
            WINDOW_UPDATE if number == 0 => {
                self.window += i64::from(u32::from_be_bytes(payload.try_into().context("a window's change")?));
            }
            RESET => bail!("call {number} was reset"),
            GOAWAY => bail!("the server closes the connection"),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            each(number, News::End);
        }
        Ok(())
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, number: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).expect("a frame's length").to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A frame as it came.
#[derive(Debug, PartialEq, Eq)]
struct Frame<'a> {
    kind: u8,
    flags: u8,
    /// Of the call; 0 is the connection.
    number: u32,
    payload: &'a [u8],
}

/// The first whole frame, and what follows it.
fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<9>()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let (payload, later) = rest.split_at_checked(length)?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
    Some((Frame { kind: head[3], flags: head[4], number, payload }, later))
}

/// A header block: names from the static table, values as literals that nobody has to remember.
fn header(authority: &str, method: &str) -> Vec<u8> {
    // :method POST, :scheme http.
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).expect("below 127 bytes"));
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[0x04], method);
    literal(&[0x01], authority);
    literal(&[0x0f, 0x10], "application/grpc");
    literal(&[0x00, 2, b't', b'e'], "trailers");
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let mut bytes = Vec::new();
        frame(&mut bytes, DATA, END_STREAM, 7, b"abc");
        frame(&mut bytes, PING, 0, 0, &[1; 8]);
        let (first, rest) = split(&bytes).expect("whole");
        assert_eq!(first, Frame { kind: DATA, flags: END_STREAM, number: 7, payload: b"abc" });
        let (second, rest) = split(rest).expect("whole");
        assert_eq!((second.kind, second.payload.len(), rest.len()), (PING, 8, 0));
        assert!(split(&bytes[..11]).is_none());
    }

    #[test]
    fn a_header_block_names_what_grpc_wants() {
        let block = header("127.0.0.1:2379", "/etcdserverpb.KV/Put");
        let text = String::from_utf8_lossy(&block);
        assert!(
            ["127.0.0.1:2379", "/etcdserverpb.KV/Put", "application/grpc", "trailers"]
                .iter()
                .all(|word| text.contains(word))
        );
        assert_eq!(&block[..2], [0x83, 0x86]);
    }
}
