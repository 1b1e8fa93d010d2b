//! The agents' side of a server: any server ends any agent's stream.

mod commit;
mod exchange;
mod feed;
mod index;
pub mod liveness;
mod round;
mod router;
pub(crate) mod select;
mod sessions;
mod status;
mod tokens;
pub mod usage;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use proto::agent::agent_server::{Agent, AgentServer};
use proto::agent::{
    FromNode, GoAway, HeartbeatAck, Hello, LogRequest, StatusAck, ToNode, TokenRequest, TokenResponse, UsageReport,
    Welcome, from_node, to_node,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Streaming};

use crate::cluster::api_address;
use crate::gateway::commit::{Committer, Waiting};
use crate::gateway::liveness::Liveness;
use crate::gateway::router::Router;
pub(crate) use crate::gateway::sessions::Log;
use crate::gateway::sessions::{Session, Sessions};
use crate::gateway::usage::{NodeUsed, Reports};
use crate::identity::User;
use crate::identity::tokens::Tokens;
use crate::registry::shell::Registry;

/// Calls of agents begin with it.
pub(crate) const PREFIX: &str = "/raftsman.agent.Agent/";
/// The group of agents.
const NODES: &str = "system:nodes";
/// Messages that wait to be sent to one agent.
const WAITING_MAX: usize = 64;
/// A message of an agent at most. Units: bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Tokens made for one node at one time: each of its pods may need one when it begins.
const TOKENS_MAX: usize = 256;
/// An agent says who it is within this time.
const HELLO: Duration = Duration::from_secs(5);

