//! Counting leases down, on the leader alone: what ends one is a revoke in the log, so every member agrees.
//!
//! What is left of long leases is noted in the log now and then: a new leader starts from there, and others at their full
//! time. A lease whose rest was noted is only renewed once that is taken back, or a new leader would end it early.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use prost::Message;
use proto::command::{Command, LeaseCheckpoints, command::Request};
use proto::etcdserverpb::{LeaseCheckpoint, LeaseRevokeRequest};
use proto::peer;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::api::Leadership;
use crate::group::{Group, Leader, parse_failure};
use crate::machine::Machine;
use crate::machine::lease::Times;

/// How late the end of a lease may be noticed: its time to live is a minimum.
const TICK: Duration = Duration::from_millis(250);
/// Leases ended per tick at most.
const REVOKES_MAX: usize = 250;
/// Leases whose rest is noted by one entry at most.
const NOTES_MAX: usize = 1000;
/// Leases that live shorter start anew under a new leader, seconds.
const NOTED_FROM: i64 = 30;
/// Seconds that a lease must have lost since its rest was noted, or since it was renewed.
const NOTE_EVERY: i64 = 10;

/// See the module.
pub(crate) struct Lessor {
    group: Arc<Group>,
    machine: Machine,
    /// Empty unless this member acts as leader.
    deadlines: Mutex<Deadlines>,
}

/// When leases end, by id; each with the grant that it was counted for: an id may be granted again at once after it was
/// revoked, and then has all of its time.
#[derive(Debug, Default)]
struct Deadlines(BTreeMap<i64, (u64, Instant)>);

impl Deadlines {
    /// Of a lease; of one that is not counted yet it begins now.
    fn of(&mut self, id: i64, times: Times, now: Instant) -> Instant {
        let starts = (times.grant, after(now, times.full()));
        let held = self.0.entry(id).or_insert(starts);
        if held.0 != times.grant {
            *held = starts;
        }
        held.1
    }

    fn renew(&mut self, id: i64, times: Times, now: Instant) {
        self.0.insert(id, (times.grant, after(now, Times { noted: 0, ..times }.full())));
    }
}

/// The clock may run past any time: what is longer is as good as for ever.
fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now + FOR_EVER)
}

/// PURE: whether the rest of a lease is to be noted, given its time to live, what is left and what was noted last (0:
/// nothing). Not before its owner has missed the time at which clients renew, a third of it: healthy ones cost nothing.
fn notable(ttl: i64, left: i64, noted: i64) -> bool {
    let lost = (if noted > 0 { noted } else { ttl }) - left;
    let missed = noted > 0 || lost >= (ttl * 2 / 5).min(3 * NOTE_EVERY);
    ttl >= NOTED_FROM && left > 0 && lost >= NOTE_EVERY && missed
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
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
        self.group.read_index().await?;
        let Some(mut times) = self.machine.lease_times(id) else { return Ok(None) };
        let begun = Instant::now();
        if renew && self.deadlines.lock().of(id, times, begun) <= begun {
            // Its end is on the way.
            return Ok(None);
        }
        if renew && times.noted > 0 {
            self.note(vec![LeaseCheckpoint { id, remaining_ttl: 0 }], 0).await?;
            let Some(now) = self.machine.lease_times(id) else { return Ok(None) };
            times = now;
        }
        let now = Instant::now();
        let mut deadlines = self.deadlines.lock();
        if renew {
            deadlines.renew(id, times, now);
        }
        let left = deadlines.of(id, times, now).saturating_duration_since(now).as_secs();
        Ok(Some((times.ttl, i64::try_from(left).unwrap_or(i64::MAX))))
    }

    /// Ends leases while this member acts as leader, until told to end.
    pub(crate) async fn run(&self, mut leadership: watch::Receiver<Leadership>, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let held = leadership.borrow_and_update().clone();
            if held.acting {
                let (ended, notes) = self.look(Instant::now());
                join_all(ended.into_iter().map(|id| self.revoke(id, held.epoch))).await;
                if !notes.is_empty()
                    && let Err(error) = self.note(notes, held.epoch).await
                {
                    tracing::debug!(%error, "what is left of leases is not noted yet");
                }
            } else {
                self.deadlines.lock().0.clear();
            }
            tokio::select! {
                _ = tick.tick(), if held.acting => {}
                changed = leadership.changed() => if changed.is_err() { return },
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Leases that have ended, and what is to be noted of others.
    fn look(&self, now: Instant) -> (Vec<i64>, Vec<LeaseCheckpoint>) {
        let leases = self.machine.all_lease_times();
        let (mut ended, mut notes) = (Vec::new(), Vec::new());
        let mut deadlines = self.deadlines.lock();
        for (id, times) in &leases {
            let deadline = deadlines.of(*id, *times, now);
            let left = seconds(deadline.saturating_duration_since(now));
            if deadline <= now && ended.len() < REVOKES_MAX {
                ended.push(*id);
            } else if notes.len() < NOTES_MAX && notable(times.ttl, left, times.noted) {
                notes.push(LeaseCheckpoint { id: *id, remaining_ttl: left });
            }
        }
        deadlines.0.retain(|id, _| leases.binary_search_by_key(id, |(id, ..)| *id).is_ok());
        (ended, notes)
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

/// Longer than anything runs.
const FOR_EVER: Duration = Duration::from_secs(1 << 33);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_granted_again_has_all_of_its_time() {
        let (now, mut deadlines) = (Instant::now(), Deadlines::default());
        let times = |ttl, noted, grant| Times { ttl, noted, grant };
        let seconds = |count| now + Duration::from_secs(count);
        assert_eq!(deadlines.of(7, times(5, 0, 1), now), seconds(5));
        assert_eq!(deadlines.of(7, times(5, 0, 1), seconds(3)), seconds(5), "it goes on counting");
        assert_eq!(deadlines.of(7, times(100, 0, 2), seconds(3)), seconds(103), "another lease");
        deadlines.renew(7, times(100, 40, 2), seconds(4));
        assert_eq!(deadlines.of(7, times(100, 40, 2), seconds(5)), seconds(104));
        assert_eq!(deadlines.of(8, times(100, 40, 3), now), seconds(40), "a new leader starts from what was noted");
        assert_eq!(deadlines.of(9, times(i64::MAX, 0, 4), now), now + FOR_EVER);
    }

    #[test]
    fn what_is_left_is_noted_of_leases_that_are_not_renewed() {
        assert!(!notable(20, 5, 0), "it is short");
        assert_eq!([notable(60, 41, 0), notable(60, 36, 0)], [false, true], "clients renew after a third");
        assert_eq!([notable(3600, 3571, 0), notable(3600, 3570, 0)], [false, true]);
        assert_eq!([notable(60, 27, 36), notable(60, 26, 36)], [false, true]);
        assert!(!notable(60, 0, 36), "it has ended");
    }
}
