//! The ports of clients: gRPC and HTTP beside each other.
//!
//! Source: etcd `server/embed/serve.go`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response, Version, header};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use crate::Store;
use crate::edge::Port;
use crate::etcd::answers::Together;
use crate::etcd::arriving::{Arriving, Room};
use crate::etcd::budget::Budget;
use crate::etcd::calls::Calls;
use crate::etcd::http::{Http, Part};
use crate::etcd::watch::Watching;
use crate::etcd::{Front, OVERHEAD_BYTES, Options, routes};
use crate::listener::{Arrived, Door, Limits, serve, serve_simulated};

/// Calls with many requests: each message is taken off as it comes.
const STREAMS: [&str; 2] = ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"];

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// gRPC and HTTP.
    All,
    /// gRPC alone.
    Grpc,
    /// HTTP alone.
    Http,
    /// Metrics and health alone.
    Metrics,
}

/// The etcd API of a member: every listener of it shares what the services hold.
#[derive(Clone)]
pub struct Api {
    store: Store,
    routes: Routes,
    http: Arc<Http>,
    limits: Limits,
    names: bool,
    /// Bytes of requests that arrive, and what one connection may have of them in any case.
    arriving: (Arc<AtomicUsize>, usize),
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

impl Api {
    pub(crate) fn new(store: &Store, options: Options) -> Api {
        let (limits, names) = (options.limits, options.client_names);
        let arriving = (Arc::default(), options.request_bytes_max + OVERHEAD_BYTES);
        store.set_quota(options.quota_bytes);
        if let Some(auto) = options.auto_compaction {
            store.auto_compact(auto);
        }
        let calls = Arc::new(Calls::new());
        let (options, watching) = (Arc::new(options), Watching::default());
        let unread = Together::default();
        let (budget, gateway) = (Budget::default(), Budget::default());
        let front = Front { store: store.clone(), options, budget, gateway, calls, watching, unread };
        let routes = routes(&front);
        let http = Arc::new(Http::new(front, routes.clone()));
        Api { store: store.clone(), routes, http, limits, names, arriving }
    }

    /// Serves on a listener until the store shuts down.
    pub fn serve(&self, listener: TcpListener, tls: Option<TlsAcceptor>, what: Serves) {
        serve(listener, self.door(tls, what), self.store.tasks(), self.store.ends());
    }

    /// Serves on a simulated port until the store shuts down.
    pub fn serve_simulated(&self, incoming: Box<dyn Port>) {
        serve_simulated(incoming, self.door(None, Serves::All), self.store.tasks(), self.store.ends());
    }

    fn door(&self, tls: Option<TlsAcceptor>, what: Serves) -> Door<Clients> {
        let part = if what == Serves::Metrics { Part::Metrics } else { Part::All { secure: tls.is_some() } };
        let service = Clients {
            routes: matches!(what, Serves::All | Serves::Grpc).then(|| self.routes.clone()),
            http: (what != Serves::Grpc).then(|| (self.http.clone(), part)),
            calls: self.store.calls().clone(),
            arriving: self.arriving.clone(),
        };
        Door {
            tls,
            names: self.names,
            http1: what != Serves::Grpc,
            limits: self.limits,
            lanes: Some(self.store.lanes().clone()),
            service,
        }
    }
}

/// Answers the requests of one listener.
#[derive(Clone)]
struct Clients {
    routes: Option<Routes>,
    http: Option<(Arc<Http>, Part)>,
    /// Waited for before the store ends.
    calls: TaskTracker,
    /// See `Api`.
    arriving: (Arc<AtomicUsize>, usize),
}

/// A request whose bytes are counted while they arrive.
fn counted(request: Request<Incoming>, (all, fair): &(Arc<AtomicUsize>, usize)) -> Request<Arriving> {
    let arrived = request.extensions().get::<Arrived>();
    let arrived = arrived.filter(|_| !STREAMS.contains(&request.uri().path()));
    let room = arrived.map(|arrived| Room { connection: arrived.0.clone(), all: all.clone(), fair: *fair });
    request.map(|body| Arriving::new(body, room))
}

type Routed = <Routes as Service<Request<Arriving>>>::Future;
type Boxed = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Clients {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = TrackedFuture<Either<Routed, Boxed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routes are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let answer = match (&mut self.routes, &self.http) {
            (Some(routes), http) if http.is_none() || is_grpc(&request) => {
                Either::Left(routes.call(counted(request, &self.arriving)))
            }
            (_, http) => {
                let http = http.clone();
                let answer: Boxed = Box::pin(async move {
                    Ok(match http {
                        Some((http, part)) => http.answer(request, part).await,
                        None => Response::new(Body::empty()),
                    })
                });
                Either::Right(answer)
            }
        };
        self.calls.track_future(answer)
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    request.version() == Version::HTTP_2 && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
