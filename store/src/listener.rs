//! Accepting connections: bounded, ended on request. Those that speak gRPC are served here, joined with the store.

mod greeting;

pub use greeting::Greeting;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use crate::edge;
use crate::lanes::Lanes;

/// A TLS handshake takes so long at most.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Before that, or without it, a connection says in this time which protocol it speaks.
pub const FIRST_WORDS: Duration = Duration::from_secs(10);
/// The head of a request of HTTP/1 arrives within this time.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of such a head at most.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes under way without an answer per stream.
const WINDOW_BYTES: u32 = 4 << 20;
/// A peer that says nothing is asked by the kernel whether it is still there, so long after its last word and so often:
/// HTTP/1 does not ask by itself.
const ALIVE_SECONDS: u32 = 30;
/// What Go's servers say to HTTP on a port for TLS.
const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// When a member ends, what it has said may take so long to be written.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Before accepting again when the system would not: it is out of something that others must give back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Whom the certificate of a connection names (its CN), among the extensions of each of its requests. Set where clients
/// must have certificates, and there alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(pub Arc<str>);

/// Bytes of requests of one connection that have begun to arrive and are not answered, among the extensions of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrived(pub(crate) Arc<AtomicUsize>);

/// What connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at most; further ones wait to be accepted.
    pub connections_max: usize,
    /// Calls under way per connection at most; further ones wait.
    pub streams_max: u32,
    /// A silent connection is asked whether it is still there.
    pub ask_every: Duration,
    /// It is closed when it does not answer in this time.
    pub answer_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let ask = Duration::from_secs(10);
        Limits { connections_max: 1024, streams_max: 2048, ask_every: ask, answer_within: ask }
    }
}

/// One way in.
#[derive(Clone)]
pub(crate) struct Door<S> {
    pub(crate) tls: Option<TlsAcceptor>,
    /// Clients are told apart by the names in their certificates.
    pub(crate) names: bool,
    /// HTTP/1.1 is spoken too.
    pub(crate) http1: bool,
    pub(crate) limits: Limits,
    /// Where connections are served; none: where the listener is.
    pub(crate) lanes: Option<Arc<Lanes>>,
    pub(crate) service: S,
}

/// How what is served ends.
#[derive(Clone)]
pub(crate) struct Ends {
    /// No further connections, and no further calls on those there are.
    pub(crate) leaving: CancellationToken,
    /// At once, but for what is said already.
    pub(crate) cancel: CancellationToken,
}

/// What answers the requests of a connection.
pub(crate) trait Answering:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Answering for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// Serves until told to end, on the lanes if there are any.
pub(crate) fn serve<S: Answering + Sync>(listener: TcpListener, door: Door<S>, tasks: &TaskTracker, ends: &Ends) {
    let (tracker, ends, door) = (tasks.clone(), ends.clone(), Arc::new(door));
    tasks.spawn(async move {
        let each = |stream: TcpStream, permit| {
            // Taken from this runtime's poller: the lane's own is to watch it.
            let Ok(stream) = stream.into_std() else { return };
            let (mine, ends) = (door.clone(), ends.clone());
            let served = async move {
                let _permit: OwnedSemaphorePermit = permit;
                let served = async { connection(TcpStream::from_std(stream)?, &mine, &ends.leaving).await };
                tokio::pin!(served);
                tokio::select! {
                    served = &mut served => if let Err(error) = served {
                        tracing::debug!(%error, "a connection ended");
                    },
                    // What is answered by now is on its way out, and whoever waits for more is told that there is none.
                    () = ends.cancel.cancelled() => drop(tokio::time::timeout(LAST_WORDS, served).await),
                }
            };
            match &door.lanes {
                Some(lanes) => tracker.spawn_on(served, lanes.next()),
                None => tracker.spawn(served),
            };
        };
        accept(&listener, door.limits.connections_max, &ends.leaving, each).await;
    });
}

