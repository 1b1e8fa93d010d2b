//! Counting leases down, on the leader alone: what ends one is a revoke in the log, so every member agrees.
//!
//! A new leader starts every lease at its full time again, as etcd's does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use proto::command::{Command, command::Request};
use proto::etcdserverpb::LeaseRevokeRequest;
use proto::peer;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::api::Leadership;
use crate::group::{Group, Leader, parse_failure};
use crate::machine::Machine;

/// How late the end of a lease may be noticed: its time to live is a minimum.
const TICK: Duration = Duration::from_millis(250);
/// Leases ended per tick at most.
const REVOKES_MAX: usize = 250;

/// See the module.
pub(crate) struct Lessor {
    group: Arc<Group>,
    machine: Machine,
    /// Empty unless this member acts as leader.
    deadlines: Mutex<BTreeMap<i64, Instant>>,
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
        let Some((ttl, _)) = self.machine.lease(id) else { return Ok(None) };
        let (now, full) = (Instant::now(), Duration::from_secs(ttl.unsigned_abs()));
        let mut deadlines = self.deadlines.lock();
        let deadline = deadlines.entry(id).or_insert(now + full);
        if renew {
            *deadline = now + full;
        }
        let left = deadline.saturating_duration_since(now).as_secs_f64().ceil();
        #[expect(clippy::cast_possible_truncation, reason = "at most the time granted")]
        Ok(Some((ttl, left as i64)))
    }

    /// Ends leases while this member acts as leader, until told to end.
    pub(crate) async fn run(&self, mut leadership: watch::Receiver<Leadership>, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let held = leadership.borrow_and_update().clone();
            if held.acting {
                for id in self.expired(Instant::now()) {
                    self.revoke(id, held.epoch).await;
                }
            } else {
                self.deadlines.lock().clear();
            }
            tokio::select! {
                _ = tick.tick(), if held.acting => {}
                changed = leadership.changed() => if changed.is_err() { return },
                () = cancel.cancelled() => return,
            }
        }
    }

    fn expired(&self, now: Instant) -> Vec<i64> {
        let leases = self.machine.leases();
        let mut deadlines = self.deadlines.lock();
        for (id, ttl, remaining) in &leases {
            let seconds = if *remaining > 0 { *remaining } else { *ttl };
            deadlines.entry(*id).or_insert(now + Duration::from_secs(seconds.unsigned_abs()));
        }
        deadlines.retain(|id, _| leases.binary_search_by_key(id, |(id, ..)| *id).is_ok());
        deadlines.iter().filter(|(_, deadline)| **deadline <= now).map(|(id, _)| *id).take(REVOKES_MAX).collect()
    }

    async fn revoke(&self, id: i64, epoch: u64) {
        let request = Some(Request::LeaseRevoke(LeaseRevokeRequest { id }));
        let command = Command { epoch, time_ms: 0, request, ..Command::default() };
        if let Err(error) = self.group.propose_here(command.encode_to_vec().into()).await {
            tracing::debug!(lease = id, %error, "a lease that ended is not revoked yet");
        }
    }
}
