//! The state machine: etcd's data model over an engine. Entries go in, in order; views and events come out.
//!
//! What an entry does is pure (`apply`, `txn`, `lease`); this file reads the engine, writes one batch, tells watchers.

pub(crate) mod alarm;
mod apply;
pub(crate) mod auth;
pub(crate) mod codec;
pub(crate) mod generation;
pub(crate) mod hash;
pub(crate) mod lease;
pub(crate) mod load;
pub(crate) mod moments;
mod past;
mod pending;
pub(crate) mod permission;
pub(crate) mod range;
pub(crate) mod record;
mod room;
mod scrub;
pub(crate) mod tokens;
mod txn;
pub(crate) mod view;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use proto::command::{Command, Outcome, Refusal};
use proto::etcdserverpb as pb;
use tokio::sync::{Notify, watch};

use crate::Error;
use crate::api::{Revision, WatchSpec};
use crate::edge::drive::Defect;
use crate::edge::planted::Planted;
use crate::engine::sealed::Sealed;
use crate::engine::{self, Broken, Engine, Family};
use crate::lock::Lock;
use crate::seal::Sealer;
use crate::watch::{Past, Ring, Watcher};
pub(crate) use apply::reads_the_past;
use auth::Auth;
use codec::{FORMAT, HEADER_KEY};
use hash::{Milestones, Sum};
use lease::{Changed, Leases, Times};
use load::Loader;
use pending::Pending;
use room::Room;
use tokens::Tokens;
use view::View;

/// What the Raft layer keeps in the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// Its words about the last applied entry; empty before the first.
    pub(crate) applied: Bytes,
    /// Its words about the last membership; empty before the first.
    pub(crate) membership: Bytes,
}

/// A committed log entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The Raft layer's words about it.
    pub(crate) applied: Bytes,
    /// The term it was appended under.
    pub(crate) term: u64,
    /// What it carries.
    pub(crate) body: Body,
    /// Somebody on this member waits for what it answers.
    pub(crate) asked: bool,
}

/// What an entry carries.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// A write.
    Command(Command),
    /// Another membership.
    Membership(Bytes),
    /// Nothing: the first entry of a leader.
    Blank,
}

/// The state machine of this member; cheap to clone.
#[derive(Clone)]
pub(crate) struct Machine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: RwLock<Arc<dyn Engine>>,
    leases: Mutex<Leases>,
    auth: RwLock<Arc<Auth>>,
    /// Whether clients are asked who they are: of `auth`, without its lock.
    guarded: AtomicBool,
    tokens: Tokens,
    ring: Arc<Ring>,
    /// What is compacted before this revision is forgotten.
    kept_from: AtomicI64,
    /// Tells that there is something to remove.
    compactions: Notify,
    milestones: Mutex<Milestones>,
    /// Where generations of the engine lie; none in memory.
    home: Option<Home>,
    planted: Planted,
}

/// Where generations of the engine lie.
struct Home {
    dir: PathBuf,
    lock: Option<Lock>,
    /// Bytes of it that the engine may take.
    memory: usize,
    /// What values are encrypted with.
    sealer: Option<Arc<Sealer>>,
}

impl Home {
    /// The engine of a generation.
    fn engine(&self, generation: &Path) -> Result<Arc<dyn Engine>, Broken> {
        let engine = engine::open(generation, self.lock.clone(), self.memory)?;
        Ok(Sealed::over(engine, self.sealer.as_ref()))
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Error::Stopped(broken.0)
    }
}

impl Past for Inner {
    fn view(&self) -> View {
        View::new(self.engine.read().snapshot())
    }
}

impl Machine {
    /// Opens the current generation that lies in a directory, or begins one; its files keep the lock.
    ///
    /// # Errors
    /// When the disk fails, or the layout is newer than this program.
    pub(crate) fn open(dir: &Path, lock: Option<Lock>, memory: usize) -> Result<Self, Error> {
        Machine::open_sealed(dir, lock, memory, None)
    }

    /// As `open`, with what values are encrypted with.
    ///
    /// # Errors
    /// As `open`.
    pub(crate) fn open_sealed(
        dir: &Path,
        lock: Option<Lock>,
        memory: usize,
        sealer: Option<Arc<Sealer>>,
    ) -> Result<Self, Error> {
        let home = Home { dir: dir.to_owned(), lock, memory, sealer };
        let engine = home.engine(&generation::current_generation(dir)?)?;
        Machine::with(engine, Some(home))
    }

