//! What keeps a store small and well: compaction, space, alarms, and how the etcd API tells of them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use proto::command::command::Request;
use proto::command::outcome::Response;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;

use tokio::sync::watch;

use crate::api::Revision;
use crate::backup::{BackupError, Given, Manifest};
use crate::etcd::Contents;
use crate::etcd::compactor::{AutoCompaction, Compactor};
use crate::store::{SCRUB_STEP, Store, unexpected};
use crate::{Error, machine};

impl Store {
    /// A transaction that only reads, on the local replica; call `barrier` first for a linearizable one. The rows of its
    /// answer take so many bytes at most.
    ///
    /// # Errors
    /// As `view_at`, and `Refused` with `ANSWER_TOO_LARGE`.
    pub(crate) fn read(&self, request: &pb::TxnRequest, bytes: u64) -> Result<pb::TxnResponse, Error> {
        let mut response = self.inner.machine.read(request, bytes)?;
        self.sign(&mut response.header);
        Ok(response)
    }

    /// What the rows of a transaction's answer would take if it were made now, bytes.
    ///
    /// # Errors
    /// When it would be refused, as far as that can be known; `Refused` with `ANSWER_TOO_LARGE` beyond `most`.
    pub(crate) fn measure(&self, request: &pb::TxnRequest, most: usize) -> Result<usize, Error> {
        self.inner.machine.measure(request, most)
    }

    /// Writes a backup of the local replica as it is now, with words of the caller's. Blocks: call it off the runtime's
    /// threads, after `barrier`.
    ///
    /// # Errors
    /// When the sink refuses.
    pub fn backup(&self, extra: serde_json::Value, sink: impl std::io::Write) -> Result<Manifest, BackupError> {
        let view = self.view();
        let epoch = self.inner.leadership.borrow().epoch.max(view.header().epoch_base);
        let given = Given { view: &view, cluster_id: self.cluster_id(), epoch, base: false, extra };
        crate::backup::write(given, sink)
    }

    /// Whether a leader is known that most members follow, and every change of it.
    pub(crate) fn led(&self) -> watch::Receiver<bool> {
        self.inner.group.led()
    }

    /// How long a leader may be silent before others stand for election.
    pub(crate) fn election_timeout(&self) -> Duration {
        self.inner.group.election_timeout()
    }

    /// Starts a lease's time anew; answers its seconds to live.
    ///
    /// # Errors
    /// When no leader answers.
    pub(crate) async fn renew(&self, id: i64) -> Result<Option<i64>, Error> {
        Ok(self.inner.lessor.left(id, true).await?.map(|(ttl, _)| ttl))
    }

