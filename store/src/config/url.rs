//! PURE: URLs as etcd's flags and member lists have them.
//!
//! Source: etcd `client/pkg/types/urls.go`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// `http://HOST:PORT` or `https://HOST:PORT`, and nothing behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// `HOST:PORT`.
    pub authority: String,
}

impl Url {
    /// Of an address where TLS is spoken.
    pub fn https(address: SocketAddr) -> Self {
        Url { tls: true, authority: address.to_string() }
    }

    /// Of an address where none is.
    pub fn http(address: SocketAddr) -> Self {
        Url { tls: false, authority: address.to_string() }
    }

    /// The host alone, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
        };
        let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = authority.rsplit_once(':').unwrap_or_default();
        let plain = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        if !plain || port.parse::<u16>().is_err() {
            return Err(format!("URL address does not have the form \"host:port\": {text}"));
        }
        if !path.is_empty() {
            return Err(format!("URL must not contain a path: {text}"));
        }
        Ok(Url { tls, authority: authority.to_owned() })
    }
}

/// Several, in the order in which etcd keeps them.
///
/// # Errors
/// When there are none, or one is no URL.
pub fn parse_all<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Vec<Url>, String> {
    let mut urls = texts.into_iter().map(|text| text.as_ref().parse()).collect::<Result<Vec<Url>, String>>()?;
    urls.sort_by_key(ToString::to_string);
    if urls.is_empty() { Err("no valid URLs given".to_owned()) } else { Ok(urls) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_takes_is_taken() {
        for text in ["http://127.0.0.1:2380", "https://etcd-0.etcd:2380", "http://[::1]:2380", " http://:2380 "] {
            assert_eq!(text.parse::<Url>().expect(text).to_string(), text.trim());
        }
        assert_eq!("http://[::1]:2380".parse::<Url>().expect("a URL").host(), "::1");
        let sorted = parse_all(["http://b:1", "http://a:2"]).expect("URLs");
        assert_eq!(sorted.iter().map(Url::host).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_etcd_refuses_is_refused_in_its_words() {
        let refused = |text: &str| text.parse::<Url>().expect_err(text);
        assert_eq!(refused("127.0.0.1:2380"), "URL scheme must be http, https, unix, or unixs: 127.0.0.1:2380");
        assert_eq!(refused("http://a"), "URL address does not have the form \"host:port\": http://a");
        assert_eq!(refused("http://::1"), "URL address does not have the form \"host:port\": http://::1");
        assert_eq!(refused("http://a:1/x"), "URL must not contain a path: http://a:1/x");
        assert_eq!(parse_all::<&str>([]), Err("no valid URLs given".to_owned()));
    }

    #[test]
    fn texts_of_any_bytes_are_urls_or_refused() {
        let seeds = ["http://127.0.0.1:2380", "https://[::1]:2380", "unix://a:1", "http://a:1/x?y#z"];
        crate::fuzz::bear("urls", seeds.iter().map(|text| text.as_bytes().to_vec()).collect(), |bytes| {
            match String::from_utf8_lossy(bytes).parse::<Url>() {
                Ok(url) => {
                    assert_eq!(url.to_string().parse::<Url>().as_ref(), Ok(&url), "it is read as it is shown");
                    format!("a URL, {}", url.tls)
                }
                Err(refused) => refused.split(':').next().unwrap_or_default().to_owned(),
            }
        });
    }
}
