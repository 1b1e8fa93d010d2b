//! Members of a group in one process: each with its own directory, certificate and port.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use proto::etcdserverpb as pb;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use store::api::Leadership;
use store::config::{Bootstrap, Config, PEER_NAME, PeerTls};
use store::{Error, Store};
use tempfile::TempDir;

/// How long anything awaited here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

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
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen: SocketAddr = free.local_addr().expect("an address");
    let addresses: Vec<String> = peers.iter().map(|peer| peer.config.peer_advertise.clone()).collect();
    let config = Config {
        name: name.to_owned(),
        data_dir: PathBuf::from(dir.path()),
        peer_listen: listen,
        peer_advertise: listen.to_string(),
        client_advertise: String::new(),
        tls: tls(),
        bootstrap: if addresses.is_empty() { Bootstrap::New } else { Bootstrap::Join { peers: addresses } },
        heartbeat_interval: Duration::from_millis(100),
        election_timeout: Duration::from_millis(500),
        snapshot_entries: 10_000,
        snapshot_bytes: 64 << 20,
    };
    Place { config, _dir: dir }
}

pub(crate) async fn open(place: &Place) -> Store {
    opened(&place.config).await
}

/// Opens a store once the last task of the one before, killed or closed, has let go of the directory.
pub(crate) async fn opened(config: &Config) -> Store {
    let attempts = async {
        loop {
            match Store::open(config.clone()).await {
                Err(Error::Stopped(why)) if why.contains("in use") => tokio::task::yield_now().await,
                opened => return opened,
            }
        }
    };
    tokio::time::timeout(PATIENCE, attempts).await.expect("in time").expect("opens")
}

pub(crate) fn put(key: &str, value: &str) -> pb::TxnRequest {
    let put =
        pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..pb::PutRequest::default() };
    let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
    pb::TxnRequest { success: vec![op], ..pb::TxnRequest::default() }
}

/// The value that a linearizable read finds.
pub(crate) async fn get(store: &Store, key: &str) -> Result<Option<String>, Error> {
    let request = pb::RangeRequest { key: key.to_owned().into(), ..pb::RangeRequest::default() };
    let found = store.range(request).await?.kvs.into_iter().next();
    Ok(found.map(|kv| String::from_utf8(kv.value.to_vec()).expect("text")))
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
