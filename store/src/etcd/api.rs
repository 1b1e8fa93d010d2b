//! The ports of clients: gRPC and HTTP beside each other.
//!
//! Source: etcd `server/embed/serve.go`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
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
use crate::etcd::budget::Budget;
use crate::etcd::calls::Calls;
use crate::etcd::http::{Http, Part};
use crate::etcd::{Front, Options, routes};
use crate::listener::{Door, Limits, serve};

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
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

impl Api {
    pub(crate) fn new(store: &Store, options: Options) -> Api {
        let (limits, names) = (options.limits, options.client_names);
        store.set_quota(options.quota_bytes);
        if let Some(auto) = options.auto_compaction {
            store.auto_compact(auto);
        }
        let calls = Arc::new(Calls::new());
        let front = Front { store: store.clone(), options: Arc::new(options), budget: Budget::default(), calls };
        let routes = routes(&front);
        let http = Arc::new(Http::new(front, routes.clone()));
        Api { store: store.clone(), routes, http, limits, names }
    }

    /// Serves on a listener until the store shuts down.
    pub fn serve(&self, listener: TcpListener, tls: Option<TlsAcceptor>, what: Serves) {
        let part = if what == Serves::Metrics { Part::Metrics } else { Part::All { secure: tls.is_some() } };
        let service = Clients {
            routes: matches!(what, Serves::All | Serves::Grpc).then(|| self.routes.clone()),
            http: (what != Serves::Grpc).then(|| (self.http.clone(), part)),
            calls: self.store.calls().clone(),
        };
        let door = Door {
            tls,
            names: self.names,
            http1: what != Serves::Grpc,
            limits: self.limits,
            lanes: Some(self.store.lanes().clone()),
            service,
        };
        serve(listener, door, self.store.tasks(), self.store.ends());
    }
}

/// Answers the requests of one listener.
#[derive(Clone)]
struct Clients {
    routes: Option<Routes>,
    http: Option<(Arc<Http>, Part)>,
    /// Waited for before the store ends.
    calls: TaskTracker,
}

type Routed = <Routes as Service<Request<Incoming>>>::Future;
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
            (Some(routes), http) if http.is_none() || is_grpc(&request) => Either::Left(routes.call(request)),
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
