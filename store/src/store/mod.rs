//! `Store`: the whole public interface.

mod auth;
mod founding;
mod history;
mod identity;
mod open;
mod returning;
mod rotation;
mod serving;
mod survivor;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use founding::announced_id;
pub(crate) use identity::random;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use prost::Message;
use proto::command::command::Request;
use proto::command::outcome::Response;
use proto::command::{Command, Outcome, TxnBatch};
use proto::etcdserverpb as pb;
use proto::peer::change_request::Change;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::api::{Epoch, Figures, Leadership, Member, MemberId, Revision, StateHash, WatchSpec};
use crate::archive::Board;
use crate::config::Config;
use crate::durations::Durations;
use crate::edge;
use crate::group::Group;
use crate::group::cluster::Changed;
use crate::group::datagrams::Datagrams;
use crate::group::lessor::Lessor;
use crate::group::queue::Weight;
use crate::group::quota::Quota;
use crate::group::space::grows;
use crate::lanes::Lanes;
use crate::listener::Ends;
use crate::log::Options;
use crate::machine::hash;
use crate::machine::view::View;
use crate::machine::{Machine, reads_the_past};
use crate::raft::journal::Journal;
use crate::watch::Watcher;

/// Where the words that members attach to themselves lie, by id in hexadecimal.
pub(crate) const CONTEXTS: &str = "/raftsman/members/";
/// Those words at most, bytes.
const CONTEXT_BYTES_MAX: usize = 4 << 10;
/// A request at most, bytes: above what the Kubernetes API takes, below what a log record holds.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Calls of clients that are under way when the store ends may take so long.
const DRAIN: Duration = Duration::from_secs(2);
/// Events of compacted history removed per step.
const SCRUB_STEP: usize = 512;

/// A handle to the open store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    group: Arc<Group>,
    machine: Machine,
    journal: Journal,
    lessor: Arc<Lessor>,
    datagrams: Arc<Datagrams>,
    leadership: watch::Receiver<Leadership>,
    /// Set once the group has removed this member.
    removal: watch::Receiver<Option<String>>,
    syncs: Arc<Durations>,
    /// Where connections of etcd's clients are served.
    lanes: Arc<Lanes>,
    quota: Quota,
    /// One rewriting of the state's files at a time.
    tidying: Arc<Semaphore>,
    /// Compacts by itself.
    compacts: AtomicBool,
    keys: Option<rotation::Keys>,
    /// What is known of the archive.
    board: Mutex<Board>,
    tasks: TaskTracker,
    calls: TaskTracker,
    ends: Ends,
}

impl Store {
    /// Opens the data directory, recovers, joins or starts the group, and serves peers.
    ///
    /// # Errors
    /// When the directory is locked, damaged, of a newer format, or the cluster cannot be joined; the text says what to do.
    pub async fn open(config: Config) -> Result<Store, Error> {
        Store::open_laid_out(config, Options::default()).await
    }

