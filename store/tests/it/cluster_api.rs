//! etcd's Cluster service, and what concerns members elsewhere in its API.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use store::Store;
use store::config::{Bootstrap, Founder, Url};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::{PATIENCE, Place, caught_up, founders, free, leadership, open, open_all, plain, voters, wrote};

/// The API of a member.
pub(crate) struct Api {
    cluster: ClusterClient<Channel>,
    kv: KvClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
}

impl Api {
    pub(crate) async fn new(store: &Store) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        store.serve_etcd(listener, None, store::etcd::Options::default());
        let channel = Channel::from_shared(address).expect("an address").connect().await.expect("it listens");
        Api {
            cluster: ClusterClient::new(channel.clone()),
            kv: KvClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel),
        }
    }

    pub(crate) async fn add(&mut self, url: &str, is_learner: bool) -> Result<pb::MemberAddResponse, Status> {
        let request = pb::MemberAddRequest { peer_ur_ls: vec![url.to_owned()], is_learner };
        self.cluster.member_add(request).await.map(tonic::Response::into_inner)
    }

    async fn list(&mut self) -> Vec<pb::Member> {
        let request = pb::MemberListRequest { linearizable: true };
        self.cluster.member_list(request).await.expect("a leader").into_inner().members
    }

    pub(crate) async fn remove(&mut self, id: u64) -> Result<Vec<pb::Member>, Status> {
        self.cluster.member_remove(pb::MemberRemoveRequest { id }).await.map(|answer| answer.into_inner().members)
    }

    async fn promote(&mut self, id: u64) -> Result<Vec<pb::Member>, Status> {
        self.cluster.member_promote(pb::MemberPromoteRequest { id }).await.map(|answer| answer.into_inner().members)
    }

    async fn put(&mut self, key: &'static str) -> Result<(), Status> {
        self.kv.put(pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() }).await.map(|_| ())
    }
}

fn is<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err(text);
    assert_eq!((status.code(), status.message()), (code, text));
}

