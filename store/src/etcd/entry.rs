//! What lies around all services: calls that want a leader, answers that are written as they are read, and the words for
//! requests that are too long to be taken.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/interceptor.go`; the last is gRPC's own for Go.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use tokio::sync::watch;
use tonic::{Code, Status};
use tower::Service;

use crate::etcd::calls::{Calls, Ends};
use crate::etcd::large::{Handed, Large, TakesHanded};

/// The header of clients that rather fail than go on without a leader.
const REQUIRE_LEADER: &str = "hasleader";
/// Calls whose answers come over time.
const STREAMS: [&str; 4] = [
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Maintenance/Snapshot",
    "/v3electionpb.Election/Observe",
];

/// See the module.
#[derive(Clone)]
pub(super) struct Entry<S> {
    pub(super) inner: S,
    /// Whether somebody leads.
    pub(super) led: watch::Receiver<bool>,
    /// A stream that wants a leader ends after so long without one.
    pub(super) patience: Duration,
    pub(super) calls: Arc<Calls>,
}

fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

/// Completes once there was no leader for so long.
async fn orphaned(mut led: watch::Receiver<bool>, patience: Duration) {
    while led.wait_for(|led| !led).await.is_ok() {
        let back = led.wait_for(|led| *led);
        if tokio::time::timeout(patience, back).await.is_err() {
            return;
        }
    }
}

/// tonic's complaint about a message that is too long, in the words that Go's clients know.
fn too_long(headers: &mut HeaderMap) {
    let message = headers.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or_default();
    let plain = message.replace("%20", " ").replace("%2C", ",").replace("%3A", ":");
    let Some((_, told)) = plain.split_once("decoded message length too large: found ") else { return };
    let mut numbers = told.split(|letter: char| !letter.is_ascii_digit()).filter(|word| !word.is_empty());
    let (Some(found), Some(limit)) = (numbers.next(), numbers.next()) else { return };
    let words = format!("grpc:%20received%20message%20larger%20than%20max%20({found}%20vs.%20{limit})");
    headers.insert("grpc-status", HeaderValue::from(Code::ResourceExhausted as i32));
    if let Ok(words) = HeaderValue::from_str(&words) {
        headers.insert("grpc-message", words);
    }
}

impl<S, B, R> Service<Request<B>> for Entry<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<Answer<R>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let count = self.calls.begin(request.uri().path());
        let wants_leader = request.headers().get(REQUIRE_LEADER).is_some_and(|value| value == "true");
        if wants_leader && !*self.led.borrow() {
            count.inspect(|count| count.handled(Code::Unavailable));
            let refused = no_leader().into_http::<()>().map(|()| Answer::Refused);
            return Box::pin(std::future::ready(Ok(refused)));
        }
        let streams = wants_leader && STREAMS.contains(&request.uri().path());
        let orphaned = streams.then(|| Box::pin(orphaned(self.led.clone(), self.patience)) as Orphaned);
        request.extensions_mut().insert(TakesHanded);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (mut parts, body) = answer.await?.into_parts();
            too_long(&mut parts.headers);
            let failed = Status::from_header_map(&parts.headers).map(|status| status.code());
            let ends = match (count, failed) {
                (Some(count), None) if count.streams() => Some(Ends(count)),
                (Some(count), code) => {
                    count.handled(code.unwrap_or(Code::Ok));
                    None
                }
                (None, _) => None,
            };
            let handed = parts.extensions.remove::<Handed>().and_then(|handed| handed.take());
            let body = match (handed, orphaned) {
                (Some(large), _) => Answer::Large(large),
                (None, Some(orphaned)) => Answer::Led { body, orphaned: Some(orphaned), _ends: ends },
                (None, None) => Answer::Plain { body, _ends: ends },
            };
            Ok(Response::from_parts(parts, body))
        })
    }
}

type Orphaned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of an answer.
pub(super) enum Answer<R> {
    /// Of the service.
    Plain { body: R, _ends: Option<Ends> },
    /// Of the service, until no leader is left.
    Led { body: R, orphaned: Option<Orphaned>, _ends: Option<Ends> },
    /// Written as it is read.
    Large(Large),
    /// None: the error lies in the headers.
    Refused,
}

impl<R> Body for Answer<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let of_service = |body: &mut R, context: &mut Context<'_>| {
            Pin::new(body).poll_frame(context).map_err(|error| Status::internal(error.to_string()))
        };
        match self.get_mut() {
            Answer::Plain { body, .. } => of_service(body, context),
            Answer::Led { body, orphaned, .. } => {
                let Some(waiting) = orphaned else { return Poll::Ready(None) };
                if waiting.as_mut().poll(context).is_ready() {
                    *orphaned = None;
                    let mut trailers = HeaderMap::new();
                    let _ = no_leader().add_header(&mut trailers);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                of_service(body, context)
            }
            Answer::Large(large) => Pin::new(large).poll_frame(context),
            Answer::Refused => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Plain { body, .. } => body.is_end_stream(),
            Answer::Led { .. } | Answer::Large(_) => false,
            Answer::Refused => true,
        }
    }
}
