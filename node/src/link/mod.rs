//! The agent's one stream to a server, any server: assignments come down; statuses, heartbeats and logs go up.
//!
//! Without a server the pods go on; the link tries one server after the other until one answers.

mod connect;
mod patience;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::agent::agent_client::AgentClient;
use proto::agent::{Events, FromNode, Heartbeat, Hello, ToNode, UsageReport, from_node, to_node};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::link::patience::{Silence, Waits};
use crate::logs;
use crate::metrics::Newest;
use crate::runtime::Runtime;
use crate::sync::execute::Shared;

/// Between heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A server takes a message and answers a call within this time, or is left.
const ANSWER: Duration = Duration::from_secs(2);
/// Messages that wait to be sent.
const WAITING_MAX: usize = 64;
/// An update at most. Units: bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Logs sent at one time.
const LOGS_MAX: usize = 64;

/// What the link works with.
pub(crate) struct Link<R> {
    pub(crate) config: Config,
    pub(crate) shared: Arc<Shared<R>>,
    pub(crate) node_json: Bytes,
    pub(crate) boot_id: String,
    pub(crate) usage: Arc<Newest>,
}

/// Keeps a session until told to stop.
///
/// # Errors
///
/// The agent's certificates cannot be read.
pub(crate) async fn run<R: Runtime>(link: Link<R>, stop: CancellationToken) -> std::io::Result<()> {
    let tls = connect::tls(&link.config.identity)?;
    let known = link.config.data_dir.join("servers");
    let mut servers = link.config.servers.clone();
    // Servers may have come and gone since this machine was told of the first ones.
    servers.extend(std::fs::read_to_string(&known).unwrap_or_default().lines().map(str::to_owned));
    servers.dedup();
    // Nodes begin at different servers.
    let first = link.config.name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let (mut waits, mut at) = (Waits::new(first), first % servers.len());
    while !stop.is_cancelled() {
        let address = servers[at % servers.len()].clone();
        let began = Instant::now();
        let mut session = Session { link: &link, welcomed: false, servers: Vec::new(), logs: BTreeMap::new() };
        let ended = match connect::connect(&tls, &address).await {
            Ok(channel) => session.run(channel, &stop).await,
            Err(why) => Err(why),
        };
        link.shared.tokens.connected(false);
        if stop.is_cancelled() {
            break;
        }
        tracing::warn!(server = address, reason = ended.err().unwrap_or_default(), "no session with this server");
        if session.welcomed {
            let learnt = std::mem::take(&mut session.servers);
            servers = link.config.servers.iter().cloned().chain(learnt).collect();
            servers.sort();
            servers.dedup();
            if let Err(error) = std::fs::write(&known, servers.join("\n")) {
                tracing::warn!(%error, "the servers' addresses cannot be kept");
            }
            waits.served(began.elapsed());
            at = servers.iter().position(|s| *s == address).unwrap_or(0);
        }
        at += 1;
        let wait = waits.next(at % servers.len() == 0);
        let _ = tokio::time::timeout(wait, stop.cancelled()).await;
    }
    Ok(())
}

struct Session<'a, R> {
    link: &'a Link<R>,
    welcomed: bool,
    servers: Vec<String>,
    logs: BTreeMap<u64, (CancellationToken, Arc<Semaphore>)>,
}

fn up(message: from_node::Message) -> FromNode {
    FromNode { message: Some(message) }
}

