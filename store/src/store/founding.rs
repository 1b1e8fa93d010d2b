//! Who a member is that starts with an empty directory: somebody new, or one of those that etcd's flags name.
//!
//! Source: etcd `server/etcdserver/bootstrap.go`, `server/config/config.go`, `api/membership/{cluster,member}.go`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use proto::peer;

use crate::Error;
use crate::api::MemberId;
use crate::config::{Bootstrap, Config, Founder, Url, parse_all};
use crate::raft::peers::{Peers, Purpose};
use crate::store::identity::{self, Identity};

/// What a member that is asked for its group may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The same, while it is likely that nobody is there yet.
const NOBODY_AFTER: Duration = Duration::from_secs(2);

/// The identity that lies in the directory, or a new one, which lies there from then on.
///
/// # Errors
/// When the directory is unreadable, or etcd's flags contradict each other or the running cluster.
pub(super) async fn identity(config: &Config, peers: &Peers) -> Result<Identity, Error> {
    if let Some(known) = identity::load(&config.data_dir)? {
        return Ok(known);
    }
    let identity = match &config.bootstrap {
        Bootstrap::New | Bootstrap::Join { .. } => Identity::new(identity::random()?, None),
        Bootstrap::Static { members, token } => {
            local(&config.name, members)?;
            advertised(config, members)?;
            distinct(members)?;
            let nodes = nodes(members, token);
            let own = members.iter().find(|member| member.name == config.name).map_or(0, |own| id(own, token));
            // One whose disk was lost must not vote a second time as who it was.
            let others = others(&config.name, members);
            if let Ok(found) = ask(peers, &others, NOBODY_AFTER).await
                && found.nodes.get(&own).is_some_and(|held| !held.client_urls.is_empty())
            {
                return Err(Error::Invalid(format!("member {own:x} has already been bootstrapped")));
            }
            Identity::new(own, Some(cluster_id(nodes.keys().copied())))
        }
        Bootstrap::Existing { members } => {
            local(&config.name, members)?;
            distinct(members)?;
            let found = ask(peers, &others(&config.name, members), ANSWER_WITHIN).await;
            let found =
                found.map_err(|why| Error::Invalid(format!("cannot fetch cluster info from peer urls: {why}")))?;
            let matched = assign(members, &found.nodes).await.map_err(Error::Invalid)?;
            Identity::new(matched[&config.name], Some(found.cluster_id))
        }
    };
    identity::save(&config.data_dir, &identity)?;
    Ok(identity)
}

/// The members of a group that is begun, the same wherever the list is the same.
pub(super) fn nodes(members: &[Founder], token: &str) -> BTreeMap<MemberId, peer::Node> {
    let node = |member: &Founder| peer::Node {
        name: member.name.clone(),
        peer_urls: texts(&member.peer_urls),
        ..peer::Node::default()
    };
    members.iter().map(|member| (id(member, token), node(member))).collect()
}

fn texts(urls: &[Url]) -> Vec<String> {
    let mut texts: Vec<String> = urls.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

/// As etcd makes it of peer URLs, so that logs and dashboards of the two name the same member.
fn id(member: &Founder, token: &str) -> MemberId {
    short(format!("{}{token}", texts(&member.peer_urls).concat()).as_bytes())
}

/// The id of a member that is announced at a time, nanoseconds since 1970: etcd takes seconds, in which an id could come twice.
pub(crate) fn announced_id(urls: &[Url], now: u128) -> MemberId {
    short(format!("{}{now}", texts(urls).concat()).as_bytes())
}

fn cluster_id(members: impl Iterator<Item = MemberId>) -> u64 {
    short(&members.flat_map(MemberId::to_be_bytes).collect::<Vec<u8>>())
}

fn short(bytes: &[u8]) -> u64 {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let first = hash.as_ref()[..8].try_into().unwrap_or_default();
    u64::from_be_bytes(first).max(1)
}

fn local(name: &str, members: &[Founder]) -> Result<(), Error> {
    if members.iter().any(|member| member.name == name) {
        return Ok(());
    }
    Err(Error::Invalid(format!("couldn't find local name {name:?} in the initial cluster configuration")))
}

/// Both flags must name the same URLs of this member.
fn advertised(config: &Config, members: &[Founder]) -> Result<(), Error> {
    let listed = members.iter().filter(|member| member.name == config.name).flat_map(|member| texts(&member.peer_urls));
    let (listed, own): (BTreeSet<_>, BTreeSet<_>) =
        (listed.collect(), texts(&config.peer_advertise).into_iter().collect());
    let named =
        |urls: Vec<&String>| urls.iter().map(|url| format!("{}={url}", config.name)).collect::<Vec<_>>().join(",");
    let join = |urls: &BTreeSet<String>| urls.iter().cloned().collect::<Vec<_>>().join(",");
    let missing: Vec<_> = listed.difference(&own).collect();
    if !missing.is_empty() {
        return Err(Error::Invalid(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
            named(missing),
            join(&own)
        )));
    }
    let missing: Vec<_> = own.difference(&listed).collect();
    if !missing.is_empty() {
        return Err(Error::Invalid(format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
            missing.into_iter().cloned().collect::<Vec<_>>().join(","),
            members.iter().map(spelled).collect::<Vec<_>>().join(",")
        )));
    }
    Ok(())
}

