//! JSON for those who speak no gRPC: one way for every call, from its description.
//!
//! Source: etcd `server/embed/serve.go` (`registerGateway`), grpc-gateway `runtime`.

mod bindings;
mod json;
mod stream;

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use prost_reflect::MethodDescriptor;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

use self::json::Found;
use crate::etcd::budget::{Held, SMALL_BYTES};
use crate::etcd::http::reply;
use crate::etcd::{Front, OVERHEAD_BYTES};
use crate::listener::ClientName;

/// An answer at most, bytes: JSON is made of it as a whole. What is longer is read by parts, or by gRPC.
const ANSWER_MAX: usize = 64 << 20;
/// What an answer takes together with the JSON that is made of it.
const COPIES: usize = 3;
/// A body with one message arrives within this time.
const BODY: Duration = Duration::from_secs(30);
/// Tells the services that the certificate of a connection is not the caller's.
const MARK: HeaderName = HeaderName::from_static("grpcgateway-accept");
/// Headers that become metadata under the name behind it.
const METADATA: &str = "grpc-metadata-";

/// Answers a request below `/v3/`.
pub(super) async fn answer(front: &Front, routes: &Routes, request: Request<Incoming>) -> Response<Body> {
    match called(front, routes, request).await {
        Ok(response) => response,
        Err(status) => failed(&status),
    }
}

async fn called(front: &Front, routes: &Routes, request: Request<Incoming>) -> Result<Response<Body>, Status> {
    let bound = bindings::call(request.uri().path()).ok_or_else(|| Status::not_found("Not Found"))?;
    if request.method() != Method::POST {
        return Err(Status::unimplemented("Method Not Allowed"));
    }
    if front.store.guarded() && request.extensions().get::<ClientName>().is_some() {
        let why = "CommonName of client sending a request against gateway will be ignored and not used as expected";
        return Ok(reply::error(StatusCode::BAD_REQUEST, why));
    }
    let method = json::method(bound.0, bound.1).ok_or_else(|| Status::unimplemented("Method Not Allowed"))?;
    let message_max = front.options.request_bytes_max + OVERHEAD_BYTES;
    let headers = metadata(request.headers());
    let body = if method.is_client_streaming() {
        stream::requests(request.into_body(), &method, message_max)
    } else {
        Body::new(Full::new(single(request, &method, message_max).await?))
    };
    let mut call = Request::new(body);
    *call.method_mut() = Method::POST;
    *call.uri_mut() = http::Uri::try_from(format!("/{}/{}", bound.0, bound.1)).map_err(|_| Status::internal("path"))?;
    *call.headers_mut() = headers;
    let Ok(response) = routes.clone().call(call).await;
    let (head, body) = response.into_parts();
    let early = Status::from_header_map(&head.headers).filter(|status| status.code() != Code::Ok);
    if method.is_server_streaming() {
        return Ok(stream::answers(body, method, early).await);
    }
    if let Some(status) = early {
        return Err(status);
    }
    let (mut arrived, held) = collected(front, body).await?;
    let message = json::unframe(&mut arrived).ok_or_else(|| Status::internal("an answer without a message"))?;
    let text = json::write(&method.output(), message).map_err(Status::internal)?;
    drop(arrived);
    let (length, body) = (text.len(), Full::new(bytes::Bytes::from(text)));
    let mut response = match held {
        None => success(Body::new(body)),
        // The room is given back once the last of it has gone.
        Some(held) => success(Body::new(body.map_frame(move |frame| {
            let _ = &held;
            frame
        }))),
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// An answer that is made of one message, with the room that it was given where it is large.
async fn collected(front: &Front, mut body: Body) -> Result<(BytesMut, Option<Held>), Status> {
    let (mut arrived, mut held) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = match frame?.into_data() {
            Ok(data) => data,
            Err(rest) => {
                let status = rest.trailers_ref().and_then(Status::from_header_map);
                if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
                    return Err(status);
                }
                continue;
            }
        };
        let length = arrived.len() + frame.len();
        if length > ANSWER_MAX {
            return Err(too_large(length, ANSWER_MAX));
        }
        if length > SMALL_BYTES && held.is_none() {
            held = front.gateway.hold(COPIES * ANSWER_MAX).await?;
        }
        arrived.extend_from_slice(&frame);
    }
    Ok((arrived, held))
}

/// The only message of a body; an empty body is an empty message, and what follows it is of no interest.
async fn single(
    request: Request<Incoming>,
    method: &MethodDescriptor,
    message_max: usize,
) -> Result<bytes::Bytes, Status> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = Limited::new(request.into_body(), json_max(message_max)).collect();
    let body =
        tokio::time::timeout(BODY, body).await.map_err(|_| Status::deadline_exceeded("a body that does not end"))?;
    let body = body.map_err(|error| match error.downcast::<http_body_util::LengthLimitError>() {
        // In base64 and braces, three bytes are four.
        Ok(_) => too_large(length.map_or(json_max(message_max), |length: usize| length / 4 * 3), message_max),
        Err(_) => Status::invalid_argument("unexpected EOF"),
    })?;
    let kind = method.input();
    let framed = match json::read(&kind, &body.to_bytes()).map_err(Status::invalid_argument)? {
        Found::Message(framed, _) => framed,
        Found::Nothing => json::empty(&kind),
        Found::Half => return Err(Status::invalid_argument("unexpected EOF")),
    };
    let length = framed.len() - json::HEAD_BYTES;
    if length > message_max { Err(too_large(length, message_max)) } else { Ok(framed) }
}

/// Bytes of JSON at most for a message of so many.
fn json_max(message_max: usize) -> usize {
    message_max / 3 * 4 + (64 << 10)
}

/// As gRPC for Go says it.
fn too_large(length: usize, message_max: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({length} vs. {message_max})"))
}

/// What of a request's headers its call is told.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut told = HeaderMap::new();
    told.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    told.insert(header::TE, HeaderValue::from_static("trailers"));
    told.insert(MARK, headers.get(header::ACCEPT).cloned().unwrap_or(HeaderValue::from_static("*/*")));
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        told.insert(header::AUTHORIZATION, authorization.clone());
    }
    for (name, value) in headers {
        let named = name.as_str().strip_prefix(METADATA).and_then(|name| HeaderName::try_from(name).ok());
        if let Some(name) = named.filter(|name| !told.contains_key(name)) {
            told.append(name, value.clone());
        }
    }
    told
}

fn success(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(HeaderName::from_static("grpc-metadata-content-type"), grpc);
    response
}

fn failed(status: &Status) -> Response<Body> {
    with_status(status, json::error(status.code().into(), status.message()))
}

/// A whole answer that is an error.
fn with_status(status: &Status, text: String) -> Response<Body> {
    let code = StatusCode::from_u16(json::http_status(status.code().into()));
    let mut response = reply::plain(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "application/json", text);
    if status.code() == Code::Unauthenticated
        && let Ok(why) = HeaderValue::from_str(status.message())
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, why);
    }
    response
}
