//! gRPC health checks of probes. Source: `grpc.health.v1` (grpc/doc/health-checking.md); what failures are called:
//! Kubernetes' `pkg/probe/grpc/grpc.go`.

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl ServingStatus {
    fn word(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// Asks once whether a service serves.
///
/// # Errors
/// When it does not, or does not say so in time.
pub(super) async fn check(place: SocketAddr, service: &str, limit: Duration) -> Result<(), String> {
    let seconds = limit.as_secs();
    let endpoint = Endpoint::from_shared(format!("http://{place}"))
        .and_then(|endpoint| endpoint.user_agent("kube-probe/1.36"))
        .map_err(|error| error.to_string())?;
    let connected = tokio::time::timeout(limit, endpoint.connect()).await;
    let Ok(Ok(channel)) = connected else {
        return Err(format!(
            "timeout: failed to connect service \"{place}\" within {seconds}s: context deadline exceeded"
        ));
    };
    let mut client = tonic::client::Grpc::new(channel);
    let ask = async {
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        client.unary(Request::new(HealthCheckRequest { service: service.to_owned() }), path, codec).await
    };
    let late = || Err(Status::deadline_exceeded(""));
    match tokio::time::timeout(limit, ask).await.unwrap_or_else(|_| late()) {
        Ok(answer) => match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            other => Err(format!("service unhealthy (responded with {:?})", other.word())),
        },
        Err(status) => Err(refused(&status, seconds)),
    }
}

fn refused(status: &Status, seconds: u64) -> String {
    match status.code() {
        Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        ),
        Code::DeadlineExceeded => format!("timeout: health rpc did not complete within {seconds}s"),
        code => format!("error: health rpc probe failed: rpc error: code = {code:?} desc = {}", status.message()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use prost::Message;
    use tokio::task::JoinSet;

    use super::*;

    /// A server that gives every health check this answer, or takes connections and never says a word.
    async fn server(answer: Option<ServingStatus>) -> (SocketAddr, JoinSet<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let place = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let Some(answer) = answer else { return std::future::pending().await };
            let serve = service_fn(move |request: http::Request<_>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let message = HealthCheckResponse { status: answer.into() }.encode_to_vec();
                let length = u8::try_from(message.len()).expect("short");
                let data = Bytes::from([&[0, 0, 0, 0, length][..], &message].concat());
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                let frames = [Frame::data(data), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
                let body = StreamBody::new(futures_util::stream::iter(frames));
                http::Response::builder().header("content-type", "application/grpc").body(body)
            });
            let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve);
            let _ = connection.await;
        });
        (place, tasks)
    }

    #[tokio::test]
    async fn what_a_service_says_of_itself_counts() {
        let limit = Duration::from_secs(5);
        let (place, _tasks) = server(Some(ServingStatus::Serving)).await;
        assert_eq!(check(place, "shop", limit).await, Ok(()));
        let (place, _tasks) = server(Some(ServingStatus::NotServing)).await;
        let unhealthy = "service unhealthy (responded with \"NOT_SERVING\")".to_owned();
        assert_eq!(check(place, "", limit).await, Err(unhealthy));
    }

    #[tokio::test]
    async fn silence_and_absence_are_told_apart() {
        let limit = Duration::from_secs(1);
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).expect("a port");
        let absent = check(nobody, "", limit).await.expect_err("nobody is there");
        assert!(absent.starts_with("timeout: failed to connect service \"127.0.0.1:"), "{absent}");
        let (place, _tasks) = server(None).await;
        let silent = check(place, "", limit).await.expect_err("it says nothing");
        assert_eq!(silent, "timeout: health rpc did not complete within 1s");
    }

    #[test]
    fn refusals_are_named_as_the_kubelet_names_them() {
        assert_eq!(
            refused(&Status::unimplemented("unknown service"), 1),
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service"
        );
        assert_eq!(
            refused(&Status::not_found("unknown service x"), 1),
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service x"
        );
    }
}
