//! A disk that does not take the log: whoever leads with one lets another member lead, and nobody with one stands.

use std::sync::atomic::Ordering;

use crate::durations::Durations;
use crate::group::Group;
use crate::group::agreement::State;

impl Group {
    /// Looks again and again how long the write to the log takes that is under way.
    pub(crate) async fn mind_stalls(&self, writes: &Durations) {
        let limit = self.election_timeout();
        let mut tick = tokio::time::interval(limit / 4);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let stalled = writes.under_way().is_some_and(|time| time > limit);
            if self.stalled.swap(stalled, Ordering::Relaxed) != stalled {
                self.stand();
                match stalled {
                    true => tracing::error!(?limit, "the disk does not take the log: this member leads no more"),
                    false => tracing::info!("the disk takes the log again"),
                }
            }
            if stalled && let Some(to) = self.hand_over().await {
                tracing::warn!(to, "the disk does not take the log: another member leads");
            }
        }
    }

    /// Whether this member could lead well.
    pub(crate) fn fit(&self) -> bool {
        self.agreement.own() != State::Differs && !self.stalled.load(Ordering::Relaxed)
    }

    /// Stands for election only while it could.
    pub(super) fn stand(&self) {
        self.raft.runtime_config().elect(self.fit());
    }
}
