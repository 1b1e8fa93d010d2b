//! The node's metrics on loopback: `/metrics` for Prometheus, `/` for people.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto::agent::UsageReport;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Newest;
use super::page::page;

/// cAdvisor's port, as the kubelet had it.
const PORT: u16 = 4194;
/// Connections at one time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// A connection lasts so long at most.
const LIMIT: Duration = Duration::from_secs(10);

/// Serves until told to stop. Where the port is taken, servers still have the metrics.
pub(crate) async fn run(node: String, newest: &Newest, stop: CancellationToken) {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let listener = match TcpListener::bind(at).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::info!(%at, %error, "the node's metrics are not shown here; servers have them");
            return stop.cancelled().await;
        }
    };
    let (node, mut connections) = (Arc::<str>::from(node), JoinSet::new());
    loop {
        let full = connections.len() >= CONNECTIONS_MAX;
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    continue;
                }
            },
        };
        let (node, report) = (Arc::clone(&node), newest.borrow().clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&node, request.uri().path(), report.as_deref());
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            let served = http.keep_alive(false).serve_connection(TokioIo::new(stream), service);
            // Whoever hangs up or is too slow sees it himself.
            let _ = tokio::time::timeout(LIMIT, served).await;
        });
    }
    connections.shutdown().await;
}

fn answer(node: &str, path: &str, report: Option<&UsageReport>) -> Response<Full<Bytes>> {
    let (code, kind, text) = match (path, report) {
        (_, None) => (503, "text/plain", "nothing has been measured yet\n".to_owned()),
        ("/metrics" | "/metrics/cadvisor", Some(report)) => {
            (200, "text/plain; version=0.0.4; charset=utf-8", proto::prometheus::cadvisor(report))
        }
        ("/", Some(report)) => (200, "text/plain; charset=utf-8", page(node, report)),
        _ => (404, "text/plain", "see / and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_first_measurement_there_is_nothing() {
        assert_eq!(answer("n", "/metrics", None).status(), 503);
        let report = UsageReport::default();
        assert_eq!(answer("n", "/metrics", Some(&report)).status(), 200);
        assert_eq!(answer("n", "/none", Some(&report)).status(), 404);
    }
}
