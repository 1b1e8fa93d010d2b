//! Counting leases down, on the leader alone: what ends one is a revoke in the log, so every member agrees.
//!
//! What is left of long leases is noted in the log now and then: a new leader starts from there, and others at their full
//! time. A lease whose rest was noted is only renewed once that is taken back, or a new leader would end it early.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use prost::Message;
use proto::command::{Command, LeaseCheckpoints, command::Request};
use proto::etcdserverpb::{LeaseCheckpoint, LeaseRevokeRequest};
use proto::peer;
use tokio::sync::watch;
use tokio::time::Instant as Clock;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::api::Leadership;
use crate::edge;
use crate::group::deadlines::{Deadlines, Due};
use crate::group::{Group, Leader, parse_failure};
use crate::machine::Machine;
use crate::machine::lease::{Changed, Times};

/// How late the end of a lease may be noticed: its time to live is a minimum.
const TICK: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) struct Lessor {
    group: Arc<Group>,
    machine: Machine,
    /// Empty unless this member acts as leader.
    deadlines: Mutex<Deadlines>,
}

fn now() -> Instant {
    edge::clock(Clock::now().into_std())
}

impl Lessor {
    pub(crate) fn new(group: Arc<Group>, machine: Machine) -> Self {
        Lessor { group, machine, deadlines: Mutex::default() }
    }

    /// Seconds granted and left of a lease, asked of the leader.
    ///
    /// # Errors
    /// When no leader answers.
    pub(crate) async fn left(&self, id: i64, renew: bool) -> Result<Option<(i64, i64)>, Error> {
        match self.group.leader().await? {
            Leader::Me => self.left_here(id, renew).await,
            Leader::Other(leader, node) => {
                let request = peer::LeaseRequest { id, renew };
                let answer = self.group.client(leader, &node)?.lease(request).await.map_err(|_| Error::NoLeader)?;
                let answer = answer.into_inner();
                match &answer.failure {
                    Some(failure) => Err(parse_failure(failure)),
                    None => Ok(answer.found.then_some((answer.ttl, answer.remaining))),
                }
            }
        }
    }

    /// As the leader, which must first be sure to be it.
    ///
    /// # Errors
    /// When this member does not lead.
    pub(crate) async fn left_here(&self, id: i64, renew: bool) -> Result<Option<(i64, i64)>, Error> {
        self.group.agreement.ensure_leading()?;
        // Its end may be in the log of a leader before, and not be applied here yet.
        let seen = self.group.read_index().await?;
        self.group.caught_up(seen.index).await.map_err(|_| Error::NoLeader)?;
        let Some(mut times) = self.machine.lease_times(id) else { return Ok(None) };
        if renew && self.ends(id, times) {
            return Ok(None);
        }
        if renew && times.noted > 0 {
            self.note(vec![LeaseCheckpoint { id, remaining_ttl: 0 }], 0).await?;
            match self.machine.lease_times(id) {
                Some(noted) if !self.ends(id, noted) => times = noted,
                _ => return Ok(None),
            }
        }
        let now = now();
        let mut deadlines = self.deadlines.lock();
        if renew {
            deadlines.renew(id, times, now);
        }
        let left = deadlines.of(id, times, now).saturating_duration_since(now).as_secs();
        Ok(Some((times.ttl, i64::try_from(left).unwrap_or(i64::MAX))))
    }

    /// Whether its time is over: its end is on the way then.
    fn ends(&self, id: i64, times: Times) -> bool {
        let now = now();
        self.deadlines.lock().of(id, times, now) <= now
    }

    /// Ends leases while this member acts as leader, until told to end.
    pub(crate) async fn run(&self, mut leadership: watch::Receiver<Leadership>, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut counting = None;
        loop {
            let held = leadership.borrow_and_update().clone();
            let wanted = held.acting.then_some(held.epoch);
            if counting != wanted {
                // Others may have led in between, and renewed what was counted before.
                *self.deadlines.lock() = Deadlines::default();
                self.machine.count_leases(held.acting);
                counting = wanted;
            }
            if held.acting {
                let Due { ended, notes } = self.look(now());
                join_all(ended.into_iter().map(|id| self.revoke(id, held.epoch))).await;
                let notes: Vec<_> =
                    notes.into_iter().map(|(id, remaining_ttl)| LeaseCheckpoint { id, remaining_ttl }).collect();
                if !notes.is_empty()
                    && let Err(error) = self.note(notes, held.epoch).await
                {
                    tracing::debug!(%error, "what is left of leases is not noted yet");
                }
            }
            tokio::select! {
                _ = tick.tick(), if held.acting => {}
                changed = leadership.changed() => if changed.is_err() { return },
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Leases that have ended, and what is to be noted of others.
    fn look(&self, now: Instant) -> Due {
        let changed = self.machine.changed_leases();
        let mut deadlines = self.deadlines.lock();
        match changed {
            Changed::All(leases) => deadlines.all(&leases, now),
            Changed::Of(leases) => leases.into_iter().for_each(|(id, times)| deadlines.changed(id, times, now)),
        }
        deadlines.due(now, |id| self.machine.lease_times(id))
    }

    async fn revoke(&self, id: i64, epoch: u64) {
        let request = Some(Request::LeaseRevoke(LeaseRevokeRequest { id }));
        if let Err(error) = self.propose(request, epoch).await {
            tracing::debug!(lease = id, %error, "a lease that ended is not revoked yet");
        }
    }

    async fn note(&self, checkpoints: Vec<LeaseCheckpoint>, epoch: u64) -> Result<(), Error> {
        self.propose(Some(Request::LeaseCheckpoints(LeaseCheckpoints { checkpoints })), epoch).await
    }

    async fn propose(&self, request: Option<Request>, epoch: u64) -> Result<(), Error> {
        let command = Command { epoch, request, ..Command::default() };
        self.group.propose_here(command.encode_to_vec().into()).await.map(|_| ())
    }
}
