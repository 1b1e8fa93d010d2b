//! The leader writes what was committed into the repository, as long as it leads: segments of log entries, at least twice
//! a second while there are any, and a base now and then. Where it goes on, the repository itself says.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;
use proto::command::Command;
use proto::peer;
use proto::peer::LogId;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Store;
use crate::archive::board::{self, Standing};
use crate::archive::chain::expired;
use crate::archive::end::{End, Gone};
use crate::archive::merge::ENTRIES_MAX;
use crate::archive::merger::{Known, Merger, sealed};
use crate::archive::names::{self, BaseName, Catalogue, SegmentName};
use crate::archive::repository::{Repository, pieces};
use crate::archive::segment::Head;
use crate::archive::{Archive, problem};
use crate::backup::{self, Given};
use crate::machine::codec::Header;
use crate::moving::{Problem, blocking};

/// Between two looks at what was committed.
const LOOK: Duration = Duration::from_millis(400);
/// Bytes of entries in a segment, about, and entries.
const SEGMENT_BYTES: usize = 4 << 20;
const SEGMENT_ENTRIES: u64 = 16_384;
/// Segments of so many of the shortest spans become one at last.
const MINUTES: i64 = 60;
/// A base that failed is tried again after this.
const BASE_AGAIN: Duration = Duration::from_secs(30);
/// What is wrong is logged so often.
const COMPLAIN: Duration = Duration::from_secs(60);

/// What this leader does.
pub(super) struct Archiver {
    pub(super) store: Store,
    pub(super) repository: Repository,
    pub(super) archive: Archive,
    end: Option<End>,
    /// Everything that was committed then is archived.
    covered: Instant,
    bases: JoinSet<Result<BaseName, Problem>>,
    base_due: Instant,
    merging: JoinSet<Result<(), Problem>>,
    /// Of each span, which one was merged last.
    merged: Option<[i64; 2]>,
    known: Known,
    complained: Option<Instant>,
}

fn now_ms() -> i64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn index(header: &Header) -> u64 {
    LogId::decode(header.applied.clone()).unwrap_or_default().index
}

/// PURE: the newest clock among the commands of entries.
fn clock(entries: &[(u64, Bytes)], before: i64) -> i64 {
    let commands = entries.iter().flat_map(|(_, row)| {
        match peer::Entry::decode(row.clone()).ok().and_then(|entry| entry.payload) {
            Some(peer::entry::Payload::Command(command)) => vec![command],
            Some(peer::entry::Payload::Group(group)) => group.commands,
            _ => Vec::new(),
        }
    });
    let times = commands.filter_map(|command| Command::decode(command).ok()).map(|command| command.time_ms);
    times.fold(before, i64::max)
}

/// Archives while this member leads, and hears of it while it does not.
pub(super) async fn run(store: Store, repository: Repository, archive: Archive) {
    let mut leadership = store.leadership();
    let hearing = hear(store.clone());
    let leading = async {
        while leadership.wait_for(|held| held.acting).await.is_ok() {
            let mut led = store.leadership();
            let mut archiver = Archiver::new(store.clone(), repository.clone(), archive.clone());
            tokio::select! {
                () = archiver.lead() => {}
                deposed = led.wait_for(|held| !held.acting) => if deposed.is_err() { return },
            }
        }
    };
    tokio::join!(hearing, leading);
}

