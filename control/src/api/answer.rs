//! Answers: values and errors as HTTP responses.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use crate::api::negotiate::{Form, Format, Representation};
use crate::api::yaml;
use crate::status::Status;

/// A whole or a streamed body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Bytes as a whole body.
pub fn whole(code: u16, media_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A value in the representation that was asked for.
pub fn value(code: u16, value: &Value, how: &Representation) -> Response<Body> {
    match how.format {
        Format::Json if how.pretty => {
            let text = serde_json::to_vec_pretty(value).expect("a value is JSON");
            whole(code, "application/json", text)
        }
        Format::Json => {
            let mut text = serde_json::to_vec(value).expect("a value is JSON");
            text.push(b'\n');
            whole(code, "application/json", text)
        }
        Format::Yaml => whole(code, "application/yaml", yaml::write(value)),
    }
}

/// An answer with something that is kept until all of it is sent, or nobody wants it any more.
pub fn while_sent<T: Send + Unpin + 'static>(response: Response<Body>, keep: T) -> Response<Body> {
    response.map(|body| Kept { body, _keep: keep }.boxed_unsync())
}

struct Kept<T> {
    body: Body,
    _keep: T,
}

impl<T: Unpin> http_body::Body for Kept<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An error.
pub fn error(status: &Status) -> Response<Body> {
    error_in(status, Format::Json)
}

/// An error in the format that the answer would have had.
pub fn error_in(status: &Status, format: Format) -> Response<Body> {
    let how = Representation { format, form: Form::Plain, pretty: false };
    let mut response = value(status.code, &status.to_json(), &how);
    if let Some(seconds) = status.details["retryAfterSeconds"].as_u64() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What a path gets where no API lies.
pub fn no_page() -> Response<Body> {
    text(404, "404 page not found\n")
}

/// Plain text, as health checks answer.
pub fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = whole(code, "text/plain; charset=utf-8", text);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Adds warnings for the user (RFC 7234, as Kubernetes writes them), each once.
pub fn warn(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for (at, warning) in warnings.iter().enumerate() {
        if warnings[..at].contains(warning) {
            continue;
        }
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(header) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(WARNING, header);
        }
    }
    response
}
