//! Pages as HTTP responses, with what browsers are told to refuse.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};

use crate::api::answer::{self, Body};

/// Everything a page loads comes from the server itself as a file; nothing is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page.
pub(super) fn html(code: u16, text: String) -> Response<Body> {
    answer::whole(code, "text/html; charset=utf-8", text)
}

/// A sentence, for what no page leads to.
pub(super) fn said(code: u16, text: &'static str) -> Response<Body> {
    guarded(answer::whole(code, "text/plain; charset=utf-8", text))
}

/// Go there.
pub(super) fn moved(place: &str) -> Response<Body> {
    let mut response = answer::whole(303, "text/plain; charset=utf-8", "");
    set(&mut response, LOCATION, place);
    response
}

/// Sets a header; a value that is none is left out.
pub(super) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(response.headers_mut().insert(name, value)),
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// With the headers that every answer has. Pages are not kept: they show what one user may see.
pub(super) fn guarded(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not `no-referrer`: browsers would hide from this server itself where its forms come from.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
