//! Whether somebody leads, for those who do not want to go on otherwise: one who leads and hears of nobody does not.

use openraft::Instant;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;

use crate::group::Group;

impl Group {
    /// Whether a leader is known that most members follow, and every change of it.
    pub(crate) fn led(&self) -> watch::Receiver<bool> {
        self.led.subscribe()
    }

    /// Looks again and again.
    pub(crate) async fn mind_leader(&self) {
        let (metrics, mut news) = (self.raft.metrics(), self.raft.server_metrics());
        let mut tick = tokio::time::interval(self.election_timeout() / 2);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = metrics.borrow_watched().clone();
            let voters = now.membership_config.voter_ids().count();
            let heard = now.last_quorum_acked.is_some_and(|heard| heard.elapsed() < 2 * self.election_timeout());
            let led = now.current_leader.is_some_and(|leader| leader != self.id || voters == 1 || heard);
            self.led.send_if_modified(|held| std::mem::replace(held, led) != led);
            tokio::select! {
                _ = tick.tick() => {}
                // A leader that is lost, or found, is noticed at once.
                changed = news.changed() => if changed.is_err() { return },
            }
        }
    }
}
