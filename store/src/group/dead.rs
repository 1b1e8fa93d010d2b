//! Members that have been silent for long: said once, and removed where that is asked for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, RaftMetrics, ServerState};

use crate::api::MemberId;
use crate::group::Group;
use crate::raft::types::Types;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A member that is silent for so long is spoken of.
const SPOKEN_OF: Duration = Duration::from_secs(60);

/// Members with the time for which their leader has not heard from them, which counts from when it began to lead.
fn silent(now: &RaftMetrics<Types>, led: Duration) -> Vec<(MemberId, Duration)> {
    let heard = |id: &MemberId| Some(now.heartbeat.as_ref()?.get(id)?.as_ref()?.elapsed());
    let others = now.membership_config.nodes().filter(|(id, _)| **id != now.id);
    others.map(|(id, _)| (*id, heard(id).map_or(led, |ago| ago.min(led)))).collect()
}

impl Group {
    /// While this member leads: speaks of silent members, and removes those that were silent for `after`.
    pub(crate) async fn mind_dead(&self, after: Option<Duration>) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut since, mut spoken) = (None, BTreeSet::new());
        loop {
            tick.tick().await;
            let now = self.raft.metrics().borrow_watched().clone();
            if now.state != ServerState::Leader {
                (since, spoken) = (None, BTreeSet::new());
                continue;
            }
            let led = since.get_or_insert_with(Instant::now).elapsed();
            for (id, silent) in silent(&now, led) {
                let server = now.membership_config.get_node(&id).map_or("", |node| node.name.as_str());
                if silent < SPOKEN_OF.min(after.unwrap_or(SPOKEN_OF)) {
                    spoken.remove(&id);
                } else if spoken.insert(id) {
                    tracing::warn!(server, ?silent, "a member has not been heard from: bring it back, or replace it");
                }
                if after.is_some_and(|after| silent >= after) {
                    match self.remove(id).await {
                        Ok(()) => {
                            tracing::warn!(server, ?silent, "a member was removed, since it was silent for so long")
                        }
                        Err(error) => tracing::warn!(server, %error, "a silent member is not removed"),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use openraft::type_config::alias::InstantOf;
    use openraft::{Membership, StoredMembership};
    use proto::peer;

    use super::*;

    #[test]
    fn silence_counts_from_the_last_word_and_within_the_leadership() {
        let nodes: BTreeMap<u64, peer::Node> = (1..=3).map(|id| (id, peer::Node::default())).collect();
        let membership = Membership::new(vec![BTreeSet::from([1, 2, 3])], nodes).expect("it fits");
        let ago = Some((InstantOf::<Types>::now() - Duration::from_secs(5)).into());
        let now = RaftMetrics {
            state: ServerState::Leader,
            membership_config: StoredMembership::new(None, membership).into(),
            heartbeat: Some(BTreeMap::from([(1, None), (2, ago), (3, None)])),
            ..RaftMetrics::new_initial(1)
        };
        let found = silent(&now, Duration::from_secs(9));
        assert_eq!(found.iter().map(|(id, time)| (*id, time.as_secs())).collect::<Vec<_>>(), [(2, 5), (3, 9)]);
        assert!(silent(&now, Duration::from_secs(1)).iter().all(|(_, time)| time.as_secs() == 1));
    }
}