    /// Removes what compaction gave up on this member, until nothing is left of it.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn scrubbed(&self) -> Result<(), Error> {
        loop {
            let step = self.inner.machine.clone();
            let more = crate::edge::blocking(move || step.scrub(SCRUB_STEP)).await;
            if !more.map_err(|error| Error::Stopped(error.to_string()))?? {
                return Ok(());
            }
        }
    }

    /// Alarms of a kind that are raised, 0 being all; with them what this member knows of its own disk and of others.
    pub(crate) fn alarms(&self, kind: i32) -> Vec<pb::AlarmMember> {
        let mut alarms = self.view().header().alarms.clone();
        let full = self.no_space().then(|| (self.id(), pb::AlarmType::Nospace));
        let differing = self.differing_ids().map(|id| (id, pb::AlarmType::Corrupt));
        for (member_id, alarm) in full.into_iter().chain(differing) {
            let one = pb::AlarmMember { member_id, alarm: alarm.into() };
            if !alarms.contains(&one) {
                alarms.push(one);
            }
        }
        machine::alarm::raised(&alarms, kind)
    }

    /// Raises or clears an alarm.
    ///
    /// # Errors
    /// As a write.
    pub(crate) async fn alarm(&self, request: pb::AlarmRequest) -> Result<pb::AlarmResponse, Error> {
        match self.write(Request::Alarm(request)).await? {
            Response::Alarm(response) => Ok(response),
            other => Err(unexpected(other)),
        }
    }

    /// Bytes that the state may have; 0: as much as the disk has. From then on an alarm is raised when it has more, and
    /// cleared by itself once there is room again.
    pub fn set_quota(&self, bytes: u64) {
        if self.inner.quota.set(bytes) {
            let store = self.clone();
            self.track(async move { store.mind_quota().await });
        }
    }

    /// The quota, 0 where there is none.
    pub(crate) fn quota(&self) -> u64 {
        self.inner.quota.bytes()
    }

    /// Whether a write of such a cost may be made; raises the alarm where it may not.
    pub(crate) async fn fits(&self, cost: u64) -> bool {
        if self.inner.quota.take(cost) {
            return true;
        }
        let _ = self.alarm(self.own_alarm(AlarmAction::Activate)).await;
        false
    }

    fn own_alarm(&self, action: AlarmAction) -> pb::AlarmRequest {
        pb::AlarmRequest { action: action.into(), member_id: self.id(), alarm: pb::AlarmType::Nospace.into() }
    }

    async fn mind_quota(&self) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut given_back = 0;
        loop {
            tick.tick().await;
            let machine = self.inner.machine.clone();
            let Ok(size) = crate::edge::blocking(move || machine.size_for_clients()).await else { return };
            let own = self.own_alarm(AlarmAction::Deactivate);
            let is_own = |held: &pb::AlarmMember| held.member_id == own.member_id && held.alarm == own.alarm;
            let (raised, compacted) = (self.view().header().alarms.iter().any(is_own), self.view().header().compacted);
            if raised && compacted > given_back && self.scrubbed().await.is_ok() {
                // As long as nothing is written the files would keep what was compacted.
                given_back = compacted;
                self.tidy();
            }
            if self.inner.quota.look(size, raised) {
                tracing::info!(size, "there is room below the quota again: the alarm is cleared");
                let _ = self.alarm(own).await;
            }
        }
    }

    /// What a snapshot for etcd's tools is made of, as this member has it.
    pub(crate) fn contents(&self) -> Contents {
        // Leases and users first: a key may name a lease that came later, none that is gone.
        let (leases, auth, view) = (self.inner.machine.leases(), self.auth(), self.view());
        let now = self.inner.group.raft.metrics().borrow_watched().clone();
        let applied = now.last_applied.map_or((0, 0), |id| (id.index, id.leader_id.term));
        Contents { view, auth, leases, applied }
    }

    /// Rewrites the files of the state without what is no longer there, in the background, once at a time.
    pub(crate) fn tidy(&self) {
        let Ok(permit) = self.inner.tidying.clone().try_acquire_owned() else { return };
        let machine = self.inner.machine.clone();
        self.track(async move {
            let _ = crate::edge::blocking(move || {
                machine.tidy();
                drop(permit);
            })
            .await;
        });
    }

    /// Compacts by itself from now on, as `auto` says the first time, while this member leads.
    pub fn auto_compact(&self, auto: AutoCompaction) {
        if self.inner.compacts.swap(true, Ordering::Relaxed) {
            return;
        }
        let store = self.clone();
        self.track(async move {
            let mut compactor = Compactor::new(auto);
            let mut tick = tokio::time::interval(compactor.every());
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(revision) = compactor.look(store.revision()) else { continue };
                if store.leadership().borrow().acting {
                    store.compact_to(revision).await;
                }
                compactor.done(revision);
            }
        });
    }

    async fn compact_to(&self, revision: Revision) {
        match self.compact(revision).await {
            Ok(()) => tracing::info!(revision, "compacted by itself"),
            Err(Error::Refused(refusal)) => tracing::debug!(revision, why = refusal.message, "not compacted"),
            Err(error) => tracing::warn!(revision, %error, "not compacted"),
        }
    }

    /// A new data key encrypts from soon on, and everything that lies on the disk follows. False where nothing is encrypted.
    pub fn rotate_data_key(&self) -> bool {
        let Some(keys) = &self.inner.keys else { return false };
        keys.asked.notify_one();
        true
    }

    /// How many data keys are held; more than one while what lies under older ones is encrypted anew. 0 where nothing is
    /// encrypted.
    pub fn data_keys(&self) -> usize {
        self.inner.keys.as_ref().map_or(0, |keys| keys.vault.count())
    }

    /// What etcd's Status tells of this member.
    pub(crate) fn status(&self) -> pb::StatusResponse {
        let now = self.inner.group.raft.metrics().borrow_watched().clone();
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let size = self.inner.machine.size();
        let mut errors: Vec<String> = self.alarms(0).iter().map(told).collect();
        if now.current_leader.is_none() {
            errors.insert(0, "etcdserver: no leader".to_owned());
        }
        pb::StatusResponse {
            header: self.header(self.revision()),
            version: crate::etcd::VERSION.to_owned(),
            db_size: signed(size),
            db_size_in_use: signed(self.inner.machine.size_in_use().min(size)),
            db_size_quota: signed(self.quota()),
            leader: now.current_leader.unwrap_or(0),
            raft_index: now.last_log_index.unwrap_or(0),
            raft_term: now.current_term,
            raft_applied_index: now.last_applied.map_or(0, |id| id.index),
            is_learner: now.membership_config.voter_ids().all(|id| id != self.id()),
            storage_version: crate::etcd::STORAGE_VERSION.to_owned(),
            downgrade_info: Some(pb::DowngradeInfo::default()),
            errors,
        }
    }
}

/// An alarm in the words of Go's protobuf text.
fn told(held: &pb::AlarmMember) -> String {
    format!("memberID:{}  alarm:{}", held.member_id, held.alarm().as_str_name())
}
