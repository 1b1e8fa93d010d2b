//! Answers compressed for clients that take it, when they are large.
//!
//! Source: k8s.io/apiserver `pkg/endpoints/handlers/responsewriters/writers.go`.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, VARY};

use crate::api::answer::Body;

/// Smaller answers are sent as they are.
pub(crate) const LARGE: usize = 128 << 10;

/// Whether the client takes gzip.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    let names = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    names.is_some_and(|names| names.split(',').any(|name| name.trim() == "gzip"))
}

/// A stream of bytes on its way, compressed or not.
pub(crate) enum Pipe {
    /// As they are.
    Plain,
    /// Through gzip, as fast as it goes.
    Gzip(Option<GzEncoder<Vec<u8>>>),
}

impl Pipe {
    pub(crate) fn new(gzip: bool) -> Pipe {
        if gzip { Pipe::Gzip(Some(GzEncoder::new(Vec::new(), Compression::fast()))) } else { Pipe::Plain }
    }

    /// What is to be sent for a piece; `last` ends the stream. Less may come out than went in.
    pub(crate) fn send(&mut self, piece: Vec<u8>, last: bool) -> Bytes {
        let Pipe::Gzip(encoder) = self else { return piece.into() };
        let Some(mut running) = encoder.take() else { return Bytes::new() };
        // Writing to memory does not fail.
        let written = running.write_all(&piece);
        debug_assert!(written.is_ok());
        if last {
            return running.finish().unwrap_or_default().into();
        }
        let out = std::mem::take(running.get_mut());
        *encoder = Some(running);
        out.into()
    }

    /// Says in an answer's headers what its body is.
    pub(crate) fn label(&self, response: &mut Response<Body>) {
        if matches!(self, Pipe::Gzip(_)) {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn pieces_come_out_as_they_went_in() {
        let pieces: Vec<Vec<u8>> = (0..50_u8).map(|byte| vec![byte; 10_000]).collect();
        for gzip in [false, true] {
            let mut pipe = Pipe::new(gzip);
            let count = pieces.len();
            let sent: Vec<u8> =
                pieces.iter().enumerate().flat_map(|(at, piece)| pipe.send(piece.clone(), at + 1 == count)).collect();
            let mut read = Vec::new();
            if gzip {
                assert!(sent.len() < 10_000);
                flate2::read::GzDecoder::new(sent.as_slice()).read_to_end(&mut read).expect("gzip");
            } else {
                read = sent;
            }
            assert_eq!(read, pieces.concat());
        }
    }

    #[test]
    fn only_those_who_ask_for_it_get_it() {
        let of =
            |value: &'static str| wanted(&[(ACCEPT_ENCODING, HeaderValue::from_static(value))].into_iter().collect());
        assert!(of("gzip") && of("br, gzip"));
        assert!(!of("br") && !of("x-gzip") && !wanted(&HeaderMap::new()));
    }
}
