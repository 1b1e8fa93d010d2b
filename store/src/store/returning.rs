//! A member that comes back with less than it once had, from a copy of its disk, has forgotten what others count on: it would
//! be a vote for their loss. Whoever leads knows what it had; whether its parts fit each other, it sees itself.

use std::time::Duration;

use futures_util::future::join_all;
use prost::Message;
use proto::peer;

use crate::Error;
use crate::api::MemberId;
use crate::config::Config;
use crate::log::Log;
use crate::machine::Machine;
use crate::raft::checkpoint::Checkpoints;
use crate::raft::peers::{Peers, Purpose};

/// The others answer within this time, or nothing is known: where none of them runs, none of them waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// PURE: why a member must not come back with `last` as its last entry, by what the others know it to have.
fn forgotten(known: impl Iterator<Item = u64>, last: u64) -> Option<String> {
    let known = known.max().filter(|known| *known > last)?;
    Some(format!(
        "this data directory is older than what this member had: the others know that it had entry {known}, its last one now \
         is {last}. Do not start it again: remove this member from the cluster, and let a new one with an empty data \
         directory take its place (raftsman member replace)"
    ))
}

/// PURE: why a member must not come back whose log gave up entries up to `purged`, and whose state and snapshot reach
/// `held`.
fn lost(purged: u64, held: u64) -> Option<String> {
    (held < purged).then(|| {
        format!(
            "entries {} to {purged} are neither in the state nor in the log of this data directory: a part of it is gone, or \
             from another time. Remove this member from the cluster, and let a new one with an empty data directory take its \
             place (raftsman member replace), or restore a backup when no other member is left",
            held + 1
        )
    })
}

/// Looks whether what the log gave up is in the state, or in the snapshot that the state is made of anew.
///
/// # Errors
/// When it is not: entries would be applied to a state that lacks the ones before.
pub(super) fn ensure_fit(log: &Log, machine: &Machine, checkpoints: &Checkpoints) -> Result<(), Error> {
    let applied = peer::LogId::decode(machine.position().applied).unwrap_or_default().index;
    let copied = checkpoints.current().and_then(|held| held.meta.last_log_id).map_or(0, |id| id.index);
    let purged = log.purged().map_or(0, |(index, _)| index);
    lost(purged, applied.max(copied)).map_or(Ok(()), |why| Err(Error::Stopped(why)))
}

/// Asks the others, those of the membership as this member knows it, what it had.
///
/// # Errors
/// When it had more than it has now.
pub(super) async fn ensure_whole(
    config: &Config,
    own: MemberId,
    log: &Log,
    machine: &Machine,
    peers: &Peers,
) -> Result<(), Error> {
    let position = machine.position();
    // What came as a snapshot was never in the log.
    let applied = peer::LogId::decode(position.applied).unwrap_or_default().index;
    let last = log.range().map_or(0, |(_, last)| last).max(applied);
    if last == 0 || config.force_new {
        return Ok(());
    }
    let nodes = peer::Membership::decode(position.membership).unwrap_or_default().nodes;
    let asked = nodes.into_iter().filter(|(id, _)| *id != own).map(|(id, node)| async move {
        let mut client = peers.client(Some(id), &node.peer_urls, Purpose::Call).ok()?;
        let answer = client.members(peer::MembersRequest { asks: own });
        let answer = tokio::time::timeout(ANSWER_WITHIN, answer).await.ok()?.ok()?;
        answer.into_inner().held.map(|held| held.index)
    });
    match forgotten(join_all(asked).await.into_iter().flatten(), last) {
        Some(why) => Err(Error::Stopped(why)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{forgotten, lost};

    #[test]
    fn what_the_log_gave_up_must_be_somewhere() {
        assert_eq!((lost(0, 0), lost(7, 7), lost(7, 8)), (None, None, None));
        assert!(
            lost(7, 5).is_some_and(|why| why.starts_with("entries 6 to 7 are neither in the state nor in the log"))
        );
    }

    #[test]
    fn only_less_than_it_had_is_too_little() {
        assert_eq!(forgotten([].into_iter(), 0), None);
        assert_eq!(forgotten([7, 3].into_iter(), 7), None);
        assert!(forgotten([7, 3].into_iter(), 6).is_some_and(|why| why.contains("had entry 7, its last one now is 6")));
    }
}
