//! What Raftsman adds to the API: who belongs to the cluster, and how machines get in.

pub mod backup;
pub(crate) mod endpoints;
pub mod join;
pub mod token;

use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Store;
use store::api::MemberId;
use tokio_util::task::TaskTracker;

use crate::api::answer::{self, Body};
use crate::api::negotiate::Representation;
use crate::api::serve::{Api, not_allowed, nowhere};
use crate::authz::Attributes;
use crate::cluster::join::{Admitted, Asked};
use crate::cluster::token::Token;
use crate::identity::User;
use crate::pki::files::Shared;
use crate::registry::key;
use crate::registry::prepare::meta_str;
use crate::status::Status;

/// Everything here lies below it.
pub(crate) const PREFIX: &str = "/raftsman/v1/";
/// A body at most, bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The cluster as its servers see it.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) shared: Shared,
    /// Backups being written.
    tasks: TaskTracker,
}

/// An archive that is further behind than this needs somebody's attention. Units: milliseconds.
const ARCHIVE_LATE_MS: u64 = 10_000;

/// A server, as `raftsman status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The server's name.
    pub name: String,
    /// Its id, hexadecimal.
    pub id: String,
    /// `voter` or `learner`.
    pub role: String,
    /// `leader`, `follower`; `unknown` when nobody leads.
    pub state: String,
    /// Log entries it lacks; absent where only the leader knows.
    pub lag: Option<u64>,
    /// `host:port` of its API.
    pub api: String,
}

/// A node, as `raftsman status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's name.
    pub name: String,
    /// Whether its condition `Ready` is true.
    pub ready: bool,
}

/// What `raftsman status` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The leading server's name, empty when nobody leads.
    pub leader: String,
    /// The leadership's number.
    pub term: u64,
    /// The store's revision.
    pub revision: i64,
    /// Every server.
    pub members: Vec<MemberStatus>,
    /// Every node.
    pub nodes: Vec<NodeStatus>,
    /// How the archive stands, where the servers archive.
    pub archive: Option<store::archive::Standing>,
    /// What needs somebody's attention, as the asked server sees it.
    pub alarms: Vec<String>,
}

/// Asks for a new token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRequest {
    /// What the machine becomes: `server` or `node`.
    pub role: String,
    /// Seconds until nobody gets in with it any more.
    pub ttl_seconds: u64,
}

impl Cluster {
    pub(crate) fn new(store: Store, shared: Shared) -> Self {
        Cluster { store, shared, tasks: TaskTracker::new() }
    }

