//! PURE: openraft's values as bytes, for the log, the state machine and the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use openraft::raft::{VoteRequest, VoteResponse};
use openraft::vote::RaftLeaderId;
use openraft::vote::leader_id_std::{CommittedLeaderId, LeaderId};
use prost::Message;
use proto::peer;
use proto::peer::append_response::Result as Verdict;

use crate::raft::types::{Entry, LogId, Membership, Proposal, StoredMembership, Types, Vote};

pub(crate) fn log_id(id: &LogId) -> peer::LogId {
    peer::LogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn parse_log_id(id: &peer::LogId) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(id.term), index: id.index }
}

pub(crate) fn vote(vote: &Vote) -> peer::Vote {
    peer::Vote { term: vote.leader_id.term, voted_for: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn parse_vote(vote: &peer::Vote) -> Vote {
    Vote { leader_id: LeaderId::new(vote.term, vote.voted_for), committed: vote.committed }
}

/// A required part of a message.
pub(crate) fn required_vote(vote: Option<&peer::Vote>) -> io::Result<Vote> {
    vote.map(parse_vote).ok_or_else(|| invalid("a message without a vote"))
}

pub(crate) fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

pub(crate) fn membership(membership: &Membership, log_id: Option<peer::LogId>) -> peer::Membership {
    let voters = |ids: &BTreeSet<u64>| peer::Voters { ids: ids.iter().copied().collect() };
    peer::Membership {
        configs: membership.get_joint_config().iter().map(voters).collect(),
        nodes: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
        log_id,
    }
}

pub(crate) fn parse_membership(membership: &peer::Membership) -> io::Result<Membership> {
    let configs = membership.configs.iter().map(|voters| voters.ids.iter().copied().collect()).collect();
    let nodes: BTreeMap<u64, peer::Node> = membership.nodes.iter().map(|(id, node)| (*id, node.clone())).collect();
    Membership::new(configs, nodes).map_err(invalid)
}

pub(crate) fn stored_membership(stored: &StoredMembership) -> peer::Membership {
    membership(stored.membership(), stored.log_id().as_ref().map(log_id))
}

pub(crate) fn parse_stored_membership(stored: &peer::Membership) -> io::Result<StoredMembership> {
    Ok(StoredMembership::new(stored.log_id.as_ref().map(parse_log_id), parse_membership(stored)?))
}

pub(crate) fn entry(entry: &Entry) -> Bytes {
    let payload = match &entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(Proposal(commands)) => Some(match commands.as_slice() {
            [command] => peer::entry::Payload::Command(command.clone()),
            several => peer::entry::Payload::Group(peer::Commands { commands: several.to_vec() }),
        }),
        EntryPayload::Membership(held) => Some(peer::entry::Payload::Membership(membership(held, None))),
    };
    peer::Entry { log_id: Some(log_id(&entry.log_id)), payload }.encode_to_vec().into()
}

pub(crate) fn parse_entry(bytes: Bytes) -> io::Result<Entry> {
    let entry = peer::Entry::decode(bytes).map_err(invalid)?;
    let payload = match entry.payload {
        None => EntryPayload::Blank,
        Some(peer::entry::Payload::Command(command)) => EntryPayload::Normal(Proposal(vec![command])),
        Some(peer::entry::Payload::Group(group)) => EntryPayload::Normal(Proposal(group.commands)),
        Some(peer::entry::Payload::Membership(held)) => EntryPayload::Membership(parse_membership(&held)?),
    };
    let log_id = entry.log_id.as_ref().map(parse_log_id).ok_or_else(|| invalid("an entry without a position"))?;
    Ok(Entry { log_id, payload })
}

pub(crate) fn append(request: &AppendEntriesRequest<Types>) -> peer::AppendRequest {
    peer::AppendRequest {
        vote: Some(vote(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id),
        entries: request.entries.iter().map(entry).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id),
    }
}

pub(crate) fn parse_append(request: peer::AppendRequest) -> io::Result<AppendEntriesRequest<Types>> {
    Ok(AppendEntriesRequest {
        vote: required_vote(request.vote.as_ref())?,
        prev_log_id: request.prev_log_id.as_ref().map(parse_log_id),
        entries: request.entries.into_iter().map(parse_entry).collect::<io::Result<_>>()?,
        leader_commit: request.leader_commit.as_ref().map(parse_log_id),
    })
}

pub(crate) fn appended(response: &AppendEntriesResponse<Types>) -> peer::AppendResponse {
    let (result, log_id, vote) = match response {
        AppendEntriesResponse::Success => (Verdict::Success, None, None),
        AppendEntriesResponse::PartialSuccess(id) => (Verdict::PartialSuccess, id.as_ref().map(log_id), None),
        AppendEntriesResponse::Conflict => (Verdict::Conflict, None, None),
        AppendEntriesResponse::HigherVote(higher) => (Verdict::HigherVote, None, Some(vote(higher))),
    };
    peer::AppendResponse { result: result.into(), log_id, vote }
}

pub(crate) fn parse_appended(response: &peer::AppendResponse) -> io::Result<AppendEntriesResponse<Types>> {
    Ok(match response.result() {
        Verdict::Success => AppendEntriesResponse::Success,
        Verdict::PartialSuccess => AppendEntriesResponse::PartialSuccess(response.log_id.as_ref().map(parse_log_id)),
        Verdict::Conflict => AppendEntriesResponse::Conflict,
        Verdict::HigherVote => AppendEntriesResponse::HigherVote(required_vote(response.vote.as_ref())?),
    })
}

/// An answer in a stream of appends.
pub(crate) fn streamed(result: &StreamAppendResult<Types>) -> peer::AppendResponse {
    let (result, log_id, vote) = match result {
        Ok(id) => (Verdict::Success, id.as_ref().map(log_id), None),
        Err(StreamAppendError::Conflict(id)) => (Verdict::Conflict, Some(log_id(id)), None),
        Err(StreamAppendError::HigherVote(higher)) => (Verdict::HigherVote, None, Some(vote(higher))),
    };
    peer::AppendResponse { result: result.into(), log_id, vote }
}

pub(crate) fn parse_streamed(response: &peer::AppendResponse) -> io::Result<StreamAppendResult<Types>> {
    let id = response.log_id.as_ref().map(parse_log_id);
    Ok(match response.result() {
        Verdict::Success | Verdict::PartialSuccess => Ok(id),
        Verdict::Conflict => {
            Err(StreamAppendError::Conflict(id.ok_or_else(|| invalid("a conflict without a position"))?))
        }
        Verdict::HigherVote => Err(StreamAppendError::HigherVote(required_vote(response.vote.as_ref())?)),
    })
}

pub(crate) fn ask(request: &VoteRequest<Types>, pre_vote: bool) -> peer::VoteRequest {
    peer::VoteRequest {
        vote: Some(vote(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
    }
}

pub(crate) fn parse_ask(request: &peer::VoteRequest) -> io::Result<VoteRequest<Types>> {
    Ok(VoteRequest {
        vote: required_vote(request.vote.as_ref())?,
        last_log_id: request.last_log_id.as_ref().map(parse_log_id),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn voted(response: &VoteResponse<Types>) -> peer::VoteResponse {
    peer::VoteResponse {
        vote: Some(vote(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id),
    }
}

pub(crate) fn parse_voted(response: &peer::VoteResponse) -> io::Result<VoteResponse<Types>> {
    Ok(VoteResponse {
        vote: required_vote(response.vote.as_ref())?,
        vote_granted: response.granted,
        last_log_id: response.last_log_id.as_ref().map(parse_log_id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_bytes_are_read_or_refused() {
        let id = Some(peer::LogId { term: 3, index: 9 });
        let voters = peer::Voters { ids: vec![1, 2] };
        let nodes = [(1, peer::Node::default()), (2, peer::Node::default())].into();
        let held = peer::Membership { configs: vec![voters], nodes, log_id: id };
        let entry = |payload| peer::Entry { log_id: id, payload }.encode_to_vec();
        let command = entry(Some(peer::entry::Payload::Command(Bytes::from_static(b"command"))));
        let vote = Some(peer::Vote { term: 3, voted_for: 1, committed: true });
        let entries = vec![command.clone().into()];
        let append = peer::AppendRequest { vote, prev_log_id: id, entries, leader_commit: id };
        let ask = peer::VoteRequest { vote, last_log_id: id, leadership_transfer: true, pre_vote: false };
        let of = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
        let seeds = vec![
            of(0, command),
            of(0, entry(Some(peer::entry::Payload::Membership(held.clone())))),
            of(1, append.encode_to_vec()),
            of(2, ask.encode_to_vec()),
            of(3, held.encode_to_vec()),
        ];
        crate::fuzz::bear("peers", seeds, |bytes| {
            let Some((kind, bytes)) = bytes.split_first() else { return String::new() };
            let told =
                |result: io::Result<()>| result.map_or_else(|error| error.to_string(), |()| format!("read {kind}"));
            let undecoded = |_| "no message".to_owned();
            match kind % 4 {
                0 => told(parse_entry(Bytes::copy_from_slice(bytes)).map(|read| {
                    let written = super::entry(&read);
                    assert_eq!(parse_entry(written).map(|again| again.log_id).ok(), Some(read.log_id));
                })),
                1 => {
                    peer::AppendRequest::decode(bytes).map_or_else(undecoded, |read| told(parse_append(read).map(drop)))
                }
                2 => peer::VoteRequest::decode(bytes).map_or_else(undecoded, |read| told(parse_ask(&read).map(drop))),
                _ => peer::Membership::decode(bytes)
                    .map_or_else(undecoded, |read| told(parse_stored_membership(&read).map(drop))),
            }
        });
    }
}