/// A place for a member that was announced, beside those that are there.
pub(crate) fn announced(name: &str, url: &Url, others: &[&Place]) -> Place {
    let founder =
        |place: &&Place| Founder { name: place.config.name.clone(), peer_urls: place.config.peer_advertise.clone() };
    let own = Founder { name: name.to_owned(), peer_urls: vec![url.clone()] };
    let members = others.iter().map(founder).chain([own]).collect();
    plain(name, url, Bootstrap::Existing { members })
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let held = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, held).await.is_ok(), "not in time: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_is_announced_starts_and_votes_once_it_has_caught_up() {
    let places = founders(&["a"]);
    let store = open(&places[0]).await;
    let mut api = Api::new(&store).await;
    api.put("k").await.expect("written");
    is(api.add("localhost:1", false).await, Code::InvalidArgument, "etcdserver: given member URLs are invalid");
    let url = Url::http(free());
    let added = api.add(&url.to_string(), false).await.expect("announced");
    let header = added.header.expect("a header");
    assert_eq!((header.cluster_id, header.member_id, header.revision), (store.cluster_id(), store.id(), 0));
    let member = added.member.expect("the new one");
    assert_eq!((member.name.as_str(), member.peer_ur_ls, member.is_learner), ("", vec![url.to_string()], false));
    assert_eq!(added.members.len(), 2);
    // In etcd nothing could be written now: one of two is no quorum.
    api.put("k").await.expect("one that has not started holds nobody up");
    let few = "etcdserver: re-configuration failed due to not enough started members";
    is(api.add("http://127.0.0.1:1", false).await, Code::Unknown, few);
    is(api.add("http://127.0.0.1:1", true).await, Code::Unavailable, "etcdserver: unhealthy cluster");

    let place = announced("b", &url, &[&places[0]]);
    let second = open(&place).await;
    assert_eq!((second.id(), second.cluster_id()), (member.id, store.cluster_id()));
    for store in [&store, &second] {
        voters(store, 2).await;
    }
    until("b says where its clients find it", async || {
        let listed = api.list().await;
        let listed = listed.iter().find(|member| member.name == "b");
        listed.is_some_and(|listed| listed.client_ur_ls == [place.config.client_advertise[0].to_string()])
    })
    .await;
    let mut other = Api::new(&second).await;
    is(other.remove(7).await, Code::NotFound, "etcdserver: member not found");
    is(other.promote(store.id()).await, Code::FailedPrecondition, "etcdserver: can only promote a learner member");
    let left = other.remove(store.id()).await.expect("one of two may go");
    assert_eq!(left.iter().map(|member| member.id).collect::<Vec<_>>(), [second.id()]);
    other.put("k").await.expect("the one that stays writes");
    is(other.remove(second.id()).await, Code::Unknown, few);
    second.shutdown().await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_serves_little_stays_one_and_is_promoted_on_request() {
    let places = founders(&["a", "b", "c"]);
    let mut stores = open_all(&places).await;
    let mut api = Api::new(&stores[0]).await;
    api.put("k").await.expect("written");
    let url = Url::http(free());
    let id = api.add(&url.to_string(), true).await.expect("announced").member.expect("the new one").id;
    let known = "etcdserver: Peer URLs already exists";
    is(api.add(&url.to_string(), true).await, Code::FailedPrecondition, known);
    let many = "etcdserver: too many learner members in cluster";
    is(api.add("http://127.0.0.1:1", true).await, Code::FailedPrecondition, many);
    let not_ready = "etcdserver: can only promote a learner member which is in sync with leader";
    is(api.promote(id).await, Code::FailedPrecondition, not_ready);

    let learner = open(&announced("d", &url, &places.iter().collect::<Vec<_>>())).await;
    let mut at_learner = Api::new(&learner).await;
    until("the learner has what was written", async || {
        let request = pb::RangeRequest { key: "k".into(), serializable: true, ..Default::default() };
        at_learner.kv.range(request).await.is_ok_and(|answer| answer.into_inner().count == 1)
    })
    .await;
    let refused = "etcdserver: rpc not supported for learner";
    is(at_learner.put("k").await, Code::FailedPrecondition, refused);
    let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
    is(at_learner.kv.range(range).await, Code::FailedPrecondition, refused);
    let list = at_learner.cluster.member_list(pb::MemberListRequest { linearizable: false }).await;
    is(list, Code::FailedPrecondition, refused);
    assert!(at_learner.maintenance.status(pb::StatusRequest {}).await.expect("served").into_inner().is_learner);
    assert!(api.list().await.iter().any(|member| member.id == id && member.is_learner), "it stays one");

    until("the learner is in sync", async || api.promote(id).await.is_ok()).await;
    assert!(api.list().await.iter().all(|member| !member.is_learner));
    is(api.promote(id).await, Code::FailedPrecondition, "etcdserver: can only promote a learner member");
    voters(&learner, 4).await;
    at_learner.put("k").await.expect("a voter serves all");
    stores.push(learner);
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_moves_to_other_peer_urls() {
    let mut places = founders(&["a", "b", "c"]);
    let mut stores = open_all(&places).await;
    let mut api = Api::new(&stores[0]).await;
    let (id, moved) = (stores[2].id(), Url::http(free()));
    let mut update = async |id, url: &Url| {
        let request = pb::MemberUpdateRequest { id, peer_ur_ls: vec![url.to_string()] };
        api.cluster.member_update(request).await.map(|answer| answer.into_inner().members)
    };
    is(update(7, &moved).await, Code::NotFound, "etcdserver: member not found");
    let taken = &places[1].config.peer_advertise[0];
    is(update(id, taken).await, Code::FailedPrecondition, "etcdserver: Peer URLs already exists");
    let members = update(id, &moved).await.expect("moved");
    assert!(members.iter().any(|member| member.id == id && member.peer_ur_ls == [moved.to_string()]));
    stores.remove(2).shutdown().await;
    wrote(&stores[0], "k", "v", "two of three write").await;
    places[2].config.peer_listen = vec![moved.clone()];
    places[2].config.peer_advertise = vec![moved];
    let back = tokio::time::timeout(PATIENCE, open(&places[2])).await.expect("it is found at its new URL");
    caught_up(&back).await;
    assert!(back.view().get(b"k").is_some());
    stores.push(back);
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_hands_over_and_only_to_voters_and_no_quorum_is_given_away() {
    let places = founders(&["a", "b", "c"]);
    let mut stores = open_all(&places).await;
    let led = leadership(&stores[0], |held| held.leader.is_some()).await;
    let at = stores.iter().position(|store| Some(store.id()) == led.leader).expect("one of them");
    let leading = stores.remove(at);
    let (mut at_leader, mut at_follower) = (Api::new(&leading).await, Api::new(&stores[0]).await);
    let to = |target_id| pb::MoveLeaderRequest { target_id };
    let elsewhere = at_follower.maintenance.move_leader(to(stores[0].id())).await;
    is(elsewhere, Code::FailedPrecondition, "etcdserver: not leader");
    let nobody = at_leader.maintenance.move_leader(to(7)).await;
    is(nobody, Code::FailedPrecondition, "etcdserver: bad leader transferee");
    let answer = at_leader.maintenance.move_leader(to(stores[0].id())).await.expect("moved").into_inner();
    assert_eq!(answer, pb::MoveLeaderResponse::default());
    leadership(&stores[0], |held| held.acting).await;
    let gone = leading.id();
    leading.shutdown().await;
    drop(leading);
    let alive = stores[1].id();
    until("it is noticed that one is away", async || {
        at_follower.remove(alive).await.is_err_and(|status| status.message() == "etcdserver: unhealthy cluster")
    })
    .await;
    is(at_follower.add("http://127.0.0.1:1", true).await, Code::Unavailable, "etcdserver: unhealthy cluster");
    at_follower.remove(gone).await.expect("what is away may go");
    at_follower.put("k").await.expect("two of two write");
    for store in stores {
        store.shutdown().await;
    }
}