    /// What loads a state into a directory that holds none yet.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn loader(dir: &Path, memory: usize, sealer: Option<Arc<Sealer>>) -> Result<Loader, Error> {
        let home = Home { dir: dir.to_owned(), lock: None, memory, sealer };
        Ok(Loader::new(home.engine(&generation::current_generation(dir)?)?))
    }

    /// Over an engine that no snapshot will replace.
    ///
    /// # Errors
    /// When the layout is newer than this program.
    pub(crate) fn over(engine: Arc<dyn Engine>) -> Result<Self, Error> {
        Machine::with(engine, None)
    }

    fn with(engine: Arc<dyn Engine>, home: Option<Home>) -> Result<Self, Error> {
        let view = View::new(engine.snapshot());
        let found = view.header().format;
        if found != FORMAT {
            let advice = if found > FORMAT {
                "start it with the newer version"
            } else {
                "take a backup with the version that wrote it, and restore that"
            };
            return Err(Error::Stopped(format!(
                "the data directory has format {found}, this program knows {FORMAT}; {advice}"
            )));
        }
        let ring = Arc::new(Ring::new(view.revision()));
        ring.compact(view.header().compacted);
        let planted = home.as_ref().map_or_else(Planted::default, |home| Planted::of(&home.dir));
        let mut leases = Leases::load(view.snapshot());
        leases.alike = planted.has(Defect::GrantsAlike);
        let leases = Mutex::new(leases);
        let auth = Auth::load(view.snapshot());
        let guarded = AtomicBool::new(auth.enabled);
        let (auth, tokens) = (RwLock::new(Arc::new(auth)), Tokens::default());
        let (engine, milestones) = (RwLock::new(engine), Mutex::default());
        let kept_from = AtomicI64::new(Revision::MAX);
        let compactions = Notify::new();
        let inner =
            Inner { engine, leases, auth, guarded, tokens, ring, kept_from, compactions, milestones, home, planted };
        Ok(Machine { inner: Arc::new(inner) })
    }

    /// What a simulation planted in this member.
    pub(crate) fn planted(&self) -> &Planted {
        &self.inner.planted
    }

    /// What was applied last.
    pub(crate) fn position(&self) -> Position {
        let view = self.view();
        Position { applied: view.header().applied.clone(), membership: view.header().membership.clone() }
    }

    /// Whether it holds a state that no log led to, which belongs to no group yet.
    pub(crate) fn loaded(&self) -> bool {
        let view = self.view();
        view.header().applied.is_empty() && view.snapshot().get(Family::Meta, HEADER_KEY).is_some()
    }

    /// Applies entries in order, writes them as one batch where they allow it, then tells watchers. One caller at a time.
    ///
    /// # Errors
    /// When the engine fails: the process must end.
    pub(crate) fn apply(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Error> {
        let mut leases = self.inner.leases.lock();
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let alone = |entry: &Entry| matches!(&entry.body, Body::Command(command) if apply::reads_the_past(command));
            let together = if alone(&rest[0]) { 1 } else { rest.iter().take_while(|entry| !alone(entry)).count() };
            let (now, later) = rest.split_at(together);
            self.apply_slice(now, &mut leases, &mut outcomes)?;
            rest = later;
        }
        Ok(outcomes)
    }

    fn apply_slice(&self, entries: &[Entry], leases: &mut Leases, outcomes: &mut Vec<Outcome>) -> Result<(), Error> {
        let engine = self.inner.engine.read().clone();
        let view = View::new(engine.snapshot());
        let mut pending = Pending::new(&view, leases, self.auth());
        for entry in entries {
            pending.header.applied = entry.applied.clone();
            outcomes.push(match &entry.body {
                Body::Command(command) => {
                    pending.room = Room::of(command.answer_bytes_max, entry.asked);
                    apply::command(&mut pending, entry.term, command)
                }
                Body::Membership(membership) => {
                    pending.header.membership = membership.clone();
                    Outcome::default()
                }
                Body::Blank => Outcome::default(),
            });
        }
        let Pending { header, mut batch, events, sums, auth, sessions, .. } = pending;
        // Before what comes after it in the log can be read.
        self.guard(auth, sessions);
        if header.compacted != view.header().compacted {
            self.inner.ring.compact(header.compacted);
            self.inner.compactions.notify_one();
        }
        batch.put(Family::Meta, HEADER_KEY, header.encode_to_vec());
        engine.write(batch)?;
        let mut milestones = self.inner.milestones.lock();
        sums.into_iter().for_each(|sum| milestones.note(sum));
        drop(milestones);
        self.inner.ring.publish(events, header.revision);
        Ok(())
    }

    fn guard(&self, auth: Arc<Auth>, sessions: Vec<auth::Session>) {
        if sessions.is_empty() && Arc::ptr_eq(&auth, &self.inner.auth.read()) {
            return;
        }
        self.inner.guarded.store(auth.enabled, Ordering::Release);
        *self.inner.auth.write() = auth;
        sessions.into_iter().for_each(|session| self.inner.tokens.note(session));
    }

    /// Whether clients are asked who they are.
    pub(crate) fn guarded(&self) -> bool {
        self.inner.guarded.load(Ordering::Acquire)
    }

    /// The auth store now.
    pub(crate) fn auth(&self) -> Arc<Auth> {
        self.inner.auth.read().clone()
    }

    /// Tokens that clients were given.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.inner.tokens
    }

    /// The checksums that this member knows, ascending; the last is that of now.
    pub(crate) fn sums(&self) -> Vec<Sum> {
        let view = self.view();
        let now = (view.revision(), view.header().hash);
        let milestones = self.inner.milestones.lock();
        milestones.iter().filter(|(revision, _)| *revision < now.0).chain([now]).collect()
    }

    /// The local replica now.
    pub(crate) fn view(&self) -> View {
        self.inner.view()
    }

    /// The local replica at a past revision; 0 is now.
    ///
    /// # Errors
    /// `Refused` with `COMPACTED` or `FUTURE_REVISION`.
    pub(crate) fn view_at(&self, revision: Revision) -> Result<View, Error> {
        let view = self.view();
        if revision == 0 {
            return Ok(view);
        }
        pending::readable(revision, view.revision(), view.header().compacted).map_err(Error::Refused)?;
        Ok(view.at(revision))
    }

    /// etcd's Range on the local replica.
    ///
    /// # Errors
    /// As `view_at`.
    pub(crate) fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let now = self.view();
        let revision = now.revision();
        let view = if request.revision > 0 { self.view_at(request.revision)? } else { now };
        let mut response = range::answer(request, view.range(&request.key, &request.range_end));
        response.header = Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() });
        Ok(response)
    }

    /// A transaction that only reads, on the local replica; its answer takes so many bytes at most.
    ///
    /// # Errors
    /// As `view_at`, and `Refused` with `ANSWER_TOO_LARGE`.
    pub(crate) fn read(&self, request: &pb::TxnRequest, bytes: u64) -> Result<pb::TxnResponse, Error> {
        self.tried(request, Room::of(bytes, true)).0.map_err(Error::Refused)
    }

    /// What the answer of a transaction would take if it were made now, bytes.
    ///
    /// # Errors
    /// When it would be refused for another reason than its leases; `Refused` with `ANSWER_TOO_LARGE` beyond `most`.
    pub(crate) fn measure(&self, request: &pb::TxnRequest, most: usize) -> Result<usize, Error> {
        let (tried, taken) = self.tried(request, Room::measure(most));
        tried.map(|_| taken).map_err(Error::Refused)
    }

    /// Runs a transaction without making it; also tells what its answer takes.
    fn tried(&self, request: &pb::TxnRequest, room: Room) -> (Result<pb::TxnResponse, Refusal>, usize) {
        let (view, mut none) = (self.view(), Leases::default());
        let mut pending = Pending::new(&view, &mut none, self.auth());
        pending.room = room;
        let tried = txn::txn(&mut pending.begin(), request);
        (tried, pending.room.taken())
    }

    /// Follows a range.
    pub(crate) fn watch(&self, spec: &WatchSpec) -> Watcher {
        let mut watcher = Watcher::new(self.inner.ring.clone(), self.inner.clone(), spec);
        if spec.start_revision > 1 && self.inner.planted.has(Defect::WatchesLate) {
            watcher.skip_to(spec.start_revision + 1);
        }
        watcher
    }

    /// The newest revision, and every change of it.
    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        self.inner.ring.revisions()
    }

    /// Leases: id, seconds to live, seconds left as last noted.
    pub(crate) fn leases(&self) -> Vec<(i64, i64, i64)> {
        self.inner.leases.lock().iter().map(|(id, lease)| (id, lease.ttl, lease.remaining)).collect()
    }

    pub(crate) fn lease_count(&self) -> usize {
        self.inner.leases.lock().len()
    }

    /// What counts a lease down.
    pub(crate) fn lease_times(&self, id: i64) -> Option<Times> {
        self.inner.leases.lock().get(id).map(Times::of)
    }

    /// From now on somebody on this member counts leases down, or nobody.
    pub(crate) fn count_leases(&self, wanted: bool) {
        self.inner.leases.lock().count(wanted);
    }

    /// Leases that changed since this was asked last.
    pub(crate) fn changed_leases(&self) -> Changed {
        self.inner.leases.lock().changed()
    }

    /// The keys attached to a lease, with its seconds to live.
    pub(crate) fn lease(&self, id: i64) -> Option<(i64, Vec<Bytes>)> {
        self.inner.leases.lock().get(id).map(|lease| (lease.ttl, lease.keys.iter().cloned().collect()))
    }

    /// Bytes on disk, about.
    pub(crate) fn size(&self) -> u64 {
        self.inner.engine.read().size()
    }

    /// Of these, still of use, about.
    pub(crate) fn size_in_use(&self) -> u64 {
        self.inner.engine.read().size_in_use()
    }

    /// Of these, what compaction did not give up.
    pub(crate) fn size_for_clients(&self) -> u64 {
        self.size_in_use().saturating_sub(self.kept_bytes())
    }

    /// Gives back the space of what is no longer there; blocks until it is done.
    pub(crate) fn tidy(&self) {
        let engine = self.inner.engine.read().clone();
        engine.tidy();
    }

    /// Gives a state that no log led to its place after one.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn adopt(&self, applied: Bytes, membership: Bytes) -> Result<(), Error> {
        let engine = self.inner.engine.read().clone();
        let header = codec::Header { applied, membership, ..self.view().header().clone() };
        let mut batch = crate::engine::Batch::default();
        batch.put(Family::Meta, HEADER_KEY, header.encode_to_vec());
        engine.write(batch)?;
        Ok(engine.flush()?)
    }

    /// Makes everything applied durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let engine = self.inner.engine.read().clone();
        Ok(engine.flush()?)
    }
}
