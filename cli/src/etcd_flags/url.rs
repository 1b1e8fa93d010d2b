//! PURE: lists of URLs, and who is where in a cluster.
//!
//! Source: etcd `client/pkg/types/urls.go`, `urlsmap.go`; `server/embed/config.go` (`checkBindURLs`, `checkHostURLs`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Url {
    /// Whether it is `https`.
    pub(crate) tls: bool,
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl Url {
    /// `HOST:PORT`.
    pub(crate) fn authority(&self) -> String {
        let Url { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Where to listen.
    ///
    /// # Errors
    /// When the host is a name: it may mean several addresses, or another one tomorrow.
    pub(crate) fn bind(&self) -> Result<SocketAddr, String> {
        let address = match self.host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            host => host.parse().map_err(|_| format!("expected IP in URL for binding ({self})"))?,
        };
        Ok(SocketAddr::new(address, self.port))
    }
}

/// URLs between commas, sorted.
///
/// # Errors
/// When one is none, or has a path.
pub(crate) fn parse(text: &str) -> Result<Vec<Url>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = text.split(',').map(|one| single(one.trim())).collect::<Result<Vec<_>, _>>()?;
    urls.sort();
    urls.dedup();
    Ok(urls)
}

fn single(text: &str) -> Result<Url, String> {
    let (tls, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(("unix" | "unixs", _)) => return Err(format!("unix sockets are not served: {text}")),
        _ => return Err(format!("URL scheme must be http or https: {text}")),
    };
    if rest.contains('/') {
        return Err(format!("URL must not contain a path: {text}"));
    }
    let form = || format!(r#"URL address does not have the form "host:port": {text}"#);
    let (host, port) = rest.rsplit_once(':').ok_or_else(form)?;
    let port = port.parse().map_err(|_| form())?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').ok_or_else(form)?,
        None if host.contains(':') => return Err(form()),
        None => host,
    };
    Ok(Url { tls, host: host.to_owned(), port })
}

/// `NAME=URL` between commas; a name that is there several times has several URLs.
///
/// # Errors
/// When an entry has no name or no URL.
pub(crate) fn cluster(text: &str) -> Result<Vec<(String, Vec<Url>)>, String> {
    let mut members: Vec<(String, Vec<Url>)> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (name, url) = entry
            .split_once('=')
            .filter(|(name, url)| !name.is_empty() && !url.is_empty())
            .ok_or_else(|| format!("{entry:?} is no member: write NAME=URL"))?;
        let url = single(url)?;
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, urls)) => urls.push(url),
            None => members.push((name.to_owned(), vec![url])),
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_etcd_reads_them() {
        let urls = parse("https://[::1]:2379, http://10.0.0.1:2379").expect("two");
        assert_eq!(urls.iter().map(Url::to_string).collect::<Vec<_>>(), ["http://10.0.0.1:2379", "https://[::1]:2379"]);
        assert_eq!(urls[1].bind().expect("an address").to_string(), "[::1]:2379");
        let refused = [
            ("10.0.0.1:2379", "URL scheme must be"),
            ("http://a", "does not have the form"),
            ("http://a:1/", "must not contain a path"),
            ("http://::1:2", "does not have the form"),
        ];
        for (text, why) in refused {
            assert!(parse(text).is_err_and(|error| error.contains(why)), "{text}");
        }
        let name = &parse("http://example.com:1").expect("a URL")[0];
        assert_eq!(name.bind(), Err("expected IP in URL for binding (http://example.com:1)".to_owned()));
    }

    #[test]
    fn a_cluster_is_read_member_by_member() {
        let members = cluster("a=http://1.1.1.1:1,b=http://2.2.2.2:2,a=http://3.3.3.3:3").expect("two members");
        let named: Vec<_> = members.iter().map(|(name, urls)| (name.as_str(), urls.len())).collect();
        assert_eq!(named, [("a", 2), ("b", 1)]);
        assert!(cluster("http://1.1.1.1:1").is_err_and(|why| why.contains("NAME=URL")));
    }
}
