//! What clients ask without gRPC: version, health, metrics, and the gateway to the services.
//!
//! Source: etcd `server/etcdserver/api/etcdhttp`, `server/embed/serve.go`.

mod access;
mod gateway;
mod health;
mod metrics;
mod reply;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::service::Routes;

use crate::etcd::{Front, STORAGE_VERSION, VERSION};

/// What a listener shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything; `secure`: over TLS.
    All { secure: bool },
    /// Metrics and health.
    Metrics,
}

/// See the module.
pub(super) struct Http {
    front: Front,
    routes: Routes,
    checks: Checks,
    leaders: Arc<metrics::Seen>,
}

/// Health checks so far.
#[derive(Debug, Default)]
struct Checks {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Http {
    pub(super) fn new(front: Front, routes: Routes) -> Http {
        let leaders = metrics::follow(&front.store);
        Http { front, routes, checks: Checks::default(), leaders }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>, part: Part) -> Response<Body> {
        let Part::All { secure } = part else { return self.shown(&request).await };
        let options = &self.front.options;
        if !secure && !access::listed(&options.hosts, access::host(&request)) {
            return reply::error(StatusCode::MISDIRECTED_REQUEST, &access::unlisted(access::host(&request)));
        }
        let allowed = access::origin(&options.origins, request.headers());
        let mut response = if request.method() == Method::OPTIONS {
            reply::plain(StatusCode::OK, "", String::new())
        } else if request.uri().path() == "/version" {
            reply::only_get(&request).unwrap_or_else(|| reply::plain(StatusCode::OK, "application/json", versions()))
        } else if options.gateway && ["/v3/", "/v3beta/"].iter().any(|root| request.uri().path().starts_with(root)) {
            gateway::answer(&self.front, &self.routes, request).await
        } else {
            self.shown(&request).await
        };
        if let Some(origin) = allowed {
            access::allow(response.headers_mut(), origin);
        }
        response
    }

    /// What a listener for metrics shows too.
    async fn shown<B>(&self, request: &Request<B>) -> Response<Body> {
        match request.uri().path() {
            "/metrics" => reply::only_get(request).unwrap_or_else(|| {
                let text = metrics::text(&self.front, &self.checks, &self.leaders);
                reply::plain(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
            }),
            "/health" => health::old(&self.front, &self.checks, request).await,
            path if path.starts_with("/livez") || path.starts_with("/readyz") => {
                health::checked(&self.front, request).await
            }
            _ => reply::error(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }
}

fn versions() -> String {
    format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{STORAGE_VERSION}","storage":"{STORAGE_VERSION}"}}"#)
}

/// The value of a parameter of the query, each time it is there.
fn parameters<'a, B>(request: &'a Request<B>, name: &'a str) -> impl Iterator<Item = std::borrow::Cow<'a, str>> {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).filter(move |(key, _)| key == name).map(|(_, value)| value)
}
