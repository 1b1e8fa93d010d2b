//! Accepting connections: bounded, ended on request. Those that speak gRPC are served here, joined with the store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::lanes::Lanes;

/// Connections at most; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// A TLS handshake takes so long at most.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Calls under way per connection at most; further ones wait.
const STREAMS_MAX: u32 = 2048;
/// Bytes under way without an answer per stream.
const WINDOW_BYTES: u32 = 4 << 20;
/// A silent connection is asked, and closed when it does not answer in the same time again.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// Before accepting again when the system would not: it is out of something that others must give back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Whom the certificate of a connection names (its CN), among the extensions of each of its requests. Set where clients
/// must have certificates, and there alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(pub Arc<str>);

/// Serves until told to end, on the lanes if there are any.
pub(crate) fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Routes,
    lanes: Option<Arc<Lanes>>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let (tracker, cancel) = (tasks.clone(), cancel.clone());
    tasks.spawn(async move {
        let each = |stream: TcpStream, permit| {
            // Taken from this runtime's poller: the lane's own is to watch it.
            let Ok(stream) = stream.into_std() else { return };
            let (tls, routes, cancel) = (tls.clone(), routes.clone(), cancel.clone());
            let served = async move {
                let _permit: OwnedSemaphorePermit = permit;
                let served = async { connection(TcpStream::from_std(stream)?, tls, routes).await };
                tokio::select! {
                    served = served => if let Err(error) = served {
                        tracing::debug!(%error, "a connection ended");
                    },
                    () = cancel.cancelled() => {}
                }
            };
            match &lanes {
                Some(lanes) => tracker.spawn_on(served, lanes.next()),
                None => tracker.spawn(served),
            };
        };
        accept(&listener, CONNECTIONS_MAX, &cancel, each).await;
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

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, routes: Routes) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => speak(tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await??, routes).await,
        None => speak(stream, routes).await,
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, routes: Routes) -> io::Result<()> {
    let mut http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http2_only();
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .keep_alive_interval(ASK_EVERY)
        .keep_alive_timeout(ASK_EVERY);
    http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await.map_err(io::Error::other)
}
