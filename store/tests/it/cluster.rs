//! Members of a group in one process: each with its own directory, certificate and port.

use std::sync::OnceLock;
use std::time::Duration;

use proto::etcdserverpb as pb;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use store::api::Leadership;
use store::config::{Bootstrap, Config, Founder, PEER_NAME, PeerTls, Transport, Url};
use store::{Error, Store};
use tempfile::TempDir;

pub(crate) use crate::ports::free;
use crate::settings::settings;

/// How long anything awaited here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate of the group's authority for its members.
fn tls() -> PeerTls {
    static TLS: OnceLock<PeerTls> = OnceLock::new();
    TLS.get_or_init(|| tls_for(PEER_NAME)).clone()
}

/// A certificate of the group's authority for anyone.
pub(crate) fn tls_for(name: &str) -> PeerTls {
    static AUTHORITY: OnceLock<(Issuer<'static, KeyPair>, String)> = OnceLock::new();
    let make = || {
        let mut ca = CertificateParams::new(Vec::new()).expect("no names");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = ca.self_signed(&key).expect("signed").pem();
        (Issuer::new(ca, key), pem)
    };
    let (issuer, ca_pem) = AUTHORITY.get_or_init(make);
    let key = KeyPair::generate().expect("a key");
    let cert = CertificateParams::new(vec![name.to_owned()]).expect("a name").signed_by(&key, issuer);
    PeerTls { ca_pem: ca_pem.clone(), cert_pem: cert.expect("signed").pem(), key_pem: key.serialize_pem() }
}

/// A member's place: survives its process.
pub(crate) struct Place {
    pub(crate) config: Config,
    _dir: TempDir,
}

/// A new place, for the first member or one that joins through `peers`.
pub(crate) fn place(name: &str, peers: &[&Place]) -> Place {
    let dir = tempfile::tempdir().expect("a directory");
    let addresses: Vec<String> = peers.iter().map(|peer| peer.config.peer_advertise[0].authority.clone()).collect();
    let bootstrap = if addresses.is_empty() { Bootstrap::New } else { Bootstrap::Join { peers: addresses } };
    let config = settings(name, dir.path(), &Url::https(free()), Transport::Members(tls()), bootstrap);
    Place { config, _dir: dir }
}

/// Places of members that begin a group together, as etcd's flags say it, and speak without TLS.
pub(crate) fn founders(names: &[&str]) -> Vec<Place> {
    let listening: Vec<(&str, Url)> = names.iter().map(|name| (*name, Url::http(free()))).collect();
    let founder = |(name, url): &(&str, Url)| Founder { name: (*name).to_owned(), peer_urls: vec![url.clone()] };
    let members: Vec<Founder> = listening.iter().map(founder).collect();
    let bootstrap = Bootstrap::Static { members, token: "etcd-cluster".to_owned() };
    listening.iter().map(|(name, url)| plain(name, url, bootstrap.clone())).collect()
}

/// A place of a member that speaks without TLS at a URL, with a URL for clients besides.
pub(crate) fn plain(name: &str, url: &Url, bootstrap: Bootstrap) -> Place {
    let mut place = place(name, &[]);
    place.config.peer_listen = vec![url.clone()];
    place.config.peer_advertise = vec![url.clone()];
    place.config.client_advertise = vec![Url::http(free())];
    place.config.transport = Transport::Urls { tls: None };
    place.config.bootstrap = bootstrap;
    place
}

/// Opens all at once.
pub(crate) async fn open_all(places: &[Place]) -> Vec<Store> {
    futures_util::future::join_all(places.iter().map(open)).await
}

pub(crate) async fn open(place: &Place) -> Store {
    opened(&place.config).await
}

/// Opens a store.
pub(crate) async fn opened(config: &Config) -> Store {
    attempted(config).await.expect("opens")
}

/// Why a store does not open.
pub(crate) async fn opened_in_vain(config: &Config) -> String {
    attempted(config).await.err().expect("it must not open").to_string()
}

/// Opens a store once the last task of the one before, killed or closed, has let go of the directory.
async fn attempted(config: &Config) -> Result<Store, Error> {
    let attempts = async {
        loop {
            match Store::open(config.clone()).await {
                Err(Error::Stopped(why)) if why.contains("in use") => tokio::task::yield_now().await,
                opened => return opened,
            }
        }
    };
    tokio::time::timeout(PATIENCE, attempts).await.expect("in time")
}

pub(crate) fn put(key: &str, value: &str) -> pb::TxnRequest {
    let put =
        pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..pb::PutRequest::default() };
    let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
    pb::TxnRequest { success: vec![op], ..pb::TxnRequest::default() }
}

/// Asks again while the leader changes, which it may at any time on a busy machine.
async fn led<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let attempts = async {
        loop {
            match ask().await {
                Err(Error::Unknown | Error::NoLeader) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, attempts).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => panic!("{what}: {error}"),
        Err(_) => panic!("{what}: not in time"),
    }
}

/// Writes a key of a group with several members, at least once.
pub(crate) async fn wrote(store: &Store, key: &str, value: &str, what: &str) {
    led(what, async || store.txn(0, put(key, value)).await).await;
}

/// Waits until a member has applied all that was acknowledged before.
pub(crate) async fn caught_up(store: &Store) {
    led("it has a leader", async || store.barrier().await).await;
}

/// The value that a linearizable read finds.
pub(crate) async fn get(store: &Store, key: &str) -> Option<String> {
    let request = pb::RangeRequest { key: key.to_owned().into(), ..pb::RangeRequest::default() };
    let found = led("it is read", async || store.range(request.clone()).await).await.kvs.into_iter().next();
    found.map(|kv| String::from_utf8(kv.value.to_vec()).expect("text"))
}

/// Waits for a state of the leadership.
pub(crate) async fn leadership(store: &Store, wanted: impl Fn(&Leadership) -> bool) -> Leadership {
    let mut news = store.leadership();
    let found = tokio::time::timeout(PATIENCE, news.wait_for(wanted)).await.expect("in time");
    found.expect("the store lives").clone()
}

/// Waits until the group has so many voters, as this member knows it.
pub(crate) async fn voters(store: &Store, count: usize) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let reached = async {
        while store.members().iter().filter(|member| member.voter).count() != count {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("in time");
}
