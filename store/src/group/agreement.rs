//! Members that applied the same hold the same. All compare; one that differs from most serves nobody, leads nobody, and
//! gets its whole state anew from the leader. Where no majority agrees, all that differ refuse to serve until a person
//! decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use prost::Message;
use proto::command::command::Request;
use proto::command::{Command, TxnBatch};
use proto::peer;
use tokio::sync::watch;

use crate::Error;
use crate::api::{MemberId, Revision};
use crate::group::{Group, Leader};
use crate::machine::Machine;
use crate::machine::hash::{Sum, Verdict, judge};
use crate::raft::peers::Purpose;

/// Between two comparisons.
const LOOK: Duration = Duration::from_secs(2);

/// What this member knows about itself and the others.
pub(crate) struct Agreement {
    own: AtomicU8,
    /// Members that do not hold what most hold, or of whom nobody knows who is right; since when, at the latest.
    differing: Mutex<BTreeMap<MemberId, Revision>>,
    /// Set while this member takes no entries, since its whole state is on its way.
    healing: watch::Sender<bool>,
}

/// How this member's state stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Sound,
    Differs,
    Disputed,
}

impl Agreement {
    pub(crate) fn new() -> Self {
        let own = AtomicU8::new(State::Sound as u8);
        Agreement { own, differing: Mutex::default(), healing: watch::Sender::new(false) }
    }

    pub(crate) fn own(&self) -> State {
        [State::Sound, State::Differs, State::Disputed][usize::from(self.own.load(Ordering::Relaxed)).min(2)]
    }

    /// Nothing is served unless this member holds what the others hold.
    pub(crate) fn ensure(&self) -> Result<(), Error> {
        if self.own() == State::Sound { Ok(()) } else { Err(Error::Corrupt) }
    }

    /// As the leader: one that differs is none, and hands over.
    pub(crate) fn ensure_leading(&self) -> Result<(), Error> {
        match self.own() {
            State::Sound => Ok(()),
            State::Differs => Err(Error::NoLeader),
            State::Disputed => Err(Error::Corrupt),
        }
    }

    pub(crate) fn differing(&self) -> BTreeMap<MemberId, Revision> {
        self.differing.lock().clone()
    }

    /// Ready when no more entries are taken.
    pub(crate) async fn healing(&self) {
        // An error only means that the store ends.
        let _ = self.healing.subscribe().wait_for(|healing| *healing).await;
    }

    pub(crate) fn takes_entries(&self) -> bool {
        !*self.healing.borrow()
    }

    /// Takes verdicts in; answers whose became worse. Where nothing can be said, what was said before holds.
    fn note(
        &self,
        own: MemberId,
        verdicts: &BTreeMap<MemberId, Verdict>,
        members: &BTreeSet<MemberId>,
    ) -> Vec<MemberId> {
        let mut differing = self.differing.lock();
        let mut news = Vec::new();
        differing.retain(|id, _| members.contains(id));
        for (id, verdict) in verdicts {
            match verdict {
                Verdict::Agrees => drop(differing.remove(id)),
                Verdict::Differs(since) | Verdict::Disputed(since) => {
                    if differing.insert(*id, *since).is_none() {
                        news.push(*id);
                    }
                }
            }
        }
        let own = match verdicts.get(&own) {
            Some(Verdict::Agrees) => State::Sound,
            Some(Verdict::Differs(_)) => State::Differs,
            Some(Verdict::Disputed(_)) => State::Disputed,
            None => self.own(),
        };
        self.own.store(own as u8, Ordering::Relaxed);
        news
    }
}

