//! Streams: messages of JSON one after another, both ways.
//!
//! Source: grpc-gateway `runtime/handler.go` (`ForwardResponseStream`).

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{once, unfold};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::etcd::http::gateway::json::{self, Found, Scan};
use crate::etcd::http::gateway::{json_max, success, too_large, with_status};

/// A client's messages as they arrive.
struct Reading {
    body: Incoming,
    arrived: BytesMut,
    scan: Scan,
    kind: MessageDescriptor,
    message_max: usize,
    /// The call goes on after the last message: a client with `curl` has only one body to send.
    held: bool,
    ended: bool,
}

/// The messages of a body, framed for a call.
pub(super) fn requests(body: Incoming, method: &MethodDescriptor, message_max: usize) -> Body {
    let held = method.full_name() == "etcdserverpb.Watch.Watch";
    let kind = method.input();
    let (arrived, scan) = (BytesMut::new(), Scan::default());
    let reading = Reading { body, arrived, scan, kind, message_max, held, ended: false };
    let frames = unfold(reading, |mut reading| async move {
        let framed = reading.next().await?;
        Some((framed.map(Frame::data), reading))
    });
    Body::new(StreamBody::new(Box::pin(frames)))
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            // Read once, when it is whole: whoever sends byte after byte does not have all of them looked at each time.
            let whole = self.scan.whole(&self.arrived);
            let found = if whole || self.ended { json::read(&self.kind, &self.arrived) } else { Ok(Found::Half) };
            match found {
                Ok(Found::Message(framed, length)) => {
                    self.arrived.advance(length);
                    self.scan = Scan::default();
                    return Some(Ok(framed));
                }
                Ok(Found::Half) if whole => {
                    return Some(Err(Status::invalid_argument("Failed to decode request: proto: no object")));
                }
                Err(why) => return Some(Err(Status::invalid_argument(format!("Failed to decode request: {why}")))),
                Ok(_) if self.ended && self.held => return std::future::pending().await,
                Ok(_) if self.ended => return None,
                Ok(_) => {}
            }
            if self.arrived.len() > json_max(self.message_max) {
                return Some(Err(too_large(self.arrived.len(), self.message_max)));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    self.arrived.extend_from_slice(&frame.into_data().unwrap_or_default());
                }
                // Whoever has gone gets no answer either.
                Some(Err(_)) => return None,
                None => self.ended = true,
            }
        }
    }
}

/// The answers of a call as they come.
struct Writing {
    body: Body,
    arrived: BytesMut,
    kind: MessageDescriptor,
    ended: Option<Status>,
}

/// A line of an answer, or how the call failed.
type Line = Result<Vec<u8>, Status>;

impl Writing {
    async fn next(&mut self) -> Option<Line> {
        if let Some(status) = self.ended.take() {
            return (status.code() != Code::Ok).then_some(Err(status));
        }
        loop {
            if let Some(message) = json::unframe(&mut self.arrived) {
                return Some(json::write(&self.kind, message).map_err(Status::internal).map(line));
            }
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => self.arrived.extend_from_slice(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let status = Status::from_header_map(&trailers)?;
                        return (status.code() != Code::Ok).then_some(Err(status));
                    }
                },
                Err(status) => return Some(Err(status)),
            }
        }
    }
}

fn line(message: Vec<u8>) -> Vec<u8> {
    [b"{\"result\":".as_slice(), &message, b"}\n"].concat()
}

fn error_line(status: &Status) -> String {
    format!("{{\"error\":{}}}\n", json::error(status.code().into(), status.message()))
}

/// The answer to a call that has many; `early`: it failed at once.
pub(super) async fn answers(body: Body, method: MethodDescriptor, early: Option<Status>) -> Response<Body> {
    let mut writing = Writing { body, arrived: BytesMut::new(), kind: method.output(), ended: early };
    let first = match writing.next().await {
        None => return success(Body::empty()),
        // No line has gone out yet: the answer's status says it too.
        Some(Err(status)) => return with_status(&status, error_line(&status)),
        Some(Ok(first)) => first,
    };
    let rest = unfold(Some(writing), |writing| async move {
        let mut writing = writing?;
        match writing.next().await? {
            Ok(line) => Some((line, Some(writing))),
            Err(status) => Some((error_line(&status).into_bytes(), None)),
        }
    });
    let lines = once(std::future::ready(first)).chain(rest);
    let frames = lines.map(|line| Ok::<_, Status>(Frame::data(Bytes::from(line))));
    success(Body::new(StreamBody::new(Box::pin(frames))))
}
