//! PURE: lists of URLs, and who is where in a cluster.
//!
//! Source: etcd `client/pkg/types/urlsmap.go`; `server/embed/config.go` (`checkBindURLs`, `checkHostURLs`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use store::config::{Founder, Url, parse_all};

/// Where to listen.
///
/// # Errors
/// When the host is a name: it may mean several addresses, or another one tomorrow.
pub(crate) fn bind(url: &Url) -> Result<SocketAddr, String> {
    let address = match url.host() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        host => host.parse().map_err(|_| format!("expected IP in URL for binding ({url})"))?,
    };
    let port = url.authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Ok(SocketAddr::new(address, port.unwrap_or(0)))
}

/// URLs between commas; there may be none.
///
/// # Errors
/// When one is none, or has a path.
pub(super) fn list(text: &str) -> Result<Vec<Url>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = parse_all(text.split(','))?;
    urls.dedup();
    Ok(urls)
}

/// `NAME=URL` between commas; a name that is there several times has several URLs.
///
/// # Errors
/// When an entry has no name or no URL.
pub(super) fn cluster(text: &str) -> Result<Vec<Founder>, String> {
    let mut members: Vec<Founder> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (name, url) = entry
            .split_once('=')
            .filter(|(name, url)| !name.is_empty() && !url.is_empty())
            .ok_or_else(|| format!("{entry:?} is no member: write NAME=URL"))?;
        let url = url.parse()?;
        match members.iter_mut().find(|known| known.name == name) {
            Some(known) => known.peer_urls.push(url),
            None => members.push(Founder { name: name.to_owned(), peer_urls: vec![url] }),
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_no_names() {
        let bound = |text: &str| bind(&text.parse().expect(text)).map(|address| address.to_string());
        assert_eq!(bound("http://localhost:1").as_deref(), Ok("127.0.0.1:1"));
        assert_eq!(bound("https://[::1]:2").as_deref(), Ok("[::1]:2"));
        assert_eq!(bound("http://:3").as_deref(), Ok("0.0.0.0:3"));
        assert_eq!(bound("http://a.b:4"), Err("expected IP in URL for binding (http://a.b:4)".to_owned()));
    }

    #[test]
    fn a_cluster_is_read_member_by_member() {
        let members = cluster("a=http://1.1.1.1:1,b=http://2.2.2.2:2,a=http://3.3.3.3:3").expect("two members");
        let named: Vec<_> = members.iter().map(|member| (member.name.as_str(), member.peer_urls.len())).collect();
        assert_eq!(named, [("a", 2), ("b", 1)]);
        assert!(cluster("http://1.1.1.1:1").is_err_and(|why| why.contains("NAME=URL")));
        assert!(list("").is_ok_and(|urls| urls.is_empty()) && list("x").is_err());
    }
}
