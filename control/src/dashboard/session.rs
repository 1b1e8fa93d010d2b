//! Who is logged in. The browser keeps the token in a cookie that only the cluster's servers can open: any of them
//! accepts a session that another one made, none has to remember any, and a session ends at a time that it carries.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{COOKIE, HOST, ORIGIN};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::identity::at_rest::{Key, Ring};

/// The prefix makes browsers refuse it without `Secure`, with a domain, or from a part of the site (RFC 6265bis, 4.1.3.2).
const NAME: &str = "__Host-raftsman";
/// A session ends after so long, or with its token. Units: seconds.
const SECONDS_MAX: i64 = 12 * 3600;
/// A token at most: browsers keep cookies of 4 KiB, and this one holds it sealed. Units: bytes.
pub const TOKEN_BYTES_MAX: usize = 2800;
/// What the sealing is bound to.
const PURPOSE: &[u8] = b"dashboard session";

/// A person at a browser.
#[derive(Clone, Serialize, Deserialize)]
pub struct Session {
    /// What authenticates each of its requests.
    #[serde(rename = "t")]
    pub token: Zeroizing<String>,
    /// Every form repeats it: pages of other sites do not know it.
    #[serde(rename = "f")]
    pub form_key: String,
    /// Seconds since 1970.
    #[serde(rename = "u")]
    pub until: i64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session(until {})", self.until)
    }
}

impl Session {
    /// Begins now.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new(token: &str, now: i64) -> Result<Session, aws_lc_rs::error::Unspecified> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes)?;
        let token = Zeroizing::new(token.to_owned());
        Ok(Session { token, form_key: URL_SAFE_NO_PAD.encode(bytes), until: now + SECONDS_MAX })
    }

    /// Whether a form came from one of this session's pages.
    pub fn made(&self, form_key: &str) -> bool {
        self.form_key.as_bytes().ct_eq(form_key.as_bytes()).into()
    }
}

/// What seals sessions, the same on every server of a cluster.
#[derive(Debug)]
pub struct Seal {
    ring: Ring,
}

/// HKDF's output length.
struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl Seal {
    /// With a key of its own, derived from the cluster's.
    pub fn new(cluster_key: &[u8; 32]) -> Seal {
        let root = Salt::new(HKDF_SHA256, b"raftsman").extract(cluster_key);
        let mut bytes = [0; 32];
        let filled = root.expand(&[PURPOSE], Bytes32).and_then(|okm| okm.fill(&mut bytes));
        filled.expect("32 bytes are not too many for HKDF");
        Seal { ring: Ring::new(vec![Key { id: "dashboard".to_owned(), bytes }]) }
    }

    /// The `Set-Cookie` header that begins a session.
    ///
    /// # Errors
    /// When the cipher refuses.
    pub fn set_cookie(&self, session: &Session, now: i64) -> Result<String, crate::identity::at_rest::Error> {
        let plain = Zeroizing::new(serde_json::to_vec(session).expect("a session is JSON"));
        let sealed = URL_SAFE_NO_PAD.encode(self.ring.seal(PURPOSE, &plain)?);
        Ok(format!("{NAME}={sealed}; Max-Age={}; {ATTRIBUTES}", (session.until - now).max(0)))
    }

    /// The session that a request's cookie holds, if it has not ended.
    pub fn session(&self, headers: &HeaderMap, now: i64) -> Option<Session> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let sealed = URL_SAFE_NO_PAD.decode(pairs.find(|(name, _)| *name == NAME)?.1).ok()?;
        // What is no envelope would come back as it is, and anybody can write that.
        let plain = Zeroizing::new(self.ring.open(PURPOSE, &sealed).ok().filter(|plain| *plain != sealed)?);
        let session: Session = serde_json::from_slice(&plain).ok()?;
        (session.until > now).then_some(session)
    }
}

const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

/// The `Set-Cookie` header that ends a session.
pub fn clear_cookie() -> String {
    format!("{NAME}=; Max-Age=0; {ATTRIBUTES}")
}

/// Whether a request that changes something comes from a page of this server, as far as the browser says.
pub fn same_origin(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let host = text(HOST.as_str()).or(authority);
    match (text(ORIGIN.as_str()), host) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        // Browsers send at least one of the two with a form; what is no browser has no session to ride on.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    fn cookie(set: &str) -> HeaderMap {
        headers(&[("cookie", &format!("other=1; {}", set.split(';').next().expect("a pair")))])
    }

    #[test]
    fn a_session_is_read_by_every_server_of_the_cluster_until_its_end() {
        let session = Session::new("secret-token", 100).expect("random");
        let set = Seal::new(&[7; 32]).set_cookie(&session, 100).expect("sealed");
        assert!(!set.contains("secret-token") && set.contains("HttpOnly") && set.contains("SameSite=Strict"));
        let other = Seal::new(&[7; 32]);
        let read = other.session(&cookie(&set), 100 + SECONDS_MAX - 1).expect("still good");
        assert_eq!((read.token.as_str(), read.made(&session.form_key)), ("secret-token", true));
        assert!(!read.made("") && !format!("{read:?}").contains("secret"));
        assert!(other.session(&cookie(&set), 100 + SECONDS_MAX).is_none(), "it has ended");
        assert!(Seal::new(&[8; 32]).session(&cookie(&set), 100).is_none(), "another cluster's");
    }

    #[test]
    fn what_was_not_sealed_is_no_session() {
        let forged = r#"{"t":"x","f":"","u":9999999999}"#;
        let forged = URL_SAFE_NO_PAD.encode(forged);
        assert!(Seal::new(&[7; 32]).session(&cookie(&format!("{NAME}={forged}")), 0).is_none());
        assert!(Seal::new(&[7; 32]).session(&HeaderMap::new(), 0).is_none());
    }

    #[test]
    fn the_longest_token_fits_a_cookie() {
        let session = Session::new(&"x".repeat(TOKEN_BYTES_MAX), 0).expect("random");
        let set = Seal::new(&[7; 32]).set_cookie(&session, 0).expect("sealed");
        assert!(set.len() <= 4096, "{}", set.len());
    }

    #[test]
    fn forms_come_from_own_pages() {
        let table: &[(&[(&'static str, &str)], bool)] = &[
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site"), ("origin", "https://a:1"), ("host", "a:1")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("origin", "https://a:1"), ("host", "a:1")], true),
            (&[("origin", "https://b:1"), ("host", "a:1")], false),
            (&[("origin", "null"), ("host", "a:1")], false),
            (&[("host", "a:1")], false),
        ];
        for (pairs, wanted) in table {
            assert_eq!(same_origin(&headers(pairs), None), *wanted, "{pairs:?}");
        }
        assert!(same_origin(&headers(&[("origin", "https://a:1")]), Some("a:1")), "HTTP/2 has no Host header");
    }
}