    /// As `open`, with a log that is laid out otherwise: with small segments little is written until they follow each other.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_laid_out(config: Config, log: Options) -> Result<Store, Error> {
        open::open(config, log).await
    }

    /// A range, linearizable unless the request says serializable.
    ///
    /// # Errors
    /// As etcd's Range.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        self.inner.group.agreement.ensure()?;
        if !request.serializable {
            self.inner.group.barrier().await?;
        }
        self.local_range(&request)
    }

    /// One transaction. With an epoch, apply refuses it under any other leadership (`Refusal::STALE_EPOCH`).
    ///
    /// # Errors
    /// When refused, or when the outcome is unknown.
    pub async fn txn(&self, epoch: Epoch, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        match self.propose(epoch, Request::Txn(request)).await? {
            Response::Txn(mut response) => {
                self.sign(&mut response.header);
                Ok(response)
            }
            other => Err(unexpected(other)),
        }
    }

    /// Several transactions in one log entry, each with its own verdict and revision.
    ///
    /// # Errors
    /// The outer error is the whole entry's.
    pub async fn txn_batch(
        &self,
        epoch: Epoch,
        txns: Vec<pb::TxnRequest>,
    ) -> Result<Vec<Result<pb::TxnResponse, Error>>, Error> {
        let Response::Batch(batch) = self.propose(epoch, Request::Batch(TxnBatch { txns })).await? else {
            return Err(Error::Unknown);
        };
        let verdict = |outcome: Outcome| match outcome.response {
            Some(Response::Txn(mut response)) => {
                self.sign(&mut response.header);
                Ok(response)
            }
            Some(other) => Err(unexpected(other)),
            None => Err(Error::Unknown),
        };
        Ok(batch.outcomes.into_iter().map(verdict).collect())
    }

    /// Any write of the etcd API, with its answer.
    ///
    /// # Errors
    /// As `txn`.
    pub(crate) async fn write(&self, request: Request) -> Result<Response, Error> {
        self.propose(0, request).await
    }

    /// Waits until local reads include everything acknowledged before the call (ReadIndex); answers the local revision.
    ///
    /// # Errors
    /// When no leader confirms in time.
    pub async fn barrier(&self) -> Result<Revision, Error> {
        self.inner.group.agreement.ensure()?;
        self.inner.group.barrier().await?;
        Ok(self.revision())
    }

    /// As `barrier`, for what concerns members: it does not matter whether this one's state is sound.
    ///
    /// # Errors
    /// When no leader confirms in time.
    pub(crate) async fn abreast(&self) -> Result<(), Error> {
        self.inner.group.barrier().await
    }

    /// Whether this member's disk is so full that it refuses writes which store something new.
    pub fn no_space(&self) -> bool {
        self.inner.group.space.full()
    }

    /// The newest revision of the local replica.
    pub fn revision(&self) -> Revision {
        *self.inner.machine.revisions().borrow()
    }

    /// The local replica now; call `barrier` first for a linearizable read.
    pub fn view(&self) -> View {
        self.inner.machine.view()
    }

    /// The local replica at a past revision.
    ///
    /// # Errors
    /// `Refused` with `COMPACTED` or `FUTURE_REVISION`.
    pub fn view_at(&self, revision: Revision) -> Result<View, Error> {
        self.inner.machine.view_at(revision)
    }

    /// Waits until the local replica has applied `revision`.
    ///
    /// # Errors
    /// When the store stops first.
    pub async fn applied(&self, revision: Revision) -> Result<(), Error> {
        let mut revisions = self.inner.machine.revisions();
        let reached = revisions.wait_for(|applied| *applied >= revision).await;
        reached.map(|_| ()).map_err(|_| Error::Stopped("the store has shut down".to_owned()))
    }

    /// Follows a range from a revision on.
    pub fn watch(&self, spec: &WatchSpec) -> Watcher {
        self.inner.machine.watch(spec)
    }

    /// Who leads, and every change of it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// How this member stands.
    pub fn figures(&self) -> Figures {
        let now = self.inner.group.raft.metrics().borrow_watched().clone();
        Figures {
            term: now.current_term,
            leader: now.current_leader,
            leads: now.current_leader == Some(self.id()),
            applied: now.last_applied.map_or(0, |id| id.index),
            log_index: now.last_log_index.unwrap_or(0),
            log_bytes: self.inner.journal.bytes(),
            revision: self.revision(),
            size_bytes: self.inner.machine.size(),
            members: now.membership_config.nodes().count(),
            archive: self.archive_standing(),
            syncs: Arc::clone(&self.inner.syncs),
        }
    }

    /// This member's id.
    pub fn id(&self) -> MemberId {
        self.inner.group.id
    }

    /// The group's id; 0 until this member has joined.
    pub fn cluster_id(&self) -> u64 {
        self.inner.group.peers.cluster.get().copied().unwrap_or(0)
    }

    /// The group as the local replica knows it.
    pub fn members(&self) -> Vec<Member> {
        let view = self.view();
        let mut members = self.inner.group.members();
        for member in &mut members {
            let words = view.get(&context_key(member.id));
            member.context = words.map(|kv| kv.value).unwrap_or_default();
        }
        members
    }

    /// Replaces the words attached to this member (bounded: 4 KiB).
    ///
    /// # Errors
    /// As a write.
    pub async fn set_member_context(&self, context: Bytes) -> Result<(), Error> {
        if context.len() > CONTEXT_BYTES_MAX {
            return Err(Error::Invalid(format!("a member's context has {CONTEXT_BYTES_MAX} bytes at most")));
        }
        let key = context_key(self.id());
        // Said before: a server starts again also where nothing can be written, to make room.
        if self.view().get(&key).is_some_and(|held| held.value == context) {
            return Ok(());
        }
        let put = pb::PutRequest { key, value: context, ..pb::PutRequest::default() };
        self.propose(0, Request::Put(put)).await.map(|_| ())
    }

    /// Removes a member; its disk can never vote again.
    ///
    /// # Errors
    /// When unknown, or when the rest would have no quorum.
    pub async fn member_remove(&self, id: MemberId) -> Result<(), Error> {
        self.inner.group.change(Change::Remove(id)).await.map(|_| ())
    }

    /// Hands leadership to a caught-up voter.
    ///
    /// # Errors
    /// When the target is not a caught-up voter.
    pub async fn transfer_leader(&self, to: MemberId) -> Result<(), Error> {
        self.inner.group.change(Change::TransferTo(to)).await.map(|_| ())
    }

    /// A change as etcd's Cluster service asks for it.
    ///
    /// # Errors
    /// When refused; the text is etcd's.
    pub(crate) async fn change(&self, change: Change) -> Result<Changed, Error> {
        self.inner.group.change(change).await
    }

    pub(crate) fn seats(&self) -> Vec<proto::peer::Seat> {
        self.inner.group.seats()
    }

    /// Whether this member only learns until it is promoted on request.
    pub(crate) fn learns(&self) -> bool {
        self.inner.group.learns()
    }

    /// Sends a datagram to every other member: at most once, unordered between members, dropped when a peer is slow
    /// (bound: 64 KiB each, 256 waiting).
    pub fn broadcast(&self, payload: Bytes) {
        self.inner.datagrams.broadcast(&payload);
    }

    /// Datagrams from other members; a reader that is slow misses some.
    pub fn datagrams(&self) -> broadcast::Receiver<(MemberId, Bytes)> {
        self.inner.datagrams.subscribe()
    }

    /// Compacts history up to `revision`.
    ///
    /// # Errors
    /// `Refused` with `COMPACTED` or `FUTURE_REVISION`.
    pub async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let request = pb::CompactionRequest { revision, physical: false };
        self.propose(0, Request::Compact(request)).await.map(|_| ())
    }

    /// Seconds granted and left of a lease, with its keys; starts its time anew when asked to.
    ///
    /// # Errors
    /// When no leader answers.
    pub async fn lease(&self, id: i64, renew: bool) -> Result<Option<(i64, i64, Vec<Bytes>)>, Error> {
        let left = self.inner.lessor.left(id, renew).await?;
        Ok(left.map(|(ttl, left)| (ttl, left, self.inner.machine.lease(id).unwrap_or_default().1)))
    }

    /// Ids of all leases.
    pub fn leases(&self) -> Vec<i64> {
        self.inner.machine.leases().into_iter().map(|(id, ..)| id).collect()
    }

    /// The local replica's state at a revision (0: now) as one number.
    ///
    /// # Errors
    /// As `view_at`.
    pub async fn hash(&self, revision: Revision) -> Result<StateHash, Error> {
        let machine = self.inner.machine.clone();
        // Reads everything there is: off the runtime's threads.
        let hashed = edge::blocking(move || match revision {
            ..0 => Ok(hash::of_nothing(revision, machine.view().header().compacted)),
            _ => machine.view_at(revision).map(|view| view.hash()),
        });
        hashed.await.unwrap_or_else(|error| Err(Error::Stopped(error.to_string())))
    }

    /// Names of members whose state is not what most hold, each with the first revision that is known to differ; of all
    /// that differ where no majority agrees. Nothing but a defect or a lying disk makes one differ.
    pub fn differing(&self) -> Vec<(String, Revision)> {
        let differing = self.inner.group.agreement.differing();
        let members = self.inner.group.members().into_iter();
        members.filter_map(|member| Some((member.name, *differing.get(&member.id)?))).collect()
    }

    /// Whether this member's state is what the others hold, as far as is known. It serves nobody otherwise.
    pub fn sound(&self) -> bool {
        self.inner.group.agreement.ensure().is_ok()
    }

    pub(crate) fn differing_ids(&self) -> impl Iterator<Item = MemberId> {
        self.inner.group.agreement.differing().into_keys()
    }

    /// Why the store has failed for good, or was removed from its group: the process must end. Pending while all is well.
    pub async fn failed(&self) -> Error {
        // The core tells of its end in the first; only the second is quiet as long as entries come and go.
        let (metrics, mut news) = (self.inner.group.raft.metrics(), self.inner.group.raft.server_metrics());
        let mut removal = self.inner.removal.clone();
        loop {
            if let Some(why) = removal.borrow_and_update().clone() {
                return Error::Stopped(why);
            }
            if let Err(fatal) = metrics.borrow_watched().running_state.clone() {
                return open::stopped(fatal);
            }
            let goes_on = tokio::select! {
                changed = news.changed() => changed.is_ok() || metrics.borrow_watched().running_state.is_err(),
                Ok(()) = removal.changed() => true,
            };
            if !goes_on {
                return Error::Stopped("the store has shut down".to_owned());
            }
        }
    }

    /// Drains, hands leadership over when leading, closes.
    pub async fn shutdown(&self) {
        if self.inner.leadership.borrow().acting {
            // When nobody takes over, the others wait for an election.
            let _ = self.inner.group.hand_over().await;
        }
        // Who comes now is served elsewhere; who is being served is let finish.
        self.inner.ends.leaving.cancel();
        self.inner.calls.close();
        let _ = tokio::time::timeout(DRAIN, self.inner.calls.wait()).await;
        let _ = self.inner.group.raft.shutdown().await;
        self.inner.ends.cancel.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        let machine = self.inner.machine.clone();
        // Best effort: what is not flushed is replayed from the log.
        let _ = edge::blocking(move || machine.flush()).await;
    }

    /// Runs a task that ends with the store, and is waited for at its end.
    pub(crate) fn track(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.inner.ends.cancel.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = cancel.cancelled() => {}
            }
        });
    }

    /// The header of an answer that no state machine gave.
    pub(crate) fn header(&self, revision: Revision) -> Option<pb::ResponseHeader> {
        let mut header = Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() });
        self.sign(&mut header);
        header
    }

    async fn propose(&self, epoch: Epoch, request: Request) -> Result<Response, Error> {
        self.commit(Command { epoch, request: Some(request), ..Command::default() }).await
    }

    async fn commit(&self, mut command: Command) -> Result<Response, Error> {
        let grows = command.request.as_ref().is_some_and(grows);
        command.time_ms = i64::try_from(edge::since_epoch().as_millis()).unwrap_or(i64::MAX);
        let weight = Weight { grows, alone: reads_the_past(&command) };
        if command.encoded_len() > REQUEST_BYTES_MAX {
            return Err(Error::Invalid("etcdserver: request is too large".to_owned()));
        }
        let outcome = self.inner.group.propose(command.encode_to_vec().into(), weight).await?;
        match outcome.response {
            Some(Response::Refusal(refusal)) => Err(Error::Refused(refusal)),
            Some(response) => Ok(response),
            None => Err(Error::Unknown),
        }
    }

    /// Adds who answers to a header of the state machine.
    pub(crate) fn sign(&self, header: &mut Option<pb::ResponseHeader>) {
        let header = header.get_or_insert_with(Default::default);
        header.cluster_id = self.cluster_id();
        header.member_id = self.id();
        header.raft_term = self.inner.group.raft.metrics().borrow_watched().current_term;
    }
}

fn context_key(id: MemberId) -> Bytes {
    format!("{CONTEXTS}{id:016x}").into()
}

fn unexpected(response: Response) -> Error {
    match response {
        Response::Refusal(refusal) => Error::Refused(refusal),
        _ => Error::Unknown,
    }
}