/// All agents' sessions of one server.
pub struct Gateway {
    registry: Registry,
    tokens: Tokens,
    liveness: Arc<Liveness>,
    reports: Arc<Mutex<Reports>>,
    router: Arc<Router>,
    committer: Committer,
    sessions: Sessions,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Gateway {
    /// Begins to follow the objects, to write what agents say, and to listen to the other servers' summaries.
    pub fn new(registry: Registry, tokens: Tokens) -> Arc<Self> {
        let (liveness, reports) = (Arc::new(Liveness::default()), Arc::default());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (router, from) = Router::new(registry.clone());
        let (committer, queue) = Committer::new();
        let store = registry.store().clone();
        tasks.spawn(exchange::run(Arc::clone(&liveness), Arc::clone(&reports), store, stop.clone()));
        tasks.spawn(Arc::clone(&router).run(from, stop.clone()));
        tasks.spawn(commit::write(registry.clone(), queue, stop.clone()));
        let sessions = Sessions::default();
        Arc::new(Gateway { registry, tokens, liveness, reports, router, committer, sessions, tasks, stop })
    }

    /// What every node and its pods use, by the node's name, wherever it is connected; not those that are silent.
    pub fn usage(&self) -> BTreeMap<String, NodeUsed> {
        let reports = self.reports.lock().all(Instant::now());
        reports.into_iter().map(|(node, report)| (node, usage::shown(&report))).collect()
    }

    /// What one node reported last.
    pub(crate) fn report(&self, node: &str) -> Option<Arc<UsageReport>> {
        self.reports.lock().of(node, Instant::now())
    }

    /// When each node was heard last, by any server.
    pub fn liveness(&self) -> &Arc<Liveness> {
        &self.liveness
    }

    /// How many agents are connected to this server.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// A container's log from its node; none when the node is not connected to this server.
    pub(crate) async fn log(&self, node: &str, request: LogRequest) -> Option<Log> {
        self.sessions.log(node, request).await
    }

    /// Sends the agents to other servers and waits until they have gone.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The service as one user sees it.
    pub(crate) fn service(self: &Arc<Self>, user: &User) -> AgentServer<Door> {
        let node = user.name.strip_prefix("system:node:").filter(|_| user.is_in(NODES)).map(str::to_owned);
        AgentServer::new(Door { gateway: Arc::clone(self), node }).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    async fn session(self: Arc<Self>, hello: Hello, up: Streaming<FromNode>, down: mpsc::Sender<ToNode>) {
        let node = hello.node.clone();
        tracing::info!(node, "an agent has connected");
        let waiting = Waiting::default();
        let session = self.sessions.open(&node, down.clone());
        let ended = tokio::select! {
            () = self.stop.cancelled() => {
                let away = GoAway { reason: "the server is shutting down".to_owned() };
                // An agent that takes nothing finds out by itself.
                let _ = down.try_send(ToNode { message: Some(to_node::Message::GoAway(away)) });
                Ok(())
            }
            ended = feed::feed(&self.registry, &self.router, &hello, &down) => ended,
            ended = self.listen(&hello, up, &down, &waiting, &session) => ended,
            ended = self.write(&node, &down, &waiting) => ended,
        };
        self.sessions.close(&node, &session);
        tracing::info!(node, reason = ended.err().unwrap_or_default(), "an agent's session has ended");
    }

    /// The way up.
    async fn listen(
        &self,
        hello: &Hello,
        mut up: Streaming<FromNode>,
        down: &mpsc::Sender<ToNode>,
        waiting: &Waiting,
        session: &Session,
    ) -> Result<(), String> {
        let (leadership, node) = (self.registry.store().leadership(), hello.node.as_str());
        let slots = Arc::new(Semaphore::new(TOKENS_MAX));
        while let Some(message) = up.message().await.map_err(|status| status.message().to_owned())? {
            self.liveness.heard(node);
            match message.message {
                Some(from_node::Message::Heartbeat(beat)) => {
                    let ack = HeartbeatAck { sequence: beat.sequence, epoch: leadership.borrow().epoch };
                    send(down, to_node::Message::HeartbeatAck(ack)).await?;
                    // The leader may have given the node up before it heard of this session.
                    if self.router.given_up(node) {
                        commit::register(&self.registry, node, &hello.node_json)
                            .await
                            .map_err(|status| status.message)?;
                        waiting.again();
                    }
                }
                Some(from_node::Message::Statuses(statuses)) => waiting.put(statuses),
                Some(from_node::Message::Events(events)) => waiting.tell(events.event_json),
                Some(from_node::Message::LogChunk(chunk)) => session.chunk(chunk),
                Some(from_node::Message::Usage(report)) => self.reports.lock().heard(node, report, Instant::now()),
                Some(from_node::Message::TokenRequest(asked)) => self.give(node, asked, down, &slots).await?,
                other => tracing::debug!(node, ?other, "a message that this server has no use for"),
            }
        }
        Err("the agent hung up".to_owned())
    }

    /// Makes a token beside what else the session does: heartbeats must not wait for it.
    async fn give(
        &self,
        node: &str,
        asked: TokenRequest,
        down: &mpsc::Sender<ToNode>,
        slots: &Arc<Semaphore>,
    ) -> Result<(), String> {
        let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
            let error = "too many tokens are asked for at once".to_owned();
            let response = TokenResponse { id: asked.id, error, ..TokenResponse::default() };
            return send(down, to_node::Message::TokenResponse(response)).await;
        };
        let (registry, tokens, stop) = (self.registry.clone(), self.tokens.clone(), self.stop.clone());
        let (node, down) = (node.to_owned(), down.clone());
        self.tasks.spawn(async move {
            let _slot = slot;
            let answer = async {
                let response = tokens::answer(&registry, &tokens, &node, asked).await;
                // An agent that is gone asks again elsewhere.
                let _ = send(&down, to_node::Message::TokenResponse(response)).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = answer => {}
            }
        });
        Ok(())
    }

    async fn write(&self, node: &str, down: &mpsc::Sender<ToNode>, waiting: &Waiting) -> Result<(), String> {
        loop {
            let mut taken = waiting.take().await;
            let (sequence, pods) = (taken.sequence, taken.pods());
            if let Some(status) = &taken.node {
                commit::node_status(&self.registry, node, status).await.map_err(|status| status.message)?;
            }
            self.committer.commit(node, pods).await.map_err(|status| status.message)?;
            send(down, to_node::Message::StatusAck(StatusAck { sequence })).await?;
            if !taken.events.is_empty() {
                commit::events(&self.registry, node, &taken.events).await;
            }
        }
    }

    fn welcome(&self) -> Welcome {
        let store = self.registry.store();
        Welcome {
            epoch: store.leadership().borrow().epoch,
            servers: store.members().iter().map(api_address).filter(|address| !address.is_empty()).collect(),
            cluster_domain: "cluster.local".to_owned(),
            ..Welcome::default()
        }
    }
}

async fn send(down: &mpsc::Sender<ToNode>, message: to_node::Message) -> Result<(), String> {
    down.send(ToNode { message: Some(message) }).await.map_err(|_| "the agent hung up".to_owned())
}

/// The service for whoever came in by one connection.
pub(crate) struct Door {
    gateway: Arc<Gateway>,
    /// The node that the client's certificate names.
    node: Option<String>,
}

#[tonic::async_trait]
impl Agent for Door {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ToNode, tonic::Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<FromNode>>,
    ) -> Result<Response<Self::SessionStream>, tonic::Status> {
        let refused = || tonic::Status::permission_denied("a session needs the certificate of its node");
        let node = self.node.as_ref().ok_or_else(refused)?;
        let mut up = request.into_inner();
        let first = tokio::time::timeout(HELLO, up.message()).await;
        let first = first.map_err(|_| tonic::Status::deadline_exceeded("no Hello in time"))??;
        let Some(from_node::Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(tonic::Status::invalid_argument("a session begins with Hello"));
        };
        if hello.node != *node {
            return Err(refused());
        }
        let unavailable = |status: crate::status::Status| tonic::Status::unavailable(status.message);
        commit::register(&self.gateway.registry, node, &hello.node_json).await.map_err(unavailable)?;
        self.gateway.liveness.heard(node);
        let (down, waiting) = mpsc::channel(WAITING_MAX);
        let welcome = ToNode { message: Some(to_node::Message::Welcome(self.gateway.welcome())) };
        down.try_send(welcome).map_err(|_| tonic::Status::internal("a new channel takes a message"))?;
        let gateway = Arc::clone(&self.gateway);
        self.gateway.tasks.spawn(gateway.session(hello, up, down));
        Ok(Response::new(ReceiverStream::new(waiting).map(Ok).boxed()))
    }
}
