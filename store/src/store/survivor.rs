//! A new group of the one member that is left of an old one, with all that lies in its log.
//!
//! Everything in the log counts as committed: what was acknowledged is there, as far as this member was told. The group gets
//! another id, so that members of the old one that come back are refused and refuse this one; terms, and with them epochs,
//! go up so far that no leadership of the old group can reach them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::EntryPayload;
use openraft::vote::RaftLeaderId;
use openraft::vote::leader_id_std::LeaderId;
use prost::Message;
use proto::peer;
use tokio::sync::oneshot;

use crate::Error;
use crate::config::Config;
use crate::log::{self, Log};
use crate::machine::Machine;
use crate::raft::apply::parse_position;
use crate::raft::peers::{Peers, Purpose};
use crate::raft::types::{Entry, LogId, Membership, Vote};
use crate::raft::wire;
use crate::store::identity::{self, Identity};
use crate::store::open::{own_node, stopped};

/// How far terms go up: more elections than an old group will ever hold.
const RAISE: u64 = 1_000_000;
/// Bytes of the log that are read at once.
const READ_BYTES: usize = 4 << 20;
/// What a member of the old group may take to say whether it is led.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Makes the member that lies in a directory the only one of its group; answers who it is from then on.
///
/// # Errors
/// When the old group still has a leader, or the disk fails.
pub(super) async fn alone(
    config: &Config,
    identity: Identity,
    log: &Log,
    machine: &Machine,
) -> Result<Identity, Error> {
    let (applied, stored) = parse_position(&machine.position()).map_err(stopped)?;
    let (last, membership) = tail(log, applied, stored.membership().clone())?;
    let Some(last) = last else { return Ok(identity) };
    if membership.nodes().all(|(id, _)| *id == identity.member_id) {
        tracing::info!("this member is the only one of its group already");
        return Ok(identity);
    }
    leaderless(config, &identity, &membership).await?;
    // The group's new id comes first: from then on no member of the old one hears of this one, whatever a crash leaves. The
    // membership comes last: by it this is known to be done.
    let identity = Identity { cluster_id: Some(identity::random()?), ..identity };
    identity::save(&config.data_dir, &identity)?;
    let voted = log.vote().map(|bytes| peer::Vote::decode(bytes).map_err(stopped)).transpose()?;
    let id = identity.member_id;
    let term = voted.map_or(0, |vote| vote.term).max(last.leader_id.term) + RAISE;
    let vote = Vote { leader_id: LeaderId::new(term, id), committed: false };
    durable(|told| log.save_vote(wire::vote(&vote).encode_to_vec().into(), told)).await?;
    let node = BTreeMap::from([(id, own_node(config))]);
    let only = Membership::new(vec![[id].into()], node).map_err(stopped)?;
    let log_id = LogId { leader_id: last.leader_id, index: last.index + 1 };
    let entry = Entry { log_id, payload: EntryPayload::Membership(only) };
    durable(|told| log.append(vec![(log_id.index, wire::entry(&entry))], told)).await?;
    tracing::warn!(
        term,
        "this member begins a new cluster with what it has; start it without --force-new-cluster from now on, and let others \
         join with empty directories"
    );
    Ok(identity)
}

/// The last position that the log or the machine knows, and the newest membership.
fn tail(log: &Log, applied: Option<LogId>, held: Membership) -> Result<(Option<LogId>, Membership), Error> {
    let purged = log.purged().map(|(_, id)| peer::LogId::decode(id).map_err(stopped)).transpose()?;
    let (mut last, mut membership) = (applied.max(purged.as_ref().map(wire::parse_log_id)), held);
    let (mut from, to) = log.range().map_or((0, 0), |(first, last)| (first, last + 1));
    while from < to {
        let read = log.entries(from, to, READ_BYTES).map_err(stopped)?;
        if read.is_empty() {
            return Err(stopped(format!("entry {from} of the log is gone")));
        }
        for (index, bytes) in read {
            let entry = wire::parse_entry(bytes).map_err(stopped)?;
            last = last.max(Some(entry.log_id));
            if let EntryPayload::Membership(newer) = entry.payload
                && applied < Some(entry.log_id)
            {
                membership = newer;
            }
            from = index + 1;
        }
    }
    Ok((last, membership))
}

/// Nobody needs a new group while the old one is led: this member would take it for itself.
async fn leaderless(config: &Config, identity: &Identity, membership: &Membership) -> Result<(), Error> {
    let cluster = identity.cluster_id.map_or_else(OnceLock::new, OnceLock::from);
    let peers = Peers::new(&config.transport, Arc::new(cluster)).map_err(stopped)?;
    for (id, node) in membership.nodes().filter(|(id, _)| **id != identity.member_id) {
        let Ok(mut client) = peers.client(Some(*id), &node.peer_urls, Purpose::Call) else { continue };
        let request = peer::JoinRequest { id: identity.member_id, node: None, returning: true };
        let asked = tokio::time::timeout(ANSWER_WITHIN, client.join(request)).await;
        let Ok(Ok(answer)) = asked else { continue };
        let failure = answer.into_inner().failure;
        if failure.is_none_or(|failure| failure.reason() == peer::failure::Reason::Invalid) {
            return Err(Error::Invalid(format!(
                "--force-new-cluster: server {:?} says that the cluster has a leader; it takes members in and removes them \
                 as it is. Stop the others first if their state is to be given up",
                node.name
            )));
        }
    }
    Ok(())
}

/// Waits until a write to the log is on disk.
async fn durable(write: impl FnOnce(log::Durable) -> Result<(), log::Error>) -> Result<(), Error> {
    let (told, on_disk) = oneshot::channel();
    let tell = Box::new(move |result| {
        let _ = told.send(result);
    });
    write(tell).map_err(stopped)?;
    on_disk.await.map_err(stopped)?.map_err(stopped)
}