/// A member as the flag has it.
fn spelled(member: &Founder) -> String {
    let urls = texts(&member.peer_urls);
    urls.iter().map(|url| format!("{}={url}", member.name)).collect::<Vec<_>>().join(",")
}

fn distinct(members: &[Founder]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    if members.iter().flat_map(|member| &member.peer_urls).all(|url| seen.insert(url)) {
        return Ok(());
    }
    let list: Vec<_> = members.iter().map(spelled).collect();
    Err(Error::Invalid(format!("initial cluster {} has duplicate url", list.join(","))))
}

fn others(name: &str, members: &[Founder]) -> Vec<Url> {
    members.iter().filter(|member| member.name != name).flat_map(|member| member.peer_urls.clone()).collect()
}

/// The group as the first of these that belongs to one knows it.
async fn ask(peers: &Peers, urls: &[Url], within: Duration) -> Result<peer::MembersResponse, String> {
    let mut why = "could not retrieve cluster information from the given URLs".to_owned();
    for url in urls {
        let client = peers.client(None, &[url.to_string()], Purpose::Call);
        let mut client = client.map_err(|error| error.to_string())?;
        match tokio::time::timeout(within, client.members(peer::MembersRequest { asks: 0 })).await {
            Ok(Ok(answer)) if answer.get_ref().cluster_id != 0 => return Ok(answer.into_inner()),
            Ok(Ok(_)) => {}
            Ok(Err(status)) => why = format!("{url}: {}", status.message()),
            Err(_) => why = format!("{url}: no answer"),
        }
    }
    Err(why)
}

/// The ids of the members of a list, by the URLs that a running group has for them.
async fn assign(
    listed: &[Founder],
    running: &HashMap<MemberId, peer::Node>,
) -> Result<BTreeMap<String, MemberId>, String> {
    if listed.len() != running.len() {
        return Err(unmatched(running, "member count is unequal".to_owned()));
    }
    let mut ids = BTreeMap::new();
    for (id, node) in running {
        let mut found = None;
        for member in listed {
            if same(&node.peer_urls, &member.peer_urls).await {
                found = Some(member.name.clone());
                break;
            }
        }
        let text = || format!("PeerURLs: no match found for existing member ({id:x}, {:?})", node.peer_urls);
        ids.insert(found.ok_or_else(|| unmatched(running, text()))?, *id);
    }
    Ok(ids)
}

fn unmatched(running: &HashMap<MemberId, peer::Node>, why: String) -> String {
    let mut ids: Vec<_> = running.iter().collect();
    ids.sort_by_key(|(id, _)| **id);
    let each = |(id, node): &(&MemberId, &peer::Node)| format!("{id:x} {}", node.peer_urls.join(","));
    let list = ids.iter().map(each).collect::<Vec<_>>().join("; ");
    format!("error validating peerURLs [{list}]: {why}")
}

/// Whether URLs are the same, by their words or by the addresses that names stand for.
async fn same(held: &[String], listed: &[Url]) -> bool {
    let mut words = held.to_vec();
    words.sort();
    if words == texts(listed) {
        return true;
    }
    let Ok(held) = parse_all(held) else { return false };
    match (resolved(&held).await, resolved(listed).await) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

async fn resolved(urls: &[Url]) -> Option<BTreeSet<(bool, Vec<SocketAddr>)>> {
    let mut all = BTreeSet::new();
    for url in urls {
        let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host(&url.authority).await.ok()?.collect();
        addresses.sort();
        all.insert((url.tls, addresses));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founder(name: &str, url: &str) -> Founder {
        Founder { name: name.to_owned(), peer_urls: vec![url.parse().expect("a URL")] }
    }

    #[test]
    fn ids_are_etcds() {
        // What etcd prints when it starts with its default flags.
        let default = founder("default", "http://localhost:2380");
        assert_eq!(format!("{:x}", id(&default, "etcd-cluster")), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id([id(&default, "etcd-cluster")].into_iter())), "cdf818194e3a8c32");
    }

    #[tokio::test]
    async fn a_list_must_name_the_members_there_are() {
        let node = |url: &str| peer::Node { peer_urls: vec![url.to_owned()], ..peer::Node::default() };
        let running = [(1, node("http://127.0.0.1:1")), (2, node("http://127.0.0.1:2"))].into();
        let (a, b) = (founder("a", "http://127.0.0.1:1"), founder("b", "http://127.0.0.1:2"));
        let ids = assign(&[b.clone(), a.clone()], &running).await.expect("they match");
        assert_eq!(ids, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
        let few = assign(std::slice::from_ref(&a), &running).await.expect_err("one is missing");
        assert!(few.ends_with("member count is unequal"), "{few}");
        let other = assign(&[a, founder("b", "http://127.0.0.1:3")], &running).await.expect_err("b is elsewhere");
        assert!(other.contains("PeerURLs: no match found for existing member (2"), "{other}");
    }

    #[test]
    fn a_list_must_make_sense() {
        let (a, b) = (founder("a", "http://127.0.0.1:1"), founder("b", "http://127.0.0.1:1"));
        let unknown = local("c", std::slice::from_ref(&a)).expect_err("c is not there").to_string();
        assert_eq!(unknown, "couldn't find local name \"c\" in the initial cluster configuration");
        let twice = distinct(&[a, b]).expect_err("one address").to_string();
        assert_eq!(twice, "initial cluster a=http://127.0.0.1:1,b=http://127.0.0.1:1 has duplicate url");
    }
}