/// The same of a simulated port.
pub(crate) fn serve_simulated<S: Answering + Sync>(
    mut incoming: Box<dyn edge::Port>,
    door: Door<S>,
    tasks: &TaskTracker,
    ends: &Ends,
) {
    let (tracker, ends, door) = (tasks.clone(), ends.clone(), Arc::new(door));
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = incoming.accept() => accepted,
                () = ends.leaving.cancelled() => return,
            };
            let Ok(wire) = accepted else { return };
            let (door, ends) = (door.clone(), ends.clone());
            tracker.spawn(async move {
                tokio::select! {
                    served = speak(wire, None, &door, &ends.leaving) => if let Err(error) = served {
                        tracing::debug!(%error, "a connection ended");
                    },
                    () = ends.cancel.cancelled() => {}
                }
            });
        }
    });
}

/// Hands on each connection until told to end. A connection counts until its permit is dropped; at `connections_max`
/// further ones wait to be accepted.
pub async fn accept(
    listener: &TcpListener,
    connections_max: usize,
    cancel: &CancellationToken,
    mut each: impl FnMut(TcpStream, OwnedSemaphorePermit),
) {
    let room = Arc::new(Semaphore::new(connections_max));
    loop {
        let permit = room.clone().acquire_owned().await.expect("never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => each(stream, permit),
            Err(_) => {
                // Ends early when told to; the wait itself is the point.
                let _ = tokio::time::timeout(ACCEPT_AGAIN, cancel.cancelled()).await;
            }
        }
    }
}

async fn connection<S: Answering>(stream: TcpStream, door: &Door<S>, leaving: &CancellationToken) -> io::Result<()> {
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    let Some(tls) = &door.tls else { return speak(stream, None, door, leaving).await };
    let shaken = tokio::time::timeout(HANDSHAKE, shake(tls, stream)).await.map_err(io::Error::from);
    let stream = shaken.flatten().inspect_err(rejected)?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).filter(|_| door.names);
    let name = shown.and_then(crate::tls::common_name).map(|name| ClientName(name.into()));
    speak(stream, name, door, leaving).await
}

/// The handshake. Whoever speaks HTTP without it is told so in the clear, as Go's servers do.
async fn shake(tls: &TlsAcceptor, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // Methods begin with a capital letter, handshakes with a number.
    if first[0].is_ascii_uppercase() {
        stream.write_all(PLAIN_HTTP).await?;
        stream.shutdown().await?;
        return Err(io::Error::other("a client sent an HTTP request to an HTTPS server"));
    }
    tls.accept(stream).await
}

/// Tells the operator why somebody is not let in, once a second at most: whoever tries again and again fills no disk.
fn rejected(error: &io::Error) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if LAST.swap(now, Ordering::Relaxed) != now {
        tracing::warn!(%error, "a connection was rejected");
    }
}

/// Has the kernel find out about a peer that went without a word.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &ALIVE_SECONDS)?;
    Ok(setsockopt(stream, sockopt::TcpKeepInterval, &ALIVE_SECONDS)?)
}

async fn speak<S: Answering>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    name: Option<ClientName>,
    door: &Door<S>,
    leaving: &CancellationToken,
) -> io::Result<()> {
    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let mut http = if door.http1 { http } else { http.http2_only() };
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(door.limits.streams_max)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .keep_alive_interval(door.limits.ask_every)
        .keep_alive_timeout(door.limits.answer_within);
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES_MAX);
    let service = Named { service: door.service.clone(), name, arrived: Arrived::default() };
    let stream = TokioIo::new(Greeting::new(stream, FIRST_WORDS));
    let serving = http.serve_connection(stream, TowerToHyperService::new(service));
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served.map_err(io::Error::other),
        () = leaving.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await.map_err(io::Error::other)
}

/// Tells a service who calls.
#[derive(Clone)]
struct Named<S> {
    service: S,
    name: Option<ClientName>,
    arrived: Arrived,
}

impl<S: Answering> Service<Request<Incoming>> for Named<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> S::Future {
        if let Some(name) = &self.name {
            request.extensions_mut().insert(name.clone());
        }
        request.extensions_mut().insert(self.arrived.clone());
        self.service.call(request)
    }
}
