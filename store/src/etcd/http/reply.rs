//! Answers, headed as Go's `net/http` does.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tonic::body::Body;

/// How Go calls text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A whole answer of a kind.
pub(super) fn plain(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    if !kind.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// Text that a browser must not take for anything else.
pub(super) fn text(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = plain(status, TEXT, body);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Source: Go `http.Error`.
pub(super) fn error(status: StatusCode, why: &str) -> Response<Body> {
    text(status, format!("{why}\n"))
}

/// The refusal of a request that is no GET.
pub(super) fn only_get<B>(request: &Request<B>) -> Option<Response<Body>> {
    if request.method() == Method::GET {
        return None;
    }
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    Some(response)
}
