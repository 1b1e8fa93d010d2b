//! Whoever speaks etcd's API, and what a client can find out there.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use proto::authpb::{Permission, UserAddOptions};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::mvccpb::{Event, KeyValue};
use store::Store;
use store::config::{Bootstrap, Founder, Url};
use store::moving::{Access, User};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::State;
use crate::cluster::{PATIENCE, Place, free, open, plain, voters};
use crate::golden::users::{Badge, Line};

/// A real etcd with a directory of its own.
pub(crate) struct Etcd {
    endpoint: String,
    _process: Child,
    _dir: TempDir,
}

impl Etcd {
    /// That of `ETCD_BIN`, 3.5 at least; older ones take no hashes of passwords. None where it is not said.
    pub(crate) async fn start() -> Option<Etcd> {
        let Ok(binary) = std::env::var("ETCD_BIN") else {
            eprintln!("skipped: moving from and to a real etcd (ETCD_BIN; `make test-etcd-clients` sets it)");
            return None;
        };
        let dir = tempfile::tempdir().expect("a directory");
        let (client, peer) = (free(), free());
        // Whatever etcd's variables say is meant for others.
        let started = Command::new(&binary)
            .env_clear()
            .args(["--log-level", "error", "--name", "etcd", "--data-dir"])
            .arg(dir.path().join("data"))
            .args(["--listen-client-urls", &format!("http://{client}")])
            .args(["--advertise-client-urls", &format!("http://{client}")])
            .args(["--listen-peer-urls", &format!("http://{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
            .args(["--initial-cluster", &format!("etcd=http://{peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let process = started.unwrap_or_else(|error| panic!("{binary}: {error}"));
        Some(Etcd { endpoint: client.to_string(), _process: process, _dir: dir })
    }

    pub(crate) async fn peer(&self) -> Peer {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let leads = async {
            loop {
                tick.tick().await;
                if let Ok(channel) = channel(&self.endpoint).connect().await
                    && KvClient::new(channel).range(everything(0)).await.is_ok()
                {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, leads).await.expect("the etcd starts");
        Peer::at(&self.endpoint, None).await
    }
}

fn channel(endpoint: &str) -> Endpoint {
    Endpoint::from_shared(format!("http://{endpoint}")).expect("an endpoint")
}

fn everything(revision: i64) -> pb::RangeRequest {
    pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), revision, ..pb::RangeRequest::default() }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Peer {
    endpoint: String,
    channel: Channel,
    badge: Badge,
    pub(crate) user: Option<User>,
}

impl Peer {
    pub(crate) async fn at(endpoint: &str, user: Option<User>) -> Peer {
        let channel = channel(endpoint).connect().await.expect("it listens");
        let peer = Peer { endpoint: endpoint.to_owned(), channel, badge: Badge::default(), user: None };
        match user {
            Some(User { name, password }) => peer.logged_in(&name, &password).await,
            None => peer,
        }
    }

    pub(crate) fn access(&self) -> Access {
        Access { endpoints: vec!["127.0.0.1:1".to_owned(), self.endpoint.clone()], tls: None, user: self.user.clone() }
    }

    fn line(&self) -> Line {
        Line::new(self.channel.clone(), self.badge.clone())
    }

    fn kv(&self) -> KvClient<Line> {
        KvClient::new(self.line()).max_decoding_message_size(usize::MAX)
    }

    fn auth(&self) -> AuthClient<Line> {
        AuthClient::new(self.line())
    }

    async fn token(&self, name: &str, password: &str) -> Option<String> {
        let request = pb::AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        Some(self.auth().authenticate(request).await.ok()?.into_inner().token)
    }

    pub(crate) async fn logged_in(&self, name: &str, password: &str) -> Peer {
        let token = self.token(name, password).await.expect("let in");
        let badge = Badge::default();
        badge.show(Some(&token));
        let user = Some(User { name: name.to_owned(), password: password.to_owned() });
        Peer { badge, user, ..self.clone() }
    }

    pub(crate) async fn nobody(&self) -> Peer {
        Peer { badge: Badge::default(), user: None, ..self.clone() }
    }

    pub(crate) async fn lets_in(&self, name: &str, password: &str) -> bool {
        self.token(name, password).await.is_some()
    }

    pub(crate) async fn refused(&self) -> bool {
        self.kv().range(everything(0)).await.is_err()
    }

    /// Answers the revision.
    pub(crate) async fn put(&self, key: &str, value: &str) -> i64 {
        self.txn(vec![set(key, value, 0)]).await
    }

    async fn txn(&self, ops: Vec<pb::RequestOp>) -> i64 {
        let txn = pb::TxnRequest { success: ops, ..pb::TxnRequest::default() };
        self.kv().txn(txn).await.expect("written").into_inner().header.expect("a header").revision
    }

    /// The oldest revision that can be read, and the newest.
    pub(crate) async fn readable(&self) -> (i64, i64) {
        let newest = self.kv().range(everything(0)).await.expect("read").into_inner().header.expect("one").revision;
        let mut first = 1;
        while self.kv().range(everything(first)).await.is_err() {
            first += 1;
        }
        (first, newest)
    }

    pub(crate) async fn state(&self, revision: i64) -> State {
        let found = self.kv().range(everything(revision)).await.expect("read").into_inner();
        found.kvs.into_iter().map(|kv: KeyValue| (kv.key.to_vec(), kv)).collect()
    }

    pub(crate) async fn events(&self, first: i64, last: i64) -> Vec<Event> {
        let (asks, asked) = mpsc::channel(1);
        let create = pb::WatchCreateRequest {
            key: vec![0].into(),
            range_end: vec![0].into(),
            start_revision: first,
            prev_kv: true,
            ..pb::WatchCreateRequest::default()
        };
        asks.send(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await.expect("room");
        let mut client = WatchClient::new(self.line()).max_decoding_message_size(usize::MAX);
        let mut answers = client.watch(ReceiverStream::new(asked)).await.expect("watched").into_inner();
        let mut events: Vec<Event> = Vec::new();
        let of = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        while events.last().is_none_or(|event| of(event) < last) {
            let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time").expect("goes on");
            let answer = answer.expect("goes on");
            assert!(!answer.canceled, "{answer:?}");
            events.extend(answer.events);
        }
        events
    }

    /// Seconds granted, and keys, by id.
    pub(crate) async fn leases(&self) -> BTreeMap<i64, (i64, Vec<Bytes>)> {
        let mut calls = LeaseClient::new(self.line());
        let mut leases = BTreeMap::new();
        for lease in calls.lease_leases(pb::LeaseLeasesRequest {}).await.expect("listed").into_inner().leases {
            let request = pb::LeaseTimeToLiveRequest { id: lease.id, keys: true };
            let mut said = calls.lease_time_to_live(request).await.expect("said").into_inner();
            assert!((1..=said.granted_ttl).contains(&said.ttl), "{said:?}");
            said.keys.sort();
            leases.insert(lease.id, (said.granted_ttl, said.keys));
        }
        leases
    }

    /// Roles of users, and what roles allow; root's allows everything, which etcd says from 3.5 on.
    pub(crate) async fn users(&self) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, Vec<Permission>>) {
        let (mut calls, mut users, mut roles) = (self.auth(), BTreeMap::new(), BTreeMap::new());
        for name in calls.user_list(pb::AuthUserListRequest {}).await.expect("listed").into_inner().users {
            let said = calls.user_get(pb::AuthUserGetRequest { name: name.clone() }).await.expect("said").into_inner();
            users.insert(name, said.roles);
        }
        for role in calls.role_list(pb::AuthRoleListRequest {}).await.expect("listed").into_inner().roles {
            let said = calls.role_get(pb::AuthRoleGetRequest { role: role.clone() }).await.expect("said").into_inner();
            let rights = if role == "root" { Vec::new() } else { said.perm };
            roles.insert(role, rights);
        }
        (users, roles)
    }
}

fn set(key: &str, value: &str, lease: i64) -> pb::RequestOp {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    let put = pb::PutRequest { key, value, lease, ..pb::PutRequest::default() };
    pb::RequestOp { request: Some(Request::RequestPut(put)) }
}

fn unset(key: &str, end: &str) -> pb::RequestOp {
    let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
    let delete = pb::DeleteRangeRequest { key, range_end, prev_kv: false };
    pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
}

/// A history with everything that can happen to keys, compacted in the middle.
pub(crate) async fn fill(peer: &Peer) {
    let mut leases = LeaseClient::new(peer.line());
    for (id, ttl) in [(7, 600), (8, 900), (9, 300)] {
        leases.lease_grant(pb::LeaseGrantRequest { id, ttl }).await.expect("granted");
    }
    for number in 0..60 {
        peer.put(&format!("often/{}", number % 4), &format!("{number}")).await;
    }
    for number in 0..200 {
        peer.put(&format!("many/{number:03}"), "v").await;
    }
    peer.txn(vec![set("a", "1", 7), set("b", "1", 8), unset("often/1", "")]).await;
    peer.txn(vec![unset("often/2", ""), set("c", &"large".repeat(3000), 9)]).await;
    let middle = peer.put("a", "2").await;
    peer.txn(vec![set("d", "1", 9), set("often/0", "again", 7)]).await;
    let request = pb::CompactionRequest { revision: middle, physical: true };
    peer.kv().compact(request).await.expect("compacted");
    // More at once than a transaction has operations, between others; then all keys of a lease.
    peer.txn(vec![set("many/050x", "stays", 0)]).await;
    peer.txn(vec![unset("many/000", "many/050"), set("e", "\0", 8)]).await;
    peer.txn(vec![unset("many/051", "many/199")]).await;
    leases.lease_revoke(pb::LeaseRevokeRequest { id: 9 }).await.expect("revoked");
    for number in 0..20 {
        peer.put("often/3", &format!("{number}")).await;
    }
    peer.txn(vec![unset("b", ""), set("f", "1", 8)]).await;
    let mut auth = peer.auth();
    for (name, key, end) in [("root", "", ""), ("readers", "many/", "many0")] {
        auth.role_add(pb::AuthRoleAddRequest { name: name.to_owned() }).await.expect("added");
        let perm = Permission { perm_type: 0, key: key.into(), range_end: end.into() };
        let request = pb::AuthRoleGrantPermissionRequest { name: name.to_owned(), perm: Some(perm) };
        if name != "root" {
            auth.role_grant_permission(request).await.expect("granted");
        }
    }
    for (name, password, role) in [("root", "secret", "root"), ("reader", "word", "readers"), ("named", "", "readers")]
    {
        let options = Some(UserAddOptions { no_password: password.is_empty() });
        let (name, password) = (name.to_owned(), password.to_owned());
        let request = pb::AuthUserAddRequest { name: name.clone(), password, options, ..Default::default() };
        auth.user_add(request).await.expect("added");
        let request = pb::AuthUserGrantRoleRequest { user: name, role: role.to_owned() };
        auth.user_grant_role(request).await.expect("granted");
    }
}

/// From here on everybody is asked who they are.
pub(crate) async fn lock(etcd: &Etcd) {
    etcd.peer().await.auth().auth_enable(pb::AuthEnableRequest {}).await.expect("enabled");
}

/// Another member of a store's group, once it votes.
pub(crate) async fn joined(store: &Store, first: &Place) -> (Place, Store) {
    let url = Url::http(free());
    let change = pb::MemberAddRequest { peer_ur_ls: vec![url.to_string()], is_learner: false };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    store.serve_etcd(listener, None, store::etcd::Options::default());
    let channel = channel(&endpoint).connect().await.expect("it listens");
    pb::cluster_client::ClusterClient::new(channel).member_add(change).await.expect("announced");
    let members = [(&first.config.name, first.config.peer_advertise[0].clone()), (&"b".to_owned(), url.clone())];
    let members = members.map(|(name, url)| Founder { name: name.clone(), peer_urls: vec![url] }).to_vec();
    let place = plain("b", &url, Bootstrap::Existing { members });
    let joined = open(&place).await;
    voters(&joined, 2).await;
    (place, joined)
}
