//! PURE: which hosts and origins HTTP requests may name (`--host-whitelist`, `--cors`).
//!
//! Source: etcd `server/embed/serve.go`, `server/etcdserver/cluster_util.go` (`AccessController`).

use http::{HeaderMap, HeaderValue, Request, header};

/// The host that a request is for, without a port.
pub(super) fn host<B>(request: &Request<B>) -> &str {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| request.uri().authority().map(http::uri::Authority::as_str)).unwrap_or_default();
    match named.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => named.split(':').next().unwrap_or_default(),
    }
}

/// Whether a list, empty for all, has a word.
pub(super) fn listed(list: &[String], word: &str) -> bool {
    list.is_empty() || list.iter().any(|one| one == "*" || one == word)
}

/// What a browser is told about a request's origin; nothing when it is not listed.
pub(super) fn origin(list: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    if listed(list, "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let origin = headers.get(header::ORIGIN)?;
    listed(list, origin.to_str().ok()?).then(|| origin.clone())
}

/// Lets a browser's page of an origin read an answer.
pub(super) fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let allowed = HeaderValue::from_static("accept, content-type, authorization");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
}

/// Why a host is refused: a page may have made its own name mean this address (CVE-2018-5702).
pub(super) fn unlisted(host: &str) -> String {
    format!(
        "the Host header {host:?} is not on the list of this member: use TLS, where any is accepted, or add it to \
         --host-whitelist"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str) -> Request<()> {
        Request::builder().uri("/").header(header::HOST, host).body(()).expect("fits")
    }

    #[test]
    fn hosts_are_taken_without_their_port() {
        for (header, wanted) in [("a.b:1", "a.b"), ("a", "a"), ("[::1]:5", "::1"), ("1.2.3.4:5", "1.2.3.4")] {
            assert_eq!(host(&request(header)), wanted);
        }
        let of_h2 = Request::builder().uri("http://h:1/x").body(()).expect("fits");
        assert_eq!(host(&of_h2), "h");
    }

    #[test]
    fn lists_are_kept_to() {
        let list = vec!["a".to_owned()];
        assert!(listed(&[], "x") && listed(&["*".to_owned()], "x") && listed(&list, "a") && !listed(&list, "x"));
        let mut headers = HeaderMap::new();
        assert_eq!(origin(&[], &headers), Some(HeaderValue::from_static("*")));
        assert_eq!(origin(&list, &headers), None);
        headers.insert(header::ORIGIN, HeaderValue::from_static("a"));
        assert_eq!(origin(&list, &headers), Some(HeaderValue::from_static("a")));
    }
}