    /// Waits for what is under way.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) async fn answer(
        &self,
        api: &Api,
        request: Request<Incoming>,
        user: &User,
    ) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Status::new(413, "RequestEntityTooLarge", "the body is too large"))?.to_bytes();
        let place: Vec<&str> = path.trim_start_matches(PREFIX).split('/').collect();
        if (&parts.method, place.as_slice()) == (&Method::POST, &["join"]) {
            let asked: Asked = parse(&body)?;
            return said(&self.admit(&asked)?);
        }
        let verb = parts.method.as_str().to_lowercase();
        let attributes = Attributes { verb, resource: None, path: path.clone() };
        api.authorize(&api.acting(&parts, user, &attributes)?, &attributes)?;
        match (&parts.method, place.as_slice()) {
            (&Method::GET, ["backup"]) => backup::stream(self, &self.tasks).await,
            (&Method::GET, ["status"]) => said(&self.status()),
            (&Method::POST, ["tokens"]) => said(&self.new_token(&parse(&body)?).await?),
            (&Method::GET, ["tokens"]) => said(&json!({ "tokens": token::list(&self.store)? })),
            (&Method::DELETE, ["tokens", id]) => {
                token::revoke(&self.store, id).await?;
                said(&json!({}))
            }
            (&Method::DELETE, ["members", name]) => {
                self.store.member_remove(self.member(name)?).await.map_err(refused)?;
                said(&json!({}))
            }
            (&Method::POST, ["members", name, "lead"]) => {
                self.store.transfer_leader(self.member(name)?).await.map_err(refused)?;
                said(&json!({}))
            }
            (_, ["backup" | "status" | "tokens" | "members", ..]) => Err(not_allowed()),
            _ => Err(nowhere()),
        }
    }

    pub(crate) fn status(&self) -> ClusterStatus {
        let held = self.store.leadership().borrow().clone();
        let members = self.store.members();
        let state = |id: MemberId| match held.leader {
            None => "unknown",
            Some(leader) if leader == id => "leader",
            Some(_) => "follower",
        };
        let describe = |member: &store::api::Member| MemberStatus {
            name: member.name.clone(),
            id: format!("{:016x}", member.id),
            role: if member.voter { "voter" } else { "learner" }.to_owned(),
            state: state(member.id).to_owned(),
            lag: member.lag,
            api: api_address(member),
        };
        let leader = members.iter().find(|member| Some(member.id) == held.leader);
        ClusterStatus {
            leader: leader.map(|member| member.name.clone()).unwrap_or_default(),
            term: held.epoch,
            revision: self.store.revision(),
            members: members.iter().map(describe).collect(),
            nodes: self.nodes(),
            archive: self.store.archive_standing(),
            alarms: self.alarms(held.leader.is_some()),
        }
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let prefix = key::prefix(crate::kind::core("nodes"), "");
        let view = self.store.view();
        let objects = view.range(prefix.as_bytes(), &key::range_end(&prefix));
        let objects = objects.filter_map(|kv| serde_json::from_slice::<Value>(&kv.value).ok());
        let ready = |node: &Value| {
            let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        objects.map(|node| NodeStatus { name: meta_str(&node, "name").to_owned(), ready: ready(&node) }).collect()
    }

    fn alarms(&self, led: bool) -> Vec<String> {
        let leaderless = (!led).then_some("no leader: writes are refused until a majority of the servers is back");
        let full = self
            .store
            .no_space()
            .then_some("NOSPACE: this server's disk is full; while it leads, writes are refused: free some");
        let differs = |(name, revision)| {
            format!(
                "CORRUPT: server {name:?} holds another state than the others, since revision {revision} at the latest; where \
                 most agree it gets theirs by itself, otherwise restore a backup"
            )
        };
        let corrupt = self.store.differing().into_iter().map(differs);
        let late = self.store.archive_standing().filter(|archive| archive.age_ms >= ARCHIVE_LATE_MS).map(|archive| {
            let why = archive.failure.map(|why| format!(" ({why})")).unwrap_or_default();
            format!("ARCHIVE: what was written in the last {} s is not archived{why}", archive.age_ms / 1000)
        });
        leaderless.into_iter().chain(full).map(str::to_owned).chain(corrupt).chain(late).collect()
    }

    /// By name or by id.
    fn member(&self, wanted: &str) -> Result<MemberId, Status> {
        let members = self.store.members();
        let found = members.iter().find(|member| member.name == wanted || format!("{:016x}", member.id) == wanted);
        found.map(|member| member.id).ok_or_else(|| {
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            Status::new(404, "NotFound", format!("no server is called {wanted:?}; there are {}", names.join(", ")))
        })
    }

    pub(crate) async fn new_token(&self, request: &TokenRequest) -> Result<Value, Status> {
        if !matches!(request.role.as_str(), "server" | "node") {
            return Err(Status::bad_request(format!("role {:?} is not known; `server` and `node` are", request.role)));
        }
        let addresses = self.store.members().iter().map(api_address).filter(|address| !address.is_empty()).collect();
        let token = Token::new(addresses, &self.shared.authority.cert_pem)?;
        let expires = Timestamp::now().as_second().saturating_add_unsigned(request.ttl_seconds);
        token::keep(&self.store, &token, &request.role, expires).await?;
        Ok(json!({ "token": token.to_string(), "id": token.id, "role": request.role, "expires": expires }))
    }

    /// Lets a machine in whose token is known.
    fn admit(&self, asked: &Asked) -> Result<Admitted, Status> {
        let role = token::role(&self.store, &asked.id, &asked.secret, Timestamp::now().as_second())?;
        if role == "node" {
            return self.admit_node(asked);
        }
        if self.store.members().iter().any(|member| member.name == asked.name) {
            let text = format!(
                "a server called {0:?} belongs to the cluster already; choose another --name, or remove that one first, `raftsman member remove {0}`",
                asked.name
            );
            return Err(Status::new(409, "AlreadyExists", text));
        }
        let members = self.store.members();
        let peers = members.iter().map(|member| member.peer_address().to_owned()).collect();
        Ok(Admitted::server(&self.shared, peers))
    }

    /// A token must not be enough to take the place of a node that is there.
    fn admit_node(&self, asked: &Asked) -> Result<Admitted, Status> {
        let nodes = crate::kind::core("nodes");
        if self.store.view().get(key::object(nodes, "", &asked.name).as_bytes()).is_some() {
            let name = &asked.name;
            let text =
                format!("a node called {name:?} is there already; choose another --name, or delete that Node first");
            return Err(Status::new(409, "AlreadyExists", text));
        }
        let servers = self.store.members().iter().map(api_address).filter(|address| !address.is_empty()).collect();
        Admitted::node(&self.shared, &asked.name, servers).map_err(Status::internal)
    }
}

pub(crate) fn api_address(member: &store::api::Member) -> String {
    let words: Value = serde_json::from_slice(&member.context).unwrap_or_default();
    words["api"].as_str().unwrap_or_default().to_owned()
}

fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(body).map_err(|error| Status::bad_request(error.to_string()))
}

fn said(value: &impl Serialize) -> Result<Response<Body>, Status> {
    let value = serde_json::to_value(value).map_err(Status::internal)?;
    Ok(answer::value(200, &value, &Representation::JSON))
}

fn refused(error: store::Error) -> Status {
    match error {
        store::Error::Invalid(text) => Status::new(409, "Conflict", text),
        other => crate::registry::shell::failed(other),
    }
}