impl<R: Runtime> Session<'_, R> {
    /// One session, until it ends or the agent does; the text says why it ended.
    async fn run(&mut self, channel: tonic::transport::Channel, stop: &CancellationToken) -> Result<(), String> {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let mut client = AgentClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        send(&sender, from_node::Message::Hello(self.hello())).await?;
        let opened = tokio::time::timeout(ANSWER, client.session(ReceiverStream::new(waiting))).await;
        let opened = opened.map_err(|_| "no answer in time".to_owned())?;
        let mut down = opened.map_err(|status| status.message().to_owned())?.into_inner();
        let mut tasks = JoinSet::new();
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut sequence, mut silence) = (0, Silence::new(Instant::now().into_std()));
        let mut usage = self.link.usage.subscribe();
        usage.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = down.message() => {
                    silence.heard(Instant::now().into_std());
                    match message.map_err(|status| status.message().to_owned())? {
                        Some(message) => self.take(message, &sender, &mut tasks).await?,
                        None => return Err("the server ended it".to_owned()),
                    }
                }
                due = tick.tick() => {
                    let now = Instant::now();
                    if silence.ends(now.into_std(), now - due) {
                        return Err("the server is silent".to_owned());
                    }
                    sequence += 1;
                    send(&sender, from_node::Message::Heartbeat(Heartbeat { sequence })).await?;
                }
                () = self.link.shared.outbox.wait(), if self.welcomed => {
                    while let Some(statuses) = self.link.shared.outbox.take() {
                        send(&sender, from_node::Message::Statuses(statuses)).await?;
                    }
                    let event_json = self.link.shared.outbox.take_events();
                    if !event_json.is_empty() {
                        send(&sender, from_node::Message::Events(Events { event_json })).await?;
                    }
                }
                Ok(()) = usage.changed(), if self.welcomed => {
                    let newest = usage.borrow_and_update().clone();
                    if let Some(report) = newest {
                        send(&sender, from_node::Message::Usage(UsageReport::clone(&report))).await?;
                    }
                }
                requests = self.link.shared.tokens.next(), if self.welcomed => {
                    for request in requests {
                        send(&sender, from_node::Message::TokenRequest(request)).await?;
                    }
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    fn hello(&self) -> Hello {
        let (epoch, revision) = self.link.shared.mirror.position();
        let (node_json, boot_id) = (self.link.node_json.clone(), self.link.boot_id.clone());
        Hello { node: self.link.config.name.clone(), node_json, boot_id, epoch, revision }
    }

    async fn take(
        &mut self,
        message: ToNode,
        sender: &mpsc::Sender<FromNode>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), String> {
        match message.message {
            Some(to_node::Message::Welcome(welcome)) => {
                tracing::info!(node = self.link.config.name, epoch = welcome.epoch, "connected to a server");
                (self.welcomed, self.servers) = (true, welcome.servers);
                self.link.shared.outbox.restart();
                self.link.shared.tokens.connected(true);
            }
            Some(to_node::Message::Update(update)) => {
                self.link.shared.mirror.apply(update).await.map_err(|error| error.to_string())?;
            }
            Some(to_node::Message::StatusAck(ack)) => self.link.shared.outbox.acknowledge(ack.sequence),
            Some(to_node::Message::LogRequest(request)) => {
                self.logs.retain(|_, (stop, _)| !stop.is_cancelled());
                let (id, stop) = (request.id, CancellationToken::new());
                if tasks.len() >= LOGS_MAX {
                    let error = "the node sends too many logs already; try again later".to_owned();
                    let chunk = proto::agent::LogChunk { id, end: true, error, ..Default::default() };
                    return send(sender, from_node::Message::LogChunk(chunk)).await;
                }
                // One more for the chunk that says the end.
                let credit = Arc::new(Semaphore::new(logs::CREDIT - 1));
                self.logs.insert(id, (stop.clone(), Arc::clone(&credit)));
                let shared = Arc::clone(&self.link.shared);
                let answer = logs::answer(shared, request, sender.clone(), credit, stop.clone());
                tasks.spawn(async move {
                    answer.await;
                    stop.cancel();
                });
            }
            Some(to_node::Message::LogCancel(cancel)) => {
                if let Some((stop, _)) = self.logs.remove(&cancel.id) {
                    stop.cancel();
                }
            }
            Some(to_node::Message::LogCredit(given)) => {
                if let Some((_, credit)) = self.logs.get(&given.id) {
                    credit.add_permits(usize::try_from(given.chunks).unwrap_or(0).min(logs::CREDIT));
                }
            }
            Some(to_node::Message::GoAway(away)) => return Err(away.reason),
            Some(to_node::Message::TokenResponse(response)) => self.link.shared.tokens.answered(response),
            Some(to_node::Message::HeartbeatAck(_)) | None => {}
        }
        Ok(())
    }
}

async fn send(sender: &mpsc::Sender<FromNode>, message: from_node::Message) -> Result<(), String> {
    let sent = tokio::time::timeout(ANSWER, sender.send(up(message))).await;
    sent.map_err(|_| "the server takes nothing".to_owned())?.map_err(|_| "the stream is closed".to_owned())
}
