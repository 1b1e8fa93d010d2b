//! Members that applied the same hold the same. The leader compares, and says so loudly when one differs.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use proto::peer;

use crate::api::{MemberId, Revision};
use crate::group::Group;
use crate::machine::Machine;
use crate::machine::hash::{Sum, disagreement};

/// Between two comparisons.
const LOOK: Duration = Duration::from_secs(5);

impl Group {
    /// Members whose state differs from this one's, as it found while it led, each with the first revision known to.
    pub(crate) fn differing(&self) -> BTreeMap<MemberId, Revision> {
        self.differing.lock().clone()
    }

    /// Compares again and again while this member leads.
    pub(crate) async fn compare(&self, machine: &Machine) {
        let mut again = tokio::time::interval(LOOK);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            let now = self.raft.metrics().borrow_watched().clone();
            let leads = now.state == ServerState::Leader;
            // One that was removed, or joined again as another, is no concern any more.
            self.differing.lock().retain(|id, _| leads && now.membership_config.get_node(id).is_some());
            if leads {
                for (id, node) in now.membership_config.nodes().filter(|(id, _)| **id != self.id) {
                    self.compare_with(machine, *id, node).await;
                }
            }
        }
    }

    async fn compare_with(&self, machine: &Machine, id: MemberId, node: &peer::Node) {
        let Ok(mut client) = self.client(id, node) else { return };
        let asked = tokio::time::timeout(self.patience, client.sums(peer::SumsRequest {})).await;
        // One that does not answer is compared later.
        let Ok(Ok(answer)) = asked else { return };
        let theirs: Vec<Sum> = answer.into_inner().sums.into_iter().map(|sum| (sum.revision, sum.hash)).collect();
        let Some(revision) = disagreement(&machine.sums(), &theirs) else { return };
        if self.differing.lock().insert(id, revision).is_none() {
            tracing::error!(
                server = node.name,
                revision,
                "holds another state than this server, which leads: remove the one that is wrong, and join it again with \
                 an empty data directory"
            );
        }
    }
}
