//! openraft's types with ours in them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::type_config::alias::{LogIdOf, StoredMembershipOf, VoteOf};
use openraft::vote::leader_id_std::LeaderId;
use proto::command::Outcome;
use proto::peer;

use crate::api::MemberId;
use crate::raft::apply::StateMachine;
use crate::raft::checkpoint::Checkpoint;

/// Encoded `Command`s that are committed as one entry: encoded once, by whoever proposes them; the log, the wire and
/// every member share the bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proposal(pub(crate) Vec<Bytes>);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.0.len())
    }
}

openraft::declare_raft_types!(
    pub(crate) Types:
        D = Proposal,
        R = Vec<Outcome>,
        NodeId = MemberId,
        Node = peer::Node,
        LeaderId = LeaderId<u64, u64>,
);

pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type Vote = VoteOf<Types>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<MemberId, peer::Node>;
pub(crate) type StoredMembership = StoredMembershipOf<Types>;
pub(crate) type Raft = openraft::Raft<Types, StateMachine>;
pub(crate) type Meta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<Types, Arc<Checkpoint>>;
