//! What a connection says first, bounded in time: nothing that comes later is waited for before the protocol is known.
//!
//! HTTP/2 begins with 24 bytes that never change (RFC 9113, 3.4); whatever differs from them is HTTP/1 or nothing, and is
//! bounded by the time that the head of a request may take.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What HTTP/2 begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first words are waited for so long and no longer.
#[derive(Debug)]
pub struct Greeting<S> {
    stream: S,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Bytes of the preface that were seen.
    seen: usize,
    end: Pin<Box<Sleep>>,
}

impl<S> Greeting<S> {
    /// Of a connection that was just made.
    pub fn new(stream: S, patience: Duration) -> Self {
        Greeting { stream, waiting: Some(Waiting { seen: 0, end: Box::pin(tokio::time::sleep(patience)) }) }
    }
}

/// Whether further bytes must come before the protocol is known; counts those of the preface.
fn undecided(seen: &mut usize, more: &[u8]) -> bool {
    let expected = &PREFACE[*seen..];
    let begins = more.len() < expected.len() && expected.starts_with(more) && !more.is_empty();
    *seen += if begins { more.len() } else { 0 };
    begins
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeting<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(Waiting { seen, end }) = &mut this.waiting else { return read };
        if read.is_pending() {
            let why = || io::Error::new(io::ErrorKind::TimedOut, "a connection that says nothing");
            return end.as_mut().poll(context).map(|()| Err(why()));
        }
        if !undecided(seen, &buffer.filled()[before..]) {
            this.waiting = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeting<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    /// What reading ends with when a client says this and then nothing.
    async fn after(said: &[&[u8]]) -> io::ErrorKind {
        let (mut client, server) = duplex(1024);
        let mut server = Greeting::new(server, PATIENCE);
        let mut buffer = [0; 64];
        for words in said {
            client.write_all(words).await.expect("room");
            server.read_exact(&mut buffer[..words.len()]).await.expect("read");
        }
        let read = tokio::time::timeout(3 * PATIENCE, server.read(&mut buffer)).await;
        read.map_or(io::ErrorKind::WouldBlock, |read| read.map_or_else(|error| error.kind(), |_| unreachable!()))
    }

    #[tokio::test]
    async fn silence_before_the_protocol_is_known_ends_a_connection_and_later_silence_does_not() {
        let silent: [&[&[u8]]; 3] = [&[], &[b"P"], &[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n"]];
        for said in silent {
            assert_eq!(after(said).await, io::ErrorKind::TimedOut, "{said:?}");
        }
        let known: [&[&[u8]]; 4] = [&[PREFACE], &[b"PRI * ", &PREFACE[6..]], &[b"G"], &[b"PRI", b"VATE"]];
        for said in known {
            assert_eq!(after(said).await, io::ErrorKind::WouldBlock, "{said:?}");
        }
    }
}