impl Group {
    /// Compares again and again, and sees to it that this member holds what most hold.
    pub(crate) async fn compare(&self, machine: &Machine) {
        let mut again = tokio::time::interval(LOOK);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            self.compare_once(machine).await;
            let differs = self.agreement.own() == State::Differs;
            self.stand();
            if differs && let Err(why) = self.heal().await {
                tracing::warn!(why, "this member's state is not replaced yet");
            }
        }
    }

    async fn compare_once(&self, machine: &Machine) {
        let now = self.raft.metrics().borrow_watched().clone();
        let others = now.membership_config.nodes().filter(|(id, _)| **id != self.id);
        let asked = join_all(others.map(|(id, node)| async { Some((*id, self.sums(*id, node).await?)) })).await;
        let mut said: BTreeMap<MemberId, Vec<Sum>> = asked.into_iter().flatten().collect();
        if said.is_empty() && now.membership_config.nodes().count() > 1 {
            return;
        }
        said.insert(self.id, machine.sums());
        let verdicts = judge(&said, &now.membership_config.voter_ids().collect());
        let members = now.membership_config.nodes().map(|(id, _)| *id).collect();
        for id in self.agreement.note(self.id, &verdicts, &members) {
            let server = now.membership_config.get_node(&id).map(|node| node.name.clone()).unwrap_or_default();
            match verdicts.get(&id) {
                Some(Verdict::Disputed(revision)) => tracing::error!(
                    server,
                    revision,
                    "servers hold different states and no majority holds the same: nobody who differs serves clients. Keep \
                     copies of all data directories; then restore a backup, or choose the server whose state is right: start \
                     it alone with --force-new-cluster, and let the others join it again with empty directories"
                ),
                verdict => tracing::error!(
                    server,
                    ?verdict,
                    "holds another state than most: it serves nobody, and gets its state anew from the leader"
                ),
            }
        }
    }

    async fn sums(&self, id: MemberId, node: &peer::Node) -> Option<Vec<Sum>> {
        let mut client = self.client(id, node).ok()?;
        // One that does not answer is compared later.
        let answer = tokio::time::timeout(self.silence(), client.sums(peer::SumsRequest {})).await.ok()?.ok()?;
        Some(answer.into_inner().sums.into_iter().map(|sum| (sum.revision, sum.hash)).collect())
    }

    /// Gets this member's whole state anew. Takes no entries meanwhile: what comes must be newer than what is here.
    async fn heal(&self) -> Result<(), String> {
        let (leader, node) = match self.leader().await.map_err(|error| error.to_string())? {
            Leader::Other(leader, node) => (leader, node),
            Leader::Me => {
                let to = self.hand_over().await.ok_or("it leads, and nobody can take over")?;
                tracing::warn!(to, "this member's state differs: another one leads");
                return Ok(());
            }
        };
        let client = self.peers.client(Some(leader), &node.peer_urls, Purpose::Snapshot);
        let mut client = client.map_err(|error| error.to_string())?;
        self.agreement.healing.send_replace(true);
        let healed = self.while_leading(leader, client.heal(peer::HealRequest { id: self.id })).await;
        self.agreement.healing.send_replace(false);
        match healed {
            Some(Ok(_)) => Ok(()),
            Some(Err(status)) => Err(status.message().to_owned()),
            None => Err("the leader is another one by now".to_owned()),
        }
    }

    /// As the leader: an entry that changes nothing, so that its state is newer than what any other member has.
    pub(crate) async fn advance(&self) -> Result<(), Error> {
        if self.raft.metrics().borrow_watched().state != ServerState::Leader {
            return Err(Error::NoLeader);
        }
        let request = Some(Request::Batch(TxnBatch::default()));
        let command = Command { request, ..Command::default() };
        self.propose_here(command.encode_to_vec().into()).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_until_another_one_is_known() {
        let (agreement, members) = (Agreement::new(), BTreeSet::from([1, 2, 3]));
        let note = |verdicts: &[(MemberId, Verdict)]| {
            let news = agreement.note(1, &verdicts.iter().copied().collect(), &members);
            (agreement.own(), news)
        };
        assert_eq!(note(&[(1, Verdict::Differs(7)), (2, Verdict::Agrees)]), (State::Differs, vec![1]));
        assert!(matches!(agreement.ensure_leading(), Err(Error::NoLeader)));
        assert_eq!(note(&[(2, Verdict::Agrees)]), (State::Differs, vec![]), "nobody could say");
        assert_eq!(note(&[(1, Verdict::Agrees), (3, Verdict::Disputed(9))]), (State::Sound, vec![3]));
        assert_eq!(agreement.differing(), BTreeMap::from([(3, 9)]));
        assert_eq!(note(&[(1, Verdict::Disputed(9)), (3, Verdict::Disputed(9))]), (State::Disputed, vec![1]));
        assert!(matches!(agreement.ensure(), Err(Error::Corrupt)));
        agreement.note(1, &BTreeMap::new(), &BTreeSet::from([1]));
        assert_eq!(agreement.differing(), BTreeMap::from([(1, 9)]), "one that was removed is no concern");
    }
}