async fn hear(store: Store) {
    let mut arrived = store.datagrams();
    loop {
        match arrived.recv().await {
            Ok((_, datagram)) => {
                if let Some(standing) = board::parse(&datagram) {
                    store.board().lock().hear(standing, Instant::now());
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

impl Archiver {
    fn new(store: Store, repository: Repository, archive: Archive) -> Self {
        let now = Instant::now();
        let (bases, merging) = (JoinSet::new(), JoinSet::new());
        let (end, merged, known, complained) = (None, None, Known::default(), None);
        let (covered, base_due) = (now, now);
        Archiver { store, repository, archive, end, covered, bases, base_due, merging, merged, known, complained }
    }

    async fn lead(&mut self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let done = self.round().await;
            if let Err(problem) = &done {
                self.complain(problem);
            }
            self.tell(done.err().map(|problem| problem.to_string()));
        }
    }

    fn complain(&mut self, problem: &Problem) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            self.complained = Some(Instant::now());
            tracing::warn!(%problem, "the archive falls behind; writes go on, and it catches up by itself");
        }
    }

    /// Tells all members how it stands.
    fn tell(&self, failure: Option<String>) {
        let (end, applied) = (self.end.as_ref(), index(self.store.view().header()));
        let current = end.is_some_and(|end| end.is_whole() && end.due(applied).is_none());
        let age = if current { Duration::ZERO } else { self.covered.elapsed() };
        let base = end.and_then(|end| end.base.as_ref());
        let newest = end.and_then(End::newest);
        let standing = Standing {
            place: self.repository.place().to_owned(),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            revision: newest.map_or(0, |(revision, _)| revision),
            base_revision: base.map(|base| base.revision),
            base_time_ms: base.map(|base| base.time_ms),
            time_ms: newest.map(|(_, time_ms)| time_ms).filter(|time| *time > 0),
            failure,
            last: end.filter(|end| end.is_whole()).and_then(|end| end.last.as_ref()).map(SegmentName::name),
        };
        self.store.broadcast(board::datagram(&standing).into());
        self.store.board().lock().hear(standing, Instant::now());
    }

    /// Archives what was committed since.
    async fn round(&mut self) -> Result<(), Problem> {
        while let Some(done) = self.bases.try_join_next() {
            self.base_taken(done.unwrap_or_else(|error| Err(Problem::Failed(error.to_string())))).await?;
        }
        if self.end.is_none() {
            self.end = Some(self.find_end().await?);
        }
        while let Some(done) = self.merging.try_join_next() {
            // Best effort: what was not merged is as good, and is listed longer.
            if let Err(problem) = done.unwrap_or_else(|error| Err(Problem::Failed(error.to_string()))) {
                tracing::warn!(%problem, "segments of the archive were not merged");
            }
        }
        let (seen, view) = (Instant::now(), self.store.view());
        while let Some(next) = self.end.as_ref().and_then(|end| end.due(index(view.header()))) {
            self.write(next, view.header()).await?;
        }
        if self.end.as_ref().is_some_and(End::is_whole) {
            self.covered = seen;
        }
        self.take_base(view.header());
        self.merge();
        Ok(())
    }

    /// Looks where the archive of this group ends.
    async fn find_end(&self) -> Result<End, Problem> {
        let group = self.store.cluster_id();
        let listed = self.repository.list(&names::bases(group), None).await?;
        let bases = Catalogue::of(listed.iter().map(|one| one.name.as_str())).bases;
        let base = bases.last().cloned();
        let said = self.store.board().lock().standing(Instant::now()).and_then(|standing| standing.last);
        let heard = said.as_deref().and_then(SegmentName::parse).filter(|heard| heard.group == group);
        // No segment is longer: one that reaches beyond the base begins after this.
        let from = base.as_ref().map_or(0, |base| base.index.saturating_sub(ENTRIES_MAX));
        let after = heard.as_ref().map_or_else(|| format!("{}/{from:016x}", names::segments(group)), SegmentName::name);
        let listed = self.repository.list(&names::segments(group), Some(&after)).await?;
        let mut segments = Catalogue::of(listed.iter().map(|one| one.name.as_str())).segments;
        let behind = heard.as_ref().map_or(base.as_ref().map_or(0, |base| base.index), |heard| heard.first - 1);
        segments.extend(heard);
        segments.sort_unstable();
        let end = End::found(base, behind, &segments);
        if let Some(next) = end.due(u64::MAX) {
            tracing::info!(place = self.repository.place(), next, "the archive goes on");
        }
        Ok(end)
    }

    /// Writes the segment that is next, up to what a state had applied at most.
    async fn write(&mut self, next: u64, header: &Header) -> Result<(), Problem> {
        let Some(end) = &mut self.end else { return Ok(()) };
        let (journal, applied) = (self.store.journal(), index(header));
        let to = (applied + 1).min(next + SEGMENT_ENTRIES);
        let rows = blocking(move || journal.rows(next, to, SEGMENT_BYTES).map_err(problem)).await?;
        let Some((last, _)) = rows.last().cloned() else {
            match end.gone() {
                Gone::BehindBase => tracing::warn!(next, "entries were never archived; a base has what they did"),
                Gone::WithNextBase => tracing::warn!(next, "entries are gone from the log: a new base is taken"),
            }
            return Ok(());
        };
        let known = (last == applied).then_some((header.revision, header.hash));
        let time_ms = if known.is_some() { header.time_ms } else { clock(&rows, end.time_ms) };
        let group = self.store.cluster_id();
        let previous = end.previous.to_string();
        let head = Head { cluster_id: group, first: next, last, time_ms, after: known, previous };
        let lock = self.archive.lock.clone();
        let (bytes, track) = blocking(move || sealed(&head, &rows, &lock).map_err(problem)).await?;
        let revision = known.map_or(0, |(revision, _)| revision);
        let name = SegmentName { group, first: next, last, revision, time_ms, track };
        self.repository.put(&name.name(), bytes).await?;
        if let Some(known) = known {
            self.known.note(last, known);
        }
        end.wrote(name);
        Ok(())
    }

    /// Begins to merge what was written in a span that has passed.
    fn merge(&mut self) {
        let Some(end) = self.end.as_ref().filter(|_| self.merging.is_empty()) else { return };
        let unit = i64::try_from(self.archive.merge.as_millis()).unwrap_or(i64::MAX).max(1);
        let spans = [unit, unit.saturating_mul(MINUTES)];
        let merged = self.merged.get_or_insert_with(|| spans.map(|span| end.time_ms.div_euclid(span)));
        let due = spans.into_iter().zip(merged).find(|(span, merged)| end.time_ms.div_euclid(*span) > **merged);
        let Some((span_ms, merged)) = due else { return };
        let passed = *merged..end.time_ms.div_euclid(span_ms);
        *merged = passed.end;
        let merger = Merger {
            repository: self.repository.clone(),
            journal: self.store.journal(),
            lock: self.archive.lock.clone(),
            group: self.store.cluster_id(),
            known: self.known.clone(),
            span_ms,
            passed,
        };
        self.merging.spawn(merger.run());
    }

    /// Begins to take a base, where one is due.
    fn take_base(&mut self, header: &Header) {
        let Some(end) = &mut self.end else { return };
        let every = i64::try_from(self.archive.every.as_millis()).unwrap_or(i64::MAX);
        let old = |base: &BaseName| header.time_ms > base.time_ms && now_ms().saturating_sub(base.time_ms) >= every;
        let due = (!end.is_whole() || end.base.as_ref().is_none_or(old)) && Instant::now() >= self.base_due;
        if !due || !self.bases.is_empty() {
            return;
        }
        self.base_due = Instant::now() + BASE_AGAIN;
        let view = self.store.view();
        let (group, epoch) = (self.store.cluster_id(), self.store.leadership().borrow().epoch);
        let name =
            BaseName { group, index: index(view.header()), revision: view.revision(), time_ms: view.header().time_ms };
        end.begun(&name);
        let (sink, given) = pieces();
        let (lock, extra, repository) =
            (self.archive.lock.clone(), self.archive.extra.clone(), self.repository.clone());
        let called = name.name();
        self.bases.spawn(async move {
            let writing = tokio::task::spawn_blocking(move || -> Result<(), Problem> {
                let mut sink = lock.wrap(sink).map_err(problem)?;
                let given = Given { view: &view, cluster_id: group, epoch, base: true, extra };
                backup::write(given, &mut sink).map_err(problem)?;
                sink.finish().and_then(super::repository::PieceWriter::end).map_err(problem)
            });
            let (uploaded, written) = tokio::join!(repository.upload(&called, given), writing);
            uploaded?;
            written.map_err(problem)??;
            Ok(name)
        });
    }

    /// A base is there: what it makes superfluous goes.
    async fn base_taken(&mut self, done: Result<BaseName, Problem>) -> Result<(), Problem> {
        let base = done?;
        tracing::info!(name = base.name(), "a base was archived");
        let group = base.group;
        if let Some(end) = &mut self.end {
            end.taken(base);
        }
        let mut listed = self.repository.list(&names::bases(group), None).await?;
        listed.extend(self.repository.list(&names::segments(group), None).await?);
        let catalogue = Catalogue::of(listed.iter().map(|one| one.name.as_str()));
        for name in expired(now_ms(), &catalogue, self.archive.rules) {
            self.repository.delete(&name).await?;
        }
        Ok(())
    }
}
